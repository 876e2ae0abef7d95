# shellcheck shell=bash
# Sourced by deploy/servers: MySQL 9.7, which Debian has in sid only. Its packages and all that they need, the C library
# included, are unpacked beside the system, whose own packages are left alone. Root is not needed. A data folder is set up
# once and copied for each server.

# complete or not there at all: what is made here depends on this file alone
MYSQL=$CACHE/mysql-$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-12)

mysql_present() { [ -e "$MYSQL/complete" ]; }

# fetch_mysql: one run at a time does it, the others wait for it
fetch_mysql() {
  mysql_present && return 0
  mkdir -p "$CACHE"
  (
    exec 9>"$MYSQL.lock"
    flock -w 900 9 || die "another run has held $MYSQL.lock for 15 minutes"
    mysql_present && exit 0
    say "fetching MySQL and what it needs from Debian sid"
    rm -rf "$MYSQL" # what an interrupted run left
    mkdir -p "$MYSQL"/{apt,root,setup}
    mysql_unpack && mysql_template && touch "$MYSQL/complete"
  ) || die "MySQL could not be set up in $MYSQL"
}

# mysql_archive: where Debian is, as the system's own sources have it
mysql_archive() {
  local known
  # shellcheck disable=SC2016 # apt's own placeholder
  known=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages')
  grep -m 1 -E '/debian/?$' <<<"$known" ||
    die "the system's apt sources name no Debian archive, which MySQL is fetched from"
}

# mysql_unpack: apt itself resolves one consistent set, as for a system that has nothing yet, and only downloads it
mysql_unpack() {
  local apt=$MYSQL/apt arch archive package
  arch=$(dpkg --print-architecture)
  archive=$(mysql_archive) || return 1
  mkdir -p "$apt"/{lists/partial,archives/partial,preferences.d}
  : >"$apt/status"
  echo "deb [arch=$arch signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive sid main" >"$apt/sources.list"
  # the system's proxy and its like (apt.conf) stay in force
  cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$apt/preferences.d";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
APT::Architecture "$arch";
APT::Architectures "$arch";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
CONF
  APT_CONFIG=$apt/apt.conf apt-get -q update >&2 || return 1
  APT_CONFIG=$apt/apt.conf apt-get -q -y --download-only --no-install-recommends install \
    mysql-server-core mysql-client-core >&2 || return 1
  for package in "$apt"/archives/*.deb; do dpkg -x "$package" "$MYSQL/root" || return 1; done
  rm -rf "$apt"
}

# mysql_command PROGRAM ARGUMENT…: one of its programs with the libraries and the loader that were unpacked beside it; the
# command is left in MYSQL_COMMAND
mysql_command() {
  local root=$MYSQL/root trip loader
  trip=$(uname -m)-linux-gnu
  for loader in "$root"/{usr/,}lib64/ld-linux-*.so.* "$root"/{usr/,}lib/{"$trip"/,}ld-linux-*.so.*; do
    [ ! -x "$loader" ] || break
  done
  MYSQL_COMMAND=("$loader" --library-path "$root/usr/lib/$trip:$root/lib/$trip:$root/usr/lib/mysql/private"
    "$root/usr/$1" "${@:2}")
}

# mysql_template: the data folder of a server that has not run yet
mysql_template() {
  local as=()
  [ "$(id -u)" != 0 ] || as=(--user=root)
  mysql_options template "$MYSQL/setup" 0 >"$MYSQL/setup/my.cnf"
  mkdir -p "$MYSQL/setup"/{tmp,files}
  mysql_command sbin/mysqld --defaults-file="$MYSQL/setup/my.cnf" "${as[@]}" --initialize-insecure
  "${MYSQL_COMMAND[@]}" >"$MYSQL/setup/log" 2>&1 || { tail -n 30 "$MYSQL/setup/log" >&2 && return 1; }
  rm -f "$MYSQL/setup/data/auto.cnf" # each server has an identity of its own
  mv "$MYSQL/setup/data" "$MYSQL/data" && rm -rf "$MYSQL/setup"
}

# mysql_socket HOME: in /tmp, because the path of a socket may only be 107 bytes long
mysql_socket() { echo "/tmp/otter-$(printf %s "$1" | cksum | cut -d' ' -f1).sock"; }

# mysql_options NAME HOME PORT
mysql_options() {
  local root=$MYSQL/root/usr id=4
  [ "$1" = mysql_target ] || id=3
  cat <<CONF
[mysqld]
basedir=$root
plugin-dir=$root/lib/mysql/plugin
lc-messages-dir=$root/share/mysql
character-sets-dir=$root/share/mysql/charsets
datadir=$2/data
tmpdir=$2/tmp
secure-file-priv=$2/files
bind-address=127.0.0.1
port=$3
socket=$(mysql_socket "$2")
pid-file=$2/mysqld.pid
mysqlx=OFF
skip-name-resolve
max_connections=500
max_allowed_packet=64M
server_id=$id
log_bin=binlog
binlog_row_image=FULL
binlog_row_metadata=FULL
gtid_mode=ON
enforce_gtid_consistency=ON
sync_binlog=0
innodb_flush_log_at_trx_commit=2
innodb_buffer_pool_size=128M
innodb_redo_log_capacity=64M
performance_schema=OFF
CONF
}

start_mysql() {
  local name=$1 home=$DIR/$1 as=() first=()
  [ "$(id -u)" != 0 ] || as=(--user=root)
  mkdir -p "$home"/{tmp,files}
  mysql_options "$name" "$home" "$(port_of "$name")" >"$home/my.cnf"
  if [ ! -e "$home/installed" ]; then
    rm -rf "$home/data"
    cp -a --reflink=auto "$MYSQL/data" "$home/data" && touch "$home/installed" || return 1
  fi
  if [ ! -e "$home/port" ]; then
    mysql_users "$name" >"$home/users.sql"
    first=(--init-file="$home/users.sql")
  fi
  # What a killed server left names its process, which may not have been cleared away yet.
  rm -f "$(mysql_socket "$home").lock"
  mysql_command sbin/mysqld --defaults-file="$home/my.cnf" "${as[@]}" "${first[@]}"
  launch "$name" "${MYSQL_COMMAND[@]}"
  await "$name" mysql_ready "$name"
}

mysql_ready() {
  mysql_command bin/mysql --no-defaults --connect-timeout=5 --protocol=tcp -h 127.0.0.1 -P "$(port_of "$1")" -u root -e 'do 1'
  "${MYSQL_COMMAND[@]}" 2>/dev/null
}

# Run once at the first start, before the server takes connections. root@localhost does not count for TCP here.
mysql_users() {
  local grants="GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT, XA_RECOVER_ADMIN ON *.* TO 'otter'@'%';"
  [ "$1" = mysql_source ] || grants="GRANT ALL ON *.* TO 'otter'@'%';"
  cat <<EOF
SET SESSION sql_log_bin=0;
CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED WITH caching_sha2_password BY '';
GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS 'otter'@'%' IDENTIFIED WITH caching_sha2_password BY 'otter';
$grants
EOF
}
