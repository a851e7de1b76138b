#!/bin/sh
# usage: tools/system_packages.sh NAME...
# Installs the Debian packages that are missing when it runs as root, else prints the one command that does and fails.
set -eu
missing=""
for name in "$@"; do
    status=$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null) || status=""
    [ "$status" = "install ok installed" ] || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

# shellcheck disable=SC2086  # a list of names, split on purpose
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "== apt-get install$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update </dev/null
    apt-get -qq -y install --no-install-recommends $missing </dev/null >/dev/null
else
    echo "Missing system packages. Run this once, then make again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y$missing" >&2
    exit 1
fi
