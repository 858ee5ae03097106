#!/usr/bin/env bash
# Idle and active sessions for a long time: soak.sh [--seconds 900] [options of `many soak`]
# Fails if a session or a message is lost, or a message comes out of order, or memory grows. It is not part of run.sh. The
# table goes to target/soak.md; docs/reliability.md has the last figures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p target
exec cargo run --release --manifest-path benches/many/Cargo.toml -- soak --out target/soak.md "$@"
