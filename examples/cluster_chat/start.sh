#!/usr/bin/env bash
# The chat on three nodes of this machine: an engine, the nodes, and a proxy in front of them. Ctrl-C ends all of it.
#
#   bash examples/cluster_chat/start.sh               starts redis-server
#   bash examples/cluster_chat/start.sh --nats        starts nats-server
#   bash examples/cluster_chat/start.sh URL           uses the engine at redis://… or nats://…
#
# Programs are taken from the path, or from ENDPOINT_REDIS_SERVER, ENDPOINT_NATS_SERVER, ENDPOINT_NGINX and
# ENDPOINT_HAPROXY. EXAMPLES is a folder where cluster_chat is built already; otherwise cargo builds it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
names=(a b c)
folder=
pids=()
addresses=()
engine=()
proxy=
last_node=
declare -A labels

main() {
  case "${1-}" in
    '' | --nats | redis://* | nats://*) ;;
    *) sed -n '4,6s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
  folder=$(mktemp -d)
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  build
  case "${1-}" in
    '') start_redis ;;
    --nats) start_nats ;;
    redis://*) engine=(--redis "$1") ;;
    nats://*) engine=(--nats "$1") ;;
  esac

  local name
  for name in "${names[@]}"; do
    start_node "$name"
  done
  start_proxy
  if [ -n "$proxy" ]; then
    echo "open http://$proxy/ in several windows"
  else
    echo 'no proxy, because neither nginx nor HAProxy is installed: open the addresses of the nodes'
  fi
  echo "Ctrl-C ends everything; kill -9 $last_node ends node ${names[-1]} as a crash does"
  watch
}

build() {
  if [ -z "${EXAMPLES-}" ]; then
    echo 'building cluster_chat'
    (cd "$root" && cargo build --quiet --release --package examples --example cluster_chat)
    EXAMPLES=$(cd "$root" && cd "${CARGO_TARGET_DIR:-target}/release/examples" && pwd)
  fi
  [ -x "$EXAMPLES/cluster_chat" ] || fail "there is no cluster_chat in $EXAMPLES"
}

# --- the engine ---

start_redis() {
  local program port
  program=$(find_program "${ENDPOINT_REDIS_SERVER-}" redis-server) ||
    fail 'redis-server is not installed: install it, use --nats, or give the URL of an engine'
  port=$(free_port)
  launch redis "$program" --port "$port" --bind 127.0.0.1 --dir "$folder" --save ''
  await redis "$port"
  engine=(--redis "redis://127.0.0.1:$port/")
  show redis-server "redis://127.0.0.1:$port/"
}

start_nats() {
  local program port
  program=$(find_program "${ENDPOINT_NATS_SERVER-}" nats-server) ||
    fail 'nats-server is not installed: install it, use Redis, or give the URL of an engine'
  port=$(free_port)
  launch nats "$program" --addr 127.0.0.1 --port "$port" --jetstream --store_dir "$folder/nats"
  await nats "$port"
  engine=(--nats "nats://127.0.0.1:$port")
  show nats-server "nats://127.0.0.1:$port"
}

# --- the nodes ---

