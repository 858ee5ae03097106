#!/usr/bin/env bash
# The full test suite, for a Debian machine with Rust.
#
#   bash tests/run.sh            everything; installs missing programs and reports them
#   bash tests/run.sh --quick    format, lints, and the tests that need no outside program
#
# Outside programs are found by these variables. Set one, and nothing is installed in its place; the tests that are
# #[ignore]d because they need such a program read them too.
#   ENDPOINT_PYTHON        a Python that can import `websockets` (tests/foreign/requirements.txt)
#   ENDPOINT_NODE          Node.js, 18 or newer
#   ENDPOINT_NODE_PATH     node_modules folders with `ws`, `playwright-core` and `jquery`, joined by ':'
#   ENDPOINT_CHROMIUM      Chromium
#   SOCKET_IO_LIBRARY      socket.io.min.js, the library of Socket.IO for browsers
#   ENDPOINT_TOMCAT        Tomcat 10: the folder with its bin and lib (default: /usr/share/tomcat10)
#   ENDPOINT_JAVA_HOME     a JDK, 17 or newer (default: java and javac of the path)
#   ENDPOINT_SCREENSHOTS   a folder for pictures of the page (default: target/screenshots)
#   ENDPOINT_NGINX         nginx, 1.20 or newer
#   ENDPOINT_HAPROXY       HAProxy, 2.4 or newer
#   ENDPOINT_REDIS_SERVER  redis-server, 7.0 or newer
#   ENDPOINT_NATS_SERVER   nats-server, 2.9 or newer
#   AUTOBAHN_PYTHON        the CPython that runs the Autobahn suite (default: python3)
#
# What is installed lives in ${XDG_CACHE_HOME:-~/.cache}/websocket-endpoints, outside the repository. Where all of it
# is there already, no package manager is called.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/websocket-endpoints
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
examples=$target/release/examples
# what makes a second build quicker takes more room on a disk than the build itself
export CARGO_INCREMENTAL=0
export ENDPOINT_SCREENSHOTS=${ENDPOINT_SCREENSHOTS:-$PWD/target/screenshots}
logs=$(mktemp -d)
servers=()
step=
steps=0

