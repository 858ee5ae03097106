#!/usr/bin/env bash
# A cluster on three hosts made of network namespaces, under load, while a node, the engine and the network fail.
#
#   bash benches/cluster/partition.sh redis     with redis-server
#   bash benches/cluster/partition.sh nats      with nats-server
#
# It needs root, iproute2, the engine, and three minutes. It makes five network namespaces: the nodes a, b and c, the
# engine, and the clients. Two bridges inside of them connect the nodes with the engine and the nodes with the clients;
# nothing leaves this machine, and nothing is changed outside the namespaces. In the end all processes are ended by
# their ids and the namespaces are deleted.
#
#    0 s   3,000 sessions in 100 rooms are open; each room gets a line every second
#   20 s   node b is killed (kill -9), and started again at 35 s
#   60 s   the engine is killed, and started again at 65 s
#   90 s   the port of node c at the engine's switch goes dead: packets vanish, no connection is closed; until 110 s
#  140 s   the end
#
# The tables go to target/partition in this folder, with the logs. ROOMS and MEMBERS (of a room on each node) make it
# smaller. EXAMPLES is a folder where cluster_chat is built already, DRIVER the driver; otherwise cargo builds them.
# ENDPOINT_REDIS_SERVER and ENDPOINT_NATS_SERVER name an engine that is not on the path.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
engine=${1-}
rooms=${ROOMS:-100}
members=${MEMBERS:-10}
hosts=(a b c engine clients)
nodes=(a b c)
mark=ep$$
out=
began=
driver_in=
driver_pid=
declare -A pids=()
declare -A number=([a]=11 [b]=12 [c]=13)

main() {
  case "$engine" in
    redis | nats) ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
  [ "$(id -u)" -eq 0 ] || fail 'network namespaces need root'
  command -v ip > /dev/null || fail 'there is no ip: install iproute2'
  build
  out=$here/target/partition/$engine
  rm -rf "$out"
  mkdir -p "$out"
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  make_hosts
  start_engine
  local node
  for node in "${nodes[@]}"; do
    start_node "$node"
  done
  start_driver

  began=$(now)
  tell begin
  at 20 'kill b'; kill_now b
  at 35 'start b'; sleep 0.1; start_node b
  at 60 'stop engine'; kill_now engine
  at 65 'start engine'; start_engine
  at 90 'cut c'; cut c
  at 110 'heal c'; heal c
  at 140 end
  wait "$driver_pid"
  echo "written to $out"
}

build() {
  if [ -z "${EXAMPLES-}" ]; then
    (cd "$root" && cargo build --quiet --release --package examples --example cluster_chat)
    EXAMPLES=$(cd "$root" && cd "${CARGO_TARGET_DIR:-target}/release/examples" && pwd)
  fi
  if [ -z "${DRIVER-}" ]; then
    (cd "$here" && cargo build --quiet --release)
    DRIVER=$(cd "$here" && cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/cluster
  fi
}

# --- the hosts ---

# Nodes reach the engine in 10.91.1.0/24 and the clients in 10.91.2.0/24, so that one can fail without the other.
make_hosts() {
  local host
  for host in "${hosts[@]}"; do
    ip netns add "$mark-$host"
    ip -n "$mark-$host" link set lo up
  done
  make_switch engine 10.91.1
  make_switch clients 10.91.2
  for host in "${nodes[@]}"; do
    connect "$host" engine 10.91.1
    connect "$host" clients 10.91.2
  done
}

make_switch() {
  ip -n "$mark-$1" link add switch type bridge stp_state 0 forward_delay 0
  ip -n "$mark-$1" address add "$2.1/24" dev switch
  ip -n "$mark-$1" link set switch up
}

# connect NODE HOST NETWORK: a cable from the node to the switch in HOST, where its port has the name of the node.
connect() {
  ip -n "$mark-$1" link add "to-$2" type veth peer name "$1" netns "$mark-$2"
  ip -n "$mark-$1" address add "$3.${number[$1]}/24" dev "to-$2"
  ip -n "$mark-$1" link set "to-$2" up
  ip -n "$mark-$2" link set dev "$1" master switch up
}

# The cable stays plugged in, and what comes out of it is not passed on.
cut() {
  ip -n "$mark-engine" link set dev "$1" nomaster
}

heal() {
  ip -n "$mark-engine" link set dev "$1" master switch
}

# --- processes ---

# launch HOST COMMAND...: runs it in the namespace of the host, with its output added to HOST.log.
launch() {
  ip netns exec "$mark-$1" "${@:2}" >> "$out/$1.log" 2>&1 < /dev/null &
  pids[$1]=$!
  # not our child any more, so that bash does not report how it ended
  disown "$!"
}

kill_now() {
  kill -KILL "${pids[$1]}"
}

start_engine() {
  case "$engine" in
    redis)
      launch engine "${ENDPOINT_REDIS_SERVER:-redis-server}" --bind 10.91.1.1 --port 6379 --protected-mode no \
        --appendonly no --save '' --dir "$out"
      ;;
    nats) launch engine "${ENDPOINT_NATS_SERVER:-nats-server}" --addr 10.91.1.1 --port 4222 ;;
  esac
  [ -n "$began" ] || await engine 10.91.1.1 "$([ "$engine" = redis ] && echo 6379 || echo 4222)"
}

