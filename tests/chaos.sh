#!/usr/bin/env bash
# Bad networks and bad clients against examples/production: chaos.sh [options of benches/chaos/chaos.py]
# Fails if a client that behaves loses a message or is served late, if a session is left, or if memory does not come back.
# It needs root, iproute2, openssl and python3, and takes four minutes. It is not part of run.sh. The table goes to
# target/chaos.md; docs/reliability.md has the last figures. SERVER is the program, if it is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${SERVER-}" ]; then
  cargo build --quiet --release --package examples --example production
  SERVER=${CARGO_TARGET_DIR:-target}/release/examples/production
fi
mkdir -p target
exec python3 benches/chaos/chaos.py "$SERVER" --out target/chaos.md "$@"
