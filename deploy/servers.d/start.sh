# shellcheck shell=bash
# Sourced by deploy/servers: how each server is set up, started and asked whether it is ready.

# start NAME: on the port it had before, or on a free one; tries other ports while somebody else takes them first
start() {
  local name=$1 kind=$1 try status
  running "$name" && return 0
  case $name in
    source | target) kind=mariadb ;;
    mysql_*) kind=mysql ;;
  esac
  if [ -e "$DIR/$name/port" ]; then
    "start_$kind" "$name" && return 0
    status=$?
    [ "$status" != 75 ] || say "$name: its port $(cat "$DIR/$name/port") is in use by another program"
    return 1
  fi
  for try in 1 2 3 4 5; do
    free_port >"$DIR/$name/port.new"
    status=0
    "start_$kind" "$name" || status=$?
    [ "$status" != 0 ] || { mv "$DIR/$name/port.new" "$DIR/$name/port" && return 0; }
    [ "$status" = 75 ] || return 1
  done
  say "$name: no free port found in $try tries"
  return 1
}

# port_of NAME: the one that it has or is being tried with
port_of() { cat "$DIR/$1/port" 2>/dev/null || cat "$DIR/$1/port.new"; }

start_zookeeper() {
  local home=$DIR/zookeeper
  cat >"$home/zoo.cfg" <<EOF
dataDir=$home/data
clientPortAddress=127.0.0.1
clientPort=$(port_of zookeeper)
tickTime=500
minSessionTimeout=1000
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=*
EOF
  launch zookeeper java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$JARS/*" \
    org.apache.zookeeper.server.ZooKeeperServerMain "$home/zoo.cfg"
  await zookeeper zookeeper_ready
}

zookeeper_ready() {
  local answer
  answer=$(exec 3<>"/dev/tcp/127.0.0.1/$(port_of zookeeper)" && printf srvr >&3 && timeout 5 cat <&3) || return 1
  [[ $answer == *Mode:* ]]
}

start_kafka() {
  local home=$DIR/kafka port other
  port=$(port_of kafka)
  for other in controller sasl; do
    if [ ! -e "$home/port" ] || [ ! -e "$home/$other" ]; then free_port >"$home/$other"; fi
  done
  [ -e "$home/session" ] || echo "${KAFKA_SESSION:-2500}" >"$home/session"
  kafka_properties "$home" "$port" "$(cat "$home/controller")" "$(cat "$home/sasl")" >"$home/server.properties"
  if [ ! -e "$home/data/meta.properties" ]; then
    java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$JARS/*" kafka.tools.StorageTool format \
      -t kafka-for-otter-000000 -c "$home/server.properties" >"$home/format.log" 2>&1 ||
      { tail -n 30 "$home/format.log" >&2 && return 1; }
  fi
  launch kafka java -Xmx512m -Xms128m -Dorg.slf4j.simpleLogger.showDateTime=true \
    -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS -cp "$JARS/*" kafka.Kafka "$home/server.properties"
  await kafka kafka_ready
}

kafka_ready() { new_log kafka | grep -q 'Kafka Server started'; }

# One node for everything, and few partitions in the internal topics, which each start has to load. Who comes without a
# name may do everything; who logs in as stranger, on a listener of its own, nothing.
kafka_properties() {
  cat <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$3
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3,SASL://127.0.0.1:$4
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT
inter.broker.listener.name=PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_stranger="hidden";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs=$1/data
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=$(cat "$1/session")
log.cleaner.dedupe.buffer.size=16777216
EOF
}

start_mariadb() {
  local name=$1 home=$DIR/$1 as=() first=()
  [ "$(id -u)" != 0 ] || as=(--user=root)
  mkdir -p "$home/tmp" # its own: a server that starts deletes the temporary tables of others from a shared one
  mariadb_options "$name" "$home" >"$home/my.cnf"
  if [ ! -e "$home/installed" ]; then
    rm -rf "$home/data"
    mariadb-install-db --defaults-file="$home/my.cnf" "${as[@]}" --skip-test-db --skip-name-resolve \
      --auth-root-authentication-method=normal >"$home/install.log" 2>&1 ||
      { tail -n 30 "$home/install.log" >&2 && return 1; }
    touch "$home/installed"
  fi
  if [ ! -e "$home/port" ]; then
    mariadb_users "$name" >"$home/users.sql"
    first=(--init-file="$home/users.sql")
  fi
  launch "$name" mariadbd --defaults-file="$home/my.cnf" "${as[@]}" "${first[@]}"
  await "$name" mariadb_ready "$name"
}

mariadb_ready() {
  mariadb --no-defaults --connect-timeout=5 --protocol=tcp -h 127.0.0.1 -P "$(port_of "$1")" -u root -e 'do 1' 2>/dev/null
}

# The socket lies in /tmp under a name of its own, because the path of a socket may only be 107 bytes long.
mariadb_options() {
  local id=1
  [ "$1" = source ] || id=2
  cat <<EOF
[mysqld]
datadir=$2/data
tmpdir=$2/tmp
bind-address=127.0.0.1
port=$(port_of "$1")
socket=/tmp/otter-$(printf %s "$2" | cksum | cut -d' ' -f1).sock
pid-file=$2/mariadbd.pid
skip-name-resolve
max_connections=500
max_allowed_packet=64M
character-set-server=utf8mb4
collation-server=utf8mb4_general_ci
server_id=$id
log_bin=binlog
binlog_format=ROW
binlog_row_image=FULL
binlog_row_metadata=FULL
gtid_strict_mode=ON
sync_binlog=0
innodb_flush_log_at_trx_commit=2
innodb_buffer_pool_size=256M
EOF
}

# Run once at the first start, before the server takes connections. Anonymous users would shadow 'otter'@'%' here.
mariadb_users() {
  local grants="GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'otter'@'%';"
  [ "$1" = source ] || grants="GRANT ALL ON *.* TO 'otter'@'%';"
  cat <<EOF
SET SESSION sql_log_bin=0;
DELETE FROM mysql.global_priv WHERE User='';
FLUSH PRIVILEGES;
CREATE USER 'otter'@'%' IDENTIFIED BY 'otter';
$grants
EOF
}
