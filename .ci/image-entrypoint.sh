#!/bin/sh
# The entry point of the server images that images.sh makes; it does what those of the official images do: options or a
# configuration file alone mean the server, the server does not run as root, and protected mode is off by default.
set -eu

case "${1:-}" in
  -* | *.conf) set -- redis-server "$@" ;;
esac

case "$1" in
  redis-server | valkey-server | redis-sentinel | valkey-sentinel) ;;
  *) exec "$@" ;;
esac

server=$1
shift
config=
case "${1:-}" in
  -v | -h | --version | --help | --test-memory | --check-system) exec "$server" "$@" ;;
  '' | -*) ;;
  *)
    config=$1
    shift
    ;;
esac
# A configuration file that decides about protected mode keeps the last word.
if [ -z "$config" ] || ! grep -qi '^[[:space:]]*protected-mode[[:space:]]' "$config"; then
  set -- --protected-mode no "$@"
fi
[ -z "$config" ] || set -- "$config" "$@"

# Named by its path, since the shell has a setpriv of its own that knows less.
if [ "$(id -u)" = 0 ]; then
  find . ! -user 999 -exec chown 999:999 {} +
  exec /usr/bin/setpriv --reuid 999 --regid 999 --clear-groups "$server" "$@"
fi
exec "$server" "$@"