main() {
  case "${1-}" in
    '' | --quick) ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  run 'Rust toolchain' need_rust
  run 'format' cargo fmt --all --check
  run 'lints' cargo clippy --workspace --all-targets --all-features -- -D warnings
  run 'lints without the features' cargo clippy --package endpoint-runtime --no-default-features -- -D warnings
  local feature
  for feature in adopted axum cbor http2 json metrics msgpack otel protobuf rustls systemd test tungstenite; do
    run "lints with $feature alone" cargo clippy --package endpoint-runtime --no-default-features --features "$feature" -- -D warnings
  done
  # nothing else here builds them
  RUSTFLAGS='--cfg fuzzing --cfg measuring -D warnings' \
    run 'entry points for fuzzing and measuring' cargo check --package endpoint-runtime --target-dir "$target/doors"
  forget doors
  run 'fuzz targets on their seeds' replay_seeds
  forget fuzz
  run 'dependencies of the first command' few_crates
  run 'tests' cargo test --workspace --all-features
  # the ui cases
  forget tests
  run 'tests over HTTP/2' test_over_http2
  RUSTFLAGS='--cfg model_check -D warnings' \
    run 'model checks' cargo test --package endpoint-runtime --lib --target-dir "$target/models" models::
  forget models
  run 'tests of the examples' cargo test --workspace --all-features --examples
  if [ "${1-}" = --quick ]; then
    return
  fi

  run 'outside programs' need_outside_programs
  run 'proxies' need_proxies
  run 'engines of clusters' need_engines
  run 'tools of cargo' need_cargo_tools
  run 'guide' build_guide
  run 'licences, bans and sources of dependencies' "$cache/cargo-deny/bin/cargo-deny" --all-features check --hide-inclusion-graph licenses bans sources
  run 'advisories about dependencies' check_advisories
  run 'crates as they are published' package_crates
  run 'minimum Rust version' check_minimum_rust
  forget minimum-rust packages
  # not the ignored code blocks of the documentation, which are not meant to run
  run 'tests with outside programs' cargo test --workspace --all-features --lib --bins --tests --examples -- --ignored
  RUSTDOCFLAGS='-D warnings' run 'documentation' cargo doc --workspace --no-deps --all-features
  run 'release build of the examples' cargo build --release --workspace --features examples/socketio,websocket-endpoints/http2,websocket-endpoints/tls --examples
  run 'tests of the Autobahn scripts' python3 -m unittest discover --quiet --start-directory tests/autobahn
  run 'bench_server starts' start bench_server
  local direct=$endpoint
  # of the 216 cases of compression, which take five minutes, those that differ and are quick
  run 'Autobahn' python3 tests/autobahn/run.py "$endpoint" --strict --need-deflate --need-close-code \
    --cases '1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*,12.1.1,12.1.2,12.1.3,12.1.4,12.2.1,12.3.1,12.4.1,12.5.1,13.*.1'
  run 'bridge to HTTP/2 starts' start http2_bridge --to "$(sed 's|^ws://||; s|/.*||' <<< "$endpoint")"
  # the client of the suite speaks HTTP/1.1 to the bridge, and the bridge HTTP/2 to the same server
  # without 2.11, which wants a pong for each ping: while a write waits for the stream, only the last is answered (RFC 6455 §5.5.3)
  run 'Autobahn over HTTP/2' python3 tests/autobahn/run.py "$endpoint" --strict --need-deflate --need-close-code \
    --cases '1.*,2.1,2.2,2.3,2.4,2.5,2.6,2.7,2.8,2.9,2.10,3.*,4.*,5.*,6.1.*,6.2.*,6.4.*,7.*,9.1.*,9.2.*,10.*,12.1.1,12.2.1,13.*.1'
  endpoint=$direct
  run 'Autobahn, our client' python3 tests/autobahn/run_client.py "$examples/autobahn_client" \
    --strict --need-deflate --need-close-code \
    --cases '1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*,12.1.1,12.1.2,12.1.3,12.1.4,12.2.1,12.3.1,12.4.1,12.5.1,13.*.1'
  local keeping=${endpoint%/ws}/keeping
  run 'Python client' timeout 300 "$ENDPOINT_PYTHON" tests/foreign/websockets_client.py "$endpoint" --binary --compression forgets
  run 'Python client, contexts kept' timeout 300 "$ENDPOINT_PYTHON" tests/foreign/websockets_client.py "$keeping" --binary --compression keeps
  run 'Node client' timeout 300 env NODE_PATH="$ENDPOINT_NODE_PATH" "$ENDPOINT_NODE" tests/foreign/ws_client.js "$endpoint" --binary --forgets
  run 'Node client, contexts kept' timeout 300 env NODE_PATH="$ENDPOINT_NODE_PATH" "$ENDPOINT_NODE" tests/foreign/ws_client.js "$keeping" --binary --keeps
  local program
  for program in ws_server chat cluster_chat polling_vs_push handshake broadcast socketio_chat axum_app programmatic production http2; do
    run "page of $program in a browser" timeout --kill-after=10 600 \
      env NODE_PATH="$ENDPOINT_NODE_PATH" EXAMPLES="$examples" "$ENDPOINT_NODE" "tests/browser/$program.js"
  done
}

# --- steps ---

run() {
  step=$1
  local began=$SECONDS
  printf '\n== %s\n' "$step"
  "${@:2}"
  printf -- '-- %s: %d s\n' "$step" $((SECONDS - began))
  steps=$((steps + 1))
}

# Removes what was built for one step alone: with all of it, a run would take 8 GiB of disk instead of 6.
forget() {
  rm -rf "${@/#/$target/}"
}

