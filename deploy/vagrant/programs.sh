#!/bin/sh
# Puts the project's own programs on the PATH of this machine.
set -eu
for program in lockaudit lockaudit-agent locklab; do
  if [ ! -x "/vagrant/bin/$program" ]; then
    echo "bin/$program is missing: run 'make build' on the host first" >&2
    exit 1
  fi
  install -m 0755 "/vagrant/bin/$program" /usr/local/bin/
done