start_node() {
  local url=redis://10.91.1.1:6379/
  [ "$engine" = redis ] || url=nats://10.91.1.1:4222
  launch "$1" "$EXAMPLES/cluster_chat" --addr "10.91.2.${number[$1]}:8080" --node "$1" "--$engine" "$url"
  [ -n "$began" ] || await "$1" "10.91.2.${number[$1]}" 8080
}

start_driver() {
  local list= node line
  for node in "${nodes[@]}"; do
    list+=${list:+,}10.91.2.${number[$node]}:8080
  done
  mkfifo "$out/events" "$out/said"
  ip netns exec "$mark-clients" "$DRIVER" partition --nodes "$list" --engine "$engine" --rooms "$rooms" \
    --members "$members" --out "$out/tables.md" < "$out/events" > "$out/said" &
  driver_pid=$!
  exec {driver_in}> "$out/events"
  exec {driver_out}< "$out/said"
  read -r line <&"$driver_out" && [ "$line" = open ] || fail 'the sessions did not open'
  cat <&"$driver_out" > /dev/null &
}

# tell EVENT: says to the driver what happens now.
tell() {
  echo "$1" >&"$driver_in" || fail 'the driver has ended'
}

# at SECOND EVENT: waits for this second of the run and tells the driver. A node that starts answers only after that.
at() {
  local rest
  rest=$(($1 * 1000 - ($(now) - began)))
  [ "$rest" -le 0 ] || sleep "$((rest / 1000)).$(printf %03d $((rest % 1000)))"
  kill -0 "$driver_pid" 2> /dev/null || fail 'the driver has ended'
  tell "$2"
}

now() {
  date +%s%3N
}

# await HOST ADDRESS PORT: waits until the program of this host listens there.
await() {
  local tries
  for tries in {1..100}; do
    if ip netns exec "$mark-$1" bash -c ": < /dev/tcp/$2/$3" 2> /dev/null; then
      return
    fi
    sleep 0.1
  done
  tail -n 5 "$out/$1.log" >&2
  fail "$1 did not start"
}

finish() {
  local status=$? host
  trap '' INT TERM
  trap - EXIT
  [ -z "$driver_pid" ] || kill "$driver_pid" 2> /dev/null || true
  for host in "${!pids[@]}"; do
    kill "${pids[$host]}" 2> /dev/null || true
  done
  for host in "${!pids[@]}"; do
    timeout 12 tail --pid="${pids[$host]}" -f /dev/null || kill -KILL "${pids[$host]}" 2> /dev/null || true
  done
  for host in "${hosts[@]}"; do
    ip netns delete "$mark-$host" 2> /dev/null || true
  done
  rm -f "$out/events" "$out/said"
  exit "$status"
}

fail() {
  echo "$1" >&2
  exit 1
}

main "$@"