finish() {
  local status=$?
  trap - EXIT
  for pid in ${servers[@]+"${servers[@]}"}; do
    kill "$pid" 2> /dev/null || continue
    timeout 10 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
  done
  if [ "$status" -eq 0 ]; then
    printf '\nall %d steps passed in %d s\n' "$steps" "$SECONDS"
  else
    tail -n 20 "$logs"/* 2> /dev/null || true
    printf '\nfailed at: %s (exit status %d)\n' "${step:-start}" "$status" >&2
  fi
  rm -rf "$logs"
  exit "$status"
}

# Starts an example, with more arguments, on a free port and leaves its address in $endpoint.
start() {
  local log=$logs/$1.log line
  # made first, so that there is something to follow
  : > "$log"
  "$examples/$1" --addr 127.0.0.1:0 "${@:2}" >> "$log" 2>&1 &
  local pid=$!
  servers+=("$pid")
  # tail ends with the server, so a server that dies is noticed at once
  line=$(timeout 30 grep -m 1 '^endpoint: ' < <(tail --pid="$pid" -n +1 -f "$log")) || {
    echo "$1 did not print its address" >&2
    return 1
  }
  endpoint=${line#endpoint: }
  echo "$1 listens at $endpoint"
}

# The behaviour of sessions once more, with every client a stream of HTTP/2. Left out is what is about the reset of TCP (a
# reset stream discards what was not read, and is an end without a close frame), and what the bridge is too slow for.
test_over_http2() {
  local programs=(close codecs compression configurator echo errors events handshake_hooks interceptors json lifecycle liveness
    message_rates overflow parameters parts principal received sending several_replies stream_coders streams writers)
  ENDPOINT_TEST_HTTP2=1 cargo test --workspace --all-features "${programs[@]/#/--test=}" -- \
    --skip a_connection_that_is_reset_is_1006 \
    --skip idle_timeout_is_1006_here_and_1001_there \
    --skip data_after_our_close_frame_is_read_and_dropped \
    --skip batch_goes_on_after_a_write_that_failed_in_its_middle \
    --skip messages_are_handled_even_if_replies_cannot_be_written
}

# `cargo run --release --example ws_server` is what a visitor tries first: it compiles no more than it uses.
few_crates() {
  local crates
  crates=$(cargo tree --package websocket-endpoints --edges normal,build --prefix none --no-dedupe --format '{p}' |
    sed 's/ (.*//' | sort -u | wc -l)
  echo "$crates crates"
  [ "$crates" -le 75 ] || { echo "more than 75: see cargo tree --package websocket-endpoints" >&2; return 1; }
}

# The fuzz targets are a workspace of their own. Their seeds and mutations of them run with stable Rust.
replay_seeds() {
  (cd fuzz && cargo test --quiet --target-dir "$target/fuzz")
}

# --- what is published ---

# The guide is one book for each language.
build_guide() {
  local book
  while read -r book; do
    "$cache/mdbook/bin/mdbook" build "${book%/book.toml}"
  done < <(find docs/guide -name book.toml | sort)
}

# cargo takes what an earlier run unpacked or compiled of the same version for the crates that it has just packaged.
package_crates() {
  local crate
  forget packages
  while read -r crate _; do
    rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/"$crate"-[0-9]*
  done < <(published)
  cargo publish --workspace --dry-run --allow-dirty --target-dir "$target/packages"
}

check_advisories() {
  local deny=$cache/cargo-deny/bin/cargo-deny
  if timeout 120 "$deny" --all-features fetch db > "$logs/advisories" 2>&1; then
    "$deny" --all-features check --disable-fetch advisories
  else
    echo 'skipped: cannot reach the advisory database (github.com/rustsec/advisory-db)'
  fi
}

# The versions that the manifests name, each for its crates and all their features.
check_minimum_rust() {
  local crates packages version
  crates=$(published)
  while read -r version; do
    mapfile -t packages < <(awk -v version="$version" '$2 == version { print "--package=" $1 }' <<< "$crates")
    if cargo "+$version" --version > /dev/null 2>&1; then
      cargo "+$version" check --all-features --target-dir "$target/minimum-rust" "${packages[@]}"
    else
      echo "skipped for ${packages[*]#--package=}: Rust $version is not installed; run rustup toolchain install $version"
    fi
  done < <(sed 's/.* //' <<< "$crates" | sort -uV)
}

# The crates of the workspace that are published, each with its minimum Rust version.
published() {
  cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["publish"] is None:
        print(package["name"], package["rust_version"])
'
}

# --- what has to be there ---

need_rust() {
  command -v cargo > /dev/null || { echo 'cargo is missing: install Rust from https://rustup.rs' >&2; return 1; }
  local part
  for part in rustfmt clippy; do
    if ! cargo "${part/rustfmt/fmt}" --version > /dev/null 2>&1; then
      report_install "the Rust component $part"
      rustup component add "$part"
    fi
  done
  cargo --version
}

