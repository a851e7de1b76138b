#!/bin/sh
# usage: tools/make_venv.sh FOLDER
# Makes a virtual environment with the first Python >= 3.11 that runs; PYTHON=... chooses one.
set -eu
folder=$1
here=$(dirname "$0")

python=""
for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    # run it: a version manager's shim exists for versions that are switched off
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        python=$name
        break
    fi
done
if [ -z "$python" ]; then
    echo "poise needs Python 3.11 or newer; tried: ${PYTHON:-python3 python3.13 python3.12 python3.11}." >&2
    echo "Install one (Debian 12 or newer: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi

# Debian ships ensurepip apart, in pythonX.Y-venv
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    sh "$here/system_packages.sh" "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi
"$python" -m venv "$folder"
