# shellcheck shell=bash
# Sourced by deploy/servers: database servers that keep the names of schemas and tables in lower case, for tests. A MySQL
# server must have been set up so, and cannot begin with the copy that others begin with.

if [ -n "${OTTER_SERVERS_LOWER_CASE:-}" ]; then
  eval "plain_$(declare -f mariadb_options)"
  mariadb_options() { plain_mariadb_options "$@" && echo lower_case_table_names=1; }

  eval "plain_$(declare -f mysql_options)"
  mysql_options() { plain_mysql_options "$@" && echo lower_case_table_names=1; }

  eval "plain_$(declare -f start_mysql)"
  start_mysql() {
    local home=$DIR/$1 as=()
    [ "$(id -u)" != 0 ] || as=(--user=root)
    if [ ! -e "$home/installed" ]; then
      rm -rf "$home/data"
      mkdir -p "$home"/{tmp,files}
      mysql_options "$1" "$home" 0 >"$home/my.cnf"
      mysql_command sbin/mysqld --defaults-file="$home/my.cnf" "${as[@]}" --initialize-insecure
      "${MYSQL_COMMAND[@]}" >"$home/install.log" 2>&1 || { tail -n 30 "$home/install.log" >&2 && return 1; }
      touch "$home/installed"
    fi
    plain_start_mysql "$1"
  }
fi