need_outside_programs() {
  local packages=()
  command -v cc > /dev/null || packages+=(build-essential)
  command -v python3 > /dev/null || packages+=(python3)
  # Debian keeps ensurepip apart from its python3
  python3 -c 'import ensurepip, venv' 2> /dev/null || packages+=(python3-venv)
  [ -n "${ENDPOINT_NODE-}" ] || command -v node > /dev/null || packages+=(nodejs)
  [ -n "${ENDPOINT_NODE_PATH-}" ] && [ -n "${SOCKET_IO_LIBRARY-}" ] || command -v npm > /dev/null || packages+=(npm)
  if [ -z "${ENDPOINT_CHROMIUM-}" ] && ! command -v chromium > /dev/null; then
    # a font with Chinese letters, for the pictures of the page
    packages+=(chromium fonts-wqy-microhei)
  fi
  # its programs alone: the package tomcat10 would start a service
  [ -n "${ENDPOINT_TOMCAT-}" ] || [ -e /usr/share/tomcat10/bin/bootstrap.jar ] || packages+=(tomcat10-common)
  [ -n "${ENDPOINT_JAVA_HOME-}" ] || command -v javac > /dev/null || packages+=(default-jdk-headless)
  [ ${#packages[@]} -eq 0 ] || apt_install "${packages[@]}"

  export ENDPOINT_NODE=${ENDPOINT_NODE:-$(command -v node)}
  export ENDPOINT_CHROMIUM=${ENDPOINT_CHROMIUM:-$(command -v chromium)}
  if [ -z "${ENDPOINT_PYTHON-}" ]; then
    cached foreign-python "$(python3 --version; cat tests/foreign/requirements.txt)" build_python
    export ENDPOINT_PYTHON=$cache/foreign-python/bin/python
  fi
  if [ -z "${ENDPOINT_NODE_PATH-}" ]; then
    cached node-foreign "$(cat tests/foreign/package-lock.json)" build_node tests/foreign
    cached node-browser "$(cat tests/browser/package-lock.json)" build_node tests/browser
    export ENDPOINT_NODE_PATH=$cache/node-foreign/node_modules:$cache/node-browser/node_modules
  fi
  if [ -z "${SOCKET_IO_LIBRARY-}" ]; then
    cached node-socketio "$(cat examples/socketio_chat/package-lock.json)" build_node examples/socketio_chat
    export SOCKET_IO_LIBRARY=$cache/node-socketio/node_modules/socket.io-client/dist/socket.io.min.js
  fi
  bash tests/autobahn/setup.sh > /dev/null

  printf '%s\n' "Python    $ENDPOINT_PYTHON" "Node.js   $ENDPOINT_NODE $("$ENDPOINT_NODE" --version)" \
    "Chromium  $ENDPOINT_CHROMIUM" "Tomcat    ${ENDPOINT_TOMCAT:-/usr/share/tomcat10}"
}

# nginx and HAProxy. Debian's packages would start services, so they are unpacked into the cache instead, with the
# libraries that are missing here.
need_proxies() {
  local path=$PATH:/usr/sbin
  export ENDPOINT_NGINX=${ENDPOINT_NGINX:-$(PATH=$path command -v nginx || true)}
  export ENDPOINT_HAPROXY=${ENDPOINT_HAPROXY:-$(PATH=$path command -v haproxy || true)}
  if [ -z "$ENDPOINT_NGINX" ] || [ -z "$ENDPOINT_HAPROXY" ]; then
    cached proxies "$(cat /etc/debian_version) nginx haproxy" build_proxies
    export ENDPOINT_NGINX=${ENDPOINT_NGINX:-$cache/proxies/nginx} ENDPOINT_HAPROXY=${ENDPOINT_HAPROXY:-$cache/proxies/haproxy}
  fi
  "$ENDPOINT_NGINX" -v
  # reads all of it, because a closed pipe would end HAProxy with an error
  "$ENDPOINT_HAPROXY" -v | sed -n 1p
}

build_proxies() {
  unpack_packages "$1" nginx haproxy
  start_script "$1" nginx usr/sbin/nginx
  start_script "$1" haproxy usr/sbin/haproxy
}

# redis-server and nats-server, for the tests of clusters; unpacked for the same reason.
need_engines() {
  export ENDPOINT_REDIS_SERVER=${ENDPOINT_REDIS_SERVER:-$(command -v redis-server || true)}
  export ENDPOINT_NATS_SERVER=${ENDPOINT_NATS_SERVER:-$(PATH=$PATH:/usr/sbin command -v nats-server || true)}
  if [ -z "$ENDPOINT_REDIS_SERVER" ] || [ -z "$ENDPOINT_NATS_SERVER" ]; then
    cached engines "$(cat /etc/debian_version) redis-server nats-server" build_engines
    export ENDPOINT_REDIS_SERVER=${ENDPOINT_REDIS_SERVER:-$cache/engines/redis-server}
    export ENDPOINT_NATS_SERVER=${ENDPOINT_NATS_SERVER:-$cache/engines/nats-server}
  fi
  "$ENDPOINT_REDIS_SERVER" --version
  "$ENDPOINT_NATS_SERVER" --version
}

build_engines() {
  # the program is in redis-tools, and redis-server only has a link to it
  unpack_packages "$1" redis-tools redis-server nats-server
  start_script "$1" redis-server usr/bin/redis-server
  start_script "$1" nats-server usr/sbin/nats-server
}

# unpack_packages FOLDER PACKAGE...: unpacks Debian packages into FOLDER/root, with the libraries that are missing here, and
# without regard to which of the packages are installed.
unpack_packages() {
  local folder=$1 archive
  as_root apt-get update -qq
  mkdir -p "$folder/archives/partial" "$folder/root"
  apt-get install -y -qq --no-install-recommends --reinstall --download-only -o Debug::NoLocking=1 \
    -o Dir::Cache::archives="$folder/archives" "${@:2}" < /dev/null
  for archive in "$folder"/archives/*.deb; do
    dpkg-deb --extract "$archive" "$folder/root"
  done
  rm -r "$folder/archives"
}

# start_script FOLDER NAME PROGRAM: makes a script FOLDER/NAME that starts PROGRAM of FOLDER/root with its libraries. It
# finds them from its own place, because the folder is moved when it is complete.
start_script() {
  printf '%s\n' '#!/bin/sh' 'root=$(dirname "$(readlink -f "$0")")/root' \
    'for folder in "$root"/usr/lib/*-linux-gnu "$root"/lib/*-linux-gnu; do libraries=$libraries:$folder; done' \
    "LD_LIBRARY_PATH=\${libraries#:} exec \"\$root/$3\" \"\$@\"" > "$1/$2"
  chmod +x "$1/$2"
}

# The versions are fixed, so that the same source passes or fails tomorrow as it does today.
need_cargo_tools() {
  # without search and server, which only reading the book needs
  cached mdbook 'mdbook 0.5.4 --no-default-features' install_crate mdbook 0.5.4 --no-default-features
  cached cargo-deny 'cargo-deny 0.20.2' install_crate cargo-deny 0.20.2
}

# Without optimisation: a tool that runs for a second is not worth minutes of compiling.
install_crate() {
  cargo install --quiet --locked --debug --root "${!#}" "$1" --version "$2" "${@:3:$#-3}"
}

# cached NAME RECIPE COMMAND...: has COMMAND fill a folder of the cache, again whenever RECIPE changes. It is filled
# aside and moved into place, so that a try that breaks off leaves nothing that looks complete.
cached() {
  local folder=$cache/$1 recipe=$2
  if [ "$(cat "$folder/recipe" 2> /dev/null)" = "$recipe" ]; then
    return
  fi
  report_install "$folder"
  mkdir -p "$cache"
  rm -rf "$folder.new"
  mkdir "$folder.new"
  "${@:3}" "$folder.new"
  printf '%s\n' "$recipe" > "$folder.new/recipe"
  rm -rf "$folder"
  mv "$folder.new" "$folder"
}

build_python() {
  python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/foreign/requirements.txt
}

build_node() {
  cp "$1/package.json" "$1/package-lock.json" "$2"
  (cd "$2" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

apt_install() {
  report_install "Debian packages: $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" < /dev/null
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

report_install() {
  echo "installing $1"
}

main "$@"
