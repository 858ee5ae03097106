#!/usr/bin/env bash
# Installs the Autobahn suite, rewritten for Python 3, into a venv outside the repository, and prints the path
# of that venv's Python. Where it is installed already this reads three small files and touches no network.
#
#   AUTOBAHN_PYTHON   the CPython to build with (default: python3)
#   AUTOBAHN_HOME     where the venv lives (default: ${XDG_CACHE_HOME:-~/.cache}/websocket-endpoints/autobahn)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${AUTOBAHN_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/websocket-endpoints/autobahn}
suite='autobahntestsuite==25.10.1'

# whatever the installed copy is made of; a change of any of it builds the venv anew
recipe=$( (echo "$suite" && cat "$here/requirements.txt" "$here/port.py" "$here/wire_bytes.py") | sha256sum)

if [ "$(cat "$venv/recipe" 2>/dev/null)" = "$recipe" ] && [ -x "$venv/bin/python" ]; then
  echo "$venv/bin/python"
  exit 0
fi

python=${AUTOBAHN_PYTHON:-python3}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "setup: $python cannot make a venv; install python3-venv, or name another in AUTOBAHN_PYTHON" >&2
  exit 2
fi

# Built aside and moved into place whole: a try that breaks off leaves nothing that looks installed. (The
# scripts in the venv's bin/ keep the old path, so everything is called as `python -m`.)
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$(dirname "$venv")"
new=$(mktemp -d "$venv.XXXXXX")
trap 'rm -rf "$new"' EXIT
echo "setup: building the Autobahn venv in $venv" >&2
{
  "$python" -m venv "$new"
  "$new/bin/python" -m pip install --quiet --requirement "$here/requirements.txt"
  "$new/bin/python" -m pip install --quiet --no-deps "$suite"
  "$new/bin/python" -W ignore "$here/port.py"
} >&2
echo "$recipe" > "$new/recipe"
rm -rf "$venv"
mv "$new" "$venv"
echo "$venv/bin/python"