start_node() {
  local line
  # port 0: the system chooses, and the node prints its address
  launch "node-$1" "$EXAMPLES/cluster_chat" --addr 127.0.0.1:0 --node "$1" "${engine[@]}"
  line=$(timeout 30 grep -m 1 '^page: ' < <(tail --pid="${pids[-1]}" -n +1 -f "$folder/node-$1.log")) || fail_of "node-$1"
  line=${line#page: http://}
  addresses+=("${line%/}")
  show "node $1" "http://$line"
  last_node=${pids[-1]}
}

# --- the proxy ---

start_proxy() {
  local program port=8080
  is_free "$port" || port=$(free_port)
  if program=$(find_program "${ENDPOINT_NGINX-}" nginx); then
    nginx_configuration "$port" > "$folder/nginx.conf"
    launch nginx "$program" -e stderr -p "$folder" -c "$folder/nginx.conf"
    await nginx "$port"
  elif program=$(find_program "${ENDPOINT_HAPROXY-}" haproxy); then
    haproxy_configuration "$port" > "$folder/haproxy.cfg"
    launch haproxy "$program" -db -f "$folder/haproxy.cfg"
    await haproxy "$port"
  else
    return 0
  fi
  proxy=127.0.0.1:$port
  show "${program##*/}" "http://$proxy/"
}

nginx_configuration() {
  local what
  # one process, which can be ended by its pid
  echo 'daemon off; master_process off; pid nginx.pid; events {}'
  echo 'http {'
  echo '  access_log off;'
  for what in client_body proxy fastcgi uwsgi scgi; do
    echo "  ${what}_temp_path $what;"
  done
  echo '  map $http_upgrade $connection_upgrade { default upgrade; "" ""; }'
  echo '  upstream nodes {'
  # a node that refuses a connection gets none for two seconds; the next one gets the request
  printf '    server %s max_fails=1 fail_timeout=2s;\n' "${addresses[@]}"
  echo '  }'
  echo "  server { listen 127.0.0.1:$1; location / {"
  echo '    proxy_pass http://nodes;'
  echo '    proxy_http_version 1.1;'
  echo '    proxy_connect_timeout 1s;'
  echo '    proxy_read_timeout 75s;'
  echo '    proxy_set_header Upgrade $http_upgrade;'
  echo '    proxy_set_header Connection $connection_upgrade;'
  echo '    proxy_set_header Host $http_host;'
  echo '  } }'
  echo '}'
}

haproxy_configuration() {
  local index
  printf '%s\n' 'defaults' '  mode http' '  timeout connect 1s' '  timeout client 75s' '  timeout server 75s' \
    '  timeout tunnel 75s' '  option redispatch 1' 'frontend chat' "  bind 127.0.0.1:$1" '  default_backend nodes' \
    'backend nodes' '  balance roundrobin' '  option httpchk GET /health' '  http-check send hdr Host localhost' \
    '  default-server check inter 1s fall 1 rise 1'
  for index in "${!names[@]}"; do
    echo "  server ${names[index]} ${addresses[index]}"
  done
}

# --- processes ---

# launch NAME COMMAND...: runs it in the background, with its output in $folder/NAME.log.
launch() {
  : > "$folder/$1.log"
  "${@:2}" > "$folder/$1.log" 2>&1 < /dev/null &
  pids+=("$!")
  labels[$!]=$1
}

# show NAME ADDRESS: prints them with the pid of the last program.
show() {
  printf '%-14s %-26s pid %s\n' "$1" "$2" "${pids[-1]}"
}

# await NAME PORT: waits until the program of this name, the last that was launched, listens at PORT.
await() {
  local tries
  for tries in {1..100}; do
    kill -0 "${pids[-1]}" 2> /dev/null || fail_of "$1"
    if ! is_free "$2"; then
      return
    fi
    sleep 0.1
  done
  fail_of "$1"
}

# Says which process has ended, until all have.
watch() {
  local pid left=("${pids[@]}") still
  while [ ${#left[@]} -gt 0 ]; do
    # bash would report a process that was killed, with its line of this file
    wait -n "${left[@]}" 2> /dev/null || true
    still=()
    for pid in "${left[@]}"; do
      if kill -0 "$pid" 2> /dev/null; then
        still+=("$pid")
      else
        echo "${labels[$pid]} has ended"
      fi
    done
    left=(${still[@]+"${still[@]}"})
  done
}

finish() {
  local status=$? pid
  trap '' INT TERM
  trap - EXIT
  # the proxy and the nodes before the engine
  for pid in $(printf '%s\n' ${pids[@]+"${pids[@]}"} | tac); do
    kill "$pid" 2> /dev/null || true
  done
  for pid in ${pids[@]+"${pids[@]}"}; do
    timeout 12 tail --pid="$pid" -f /dev/null || kill -KILL "$pid" 2> /dev/null || true
  done
  rm -rf "$folder"
  [ ${#pids[@]} -eq 0 ] || echo 'everything has ended'
  exit "$status"
}

# --- what is on this machine ---

# find_program GIVEN NAME: prints GIVEN, or else where NAME is.
find_program() {
  if [ -n "$1" ]; then
    echo "$1"
  else
    PATH=$PATH:/usr/sbin command -v "$2"
  fi
}

# A port below those that the system gives to outgoing connections.
free_port() {
  local port
  while port=$((16000 + RANDOM % 15000)); ! is_free "$port"; do :; done
  echo "$port"
}

is_free() {
  ! (: < "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}

fail() {
  echo "$1" >&2
  exit 1
}

# Shows why a program did not start.
fail_of() {
  tail -n 5 "$folder/$1.log" >&2
  fail "$1 did not start"
}

main "$@"
