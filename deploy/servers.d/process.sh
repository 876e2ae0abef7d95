# shellcheck shell=bash
# Sourced by deploy/servers: one server process at a time, known by its id and its start time, so that an id used again by
# somebody else is never taken for ours. A server's folder is $DIR/NAME: pid, port, log and its data.

# start_time PID: clock ticks since boot; nothing when there is no such process or it has ended and waits for its parent
start_time() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  read -ra fields <<<"${stat##*) }" # what follows the command, which may hold spaces
  [ "${fields[0]}" = Z ] || echo "${fields[19]}"
}

# running NAME
running() {
  local pid started
  read -r pid started 2>/dev/null <"$DIR/$1/pid" || return 1
  [ "$(start_time "$pid")" = "$started" ]
}

# remember NAME PID
remember() { echo "$2 $(start_time "$2")" >"$DIR/$1/pid"; }

# until_true SECONDS COMMAND…: asks again until the command succeeds; 1 when the time is over
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

stopped() { ! running "$1"; }

# stop NAME SECONDS: asks it to end, and kills it when the time is over; 0 seconds: at once
stop() {
  local name=$1 pid
  running "$name" || return 0
  read -r pid _ <"$DIR/$name/pid"
  if [ "$2" -gt 0 ]; then
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true # a frozen server would not hear it
    until_true "$2" stopped "$name" && return 0
    say "$name did not stop within $2 s: killing it"
  fi
  running "$name" && kill -KILL "$pid" 2>/dev/null
  until_true 20 stopped "$name" || die "$name (process $pid) cannot be killed"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: below the range that the system gives to clients. Somebody may still take it first: the caller tries again.
free_port() {
  local port
  while :; do
    port=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
    listening "$port" || break
  done
  echo "$port"
}

# owns_port NAME PORT: it is this very server that listens there, not somebody who took the port first
owns_port() {
  local pid inode
  read -r pid _ <"$DIR/$1/pid"
  inode=$(awk -v port=":$(printf %04X "$2")\$" '$4 == "0A" && $2 ~ port { print $10; exit }' /proc/net/tcp /proc/net/tcp6)
  [ -n "$inode" ] && [ -n "$(find "/proc/$pid/fd" -lname "socket:\\[$inode\\]" -print -quit 2>/dev/null)" ]
}

# new_log NAME: what the server has written since its last start
new_log() { tail -c "+$(($(cat "$DIR/$1/log.mark") + 1))" "$DIR/$1/log"; }

# launch NAME COMMAND…: in a session of its own, so that a Ctrl-C at the terminal does not reach it
launch() {
  local name=$1
  shift
  touch "$DIR/$name/log"
  wc -c <"$DIR/$name/log" >"$DIR/$name/log.mark"
  setsid "$@" >>"$DIR/$name/log" 2>&1 </dev/null &
  remember "$name" $!
}

# await NAME PROBE…: 0 ready, 75 the port was taken, 1 anything else (with the end of the log)
await() {
  local name=$1 end=$((SECONDS + 60))
  shift
  until owns_port "$name" "$(port_of "$name")" && "$@"; do
    if ! running "$name"; then
      new_log "$name" | grep -qiE 'address already in use|BindException' && return 75
      say "$name ended before it was ready; the end of $DIR/$name/log:" && new_log "$name" | tail -n 30 >&2
      return 1
    fi
    if [ "$SECONDS" -ge "$end" ]; then
      say "$name was not ready within 60 s; the end of $DIR/$name/log:" && new_log "$name" | tail -n 30 >&2
      return 1
    fi
    sleep 0.05
  done
}
