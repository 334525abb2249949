#!/usr/bin/env bash
# Makes sure that the container images which the tests and the compose file name are there. An image that the engine
# has or can pull is left alone; otherwise one that behaves like it is made from Debian's packages, under the same name.
# Usage: images.sh [NAME...]; without names all of them.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# An image made here carries this label, so that a later recipe replaces it and a pulled one is never touched.
label=io.github.gatherq.recipe
recipe=$(cat "$ci/images.sh" "$ci/image-entrypoint.sh" | sha256sum | cut -c1-16)

# made_with prints the recipe that an image was made with: empty for one that was pulled; fails where there is none.
made_with() { docker image inspect --format "{{with .Config.Labels}}{{index . \"$label\"}}{{end}}" "$1" 2>/dev/null; }

# present succeeds when the engine has the image, or can pull it, and it is not one of an older recipe.
present() {
  local name=$1 want=$2 have
  if have=$(made_with "$name"); then
    [ -z "$have" ] || [ "$have" = "$want" ]
    return
  fi
  timeout 120 docker pull --quiet "$name" >/dev/null 2>&1
}

# copy_program puts a program of a Debian tree, with the libraries that it names, into a stage.
copy_program() {
  local root=$1 stage=$2 program=$3 library
  install -D "$root$program" "$stage$program"
  chroot "$root" ldd "$program" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
    [ -e "$stage$library" ] || install -D "$root$library" "$stage$library"
  done
}

# server_image NAME TREE FLAVOUR makes the image of a redis or valkey server, laid out as the official one is.
server_image() {
  local name=$1 tree=$2 flavour=$3 root stage tool
  present "$name" "$recipe" && return 0
  say "making $name"
  root=$($tree)
  stage=$(mktemp -d)
  mkdir -p "$stage"/{bin,data,dev,etc,proc,sys,tmp,usr/local/bin,usr/local/etc}
  chmod 1777 "$stage/tmp"
  copy_program "$root" "$stage" "/usr/bin/$flavour-server"
  copy_program "$root" "$stage" "/usr/bin/$flavour-cli"
  copy_program "$root" "$stage" "/usr/bin/$flavour-benchmark"
  copy_program "$root" "$stage" /usr/bin/setpriv
  for tool in sentinel check-aof check-rdb; do ln -s "$flavour-server" "$stage/usr/bin/$flavour-$tool"; done
  if [ "$flavour" != redis ]; then
    for tool in server cli benchmark sentinel check-aof check-rdb; do ln -s "$flavour-$tool" "$stage/usr/bin/redis-$tool"; done
  fi
  # A shell and the small tools, for the entry point and for `docker exec`.
  install -D "$(trixie_tree)/usr/bin/busybox" "$stage/bin/busybox"
  for tool in $("$stage/bin/busybox" --list); do [ -e "$stage/bin/$tool" ] || ln -s busybox "$stage/bin/$tool"; done
  install -m 755 "$ci/image-entrypoint.sh" "$stage/usr/local/bin/docker-entrypoint.sh"
  printf 'root:x:0:0:root:/data:/bin/sh\n%s:x:999:999::/data:/bin/sh\n' "$flavour" >"$stage/etc/passwd"
  printf 'root:x:0:\n%s:x:999:\n' "$flavour" >"$stage/etc/group"
  chown 999:999 "$stage/data"
  tar -C "$stage" -c . | docker import --message 'made by .ci/images.sh' \
    --change 'ENV PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'WORKDIR /data' \
    --change 'VOLUME /data' \
    --change 'EXPOSE 6379' \
    --change 'ENTRYPOINT ["docker-entrypoint.sh"]' \
    --change "CMD [\"$flavour-server\"]" \
    --change "LABEL $label=$recipe" \
    - "$name" >/dev/null
  rm -rf "$stage"
}

# golang_image NAME makes the image that the Dockerfile builds in: Debian with this machine's own Go, and its CA
# certificates, since its module proxy may stand behind a private one.
golang_image() {
  local name=$1 goroot version release
  goroot=$(go env GOROOT)
  version=$(go env GOVERSION)
  present "$name" "$recipe-$version" && return 0
  release=${name#golang:} release=${release%%-*}
  [[ $version == "go$release" || $version == "go$release".* ]] || fail "$name needs Go $release here, not $version"
  say "making $name with $version"
  tar -c --transform "s,^$(basename "$goroot"),usr/local/go,S" --exclude './dev/*' --exclude ./etc/ssl/certs/ca-certificates.crt --exclude "$(basename "$goroot")/test" \
    -C "$(trixie_tree)" . -C "$(dirname "$goroot")" "$(basename "$goroot")" -C / etc/ssl/certs/ca-certificates.crt |
    docker import --message 'made by .ci/images.sh' \
      --change 'ENV PATH /go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      --change 'ENV GOPATH /go' \
      --change 'ENV GOTOOLCHAIN local' \
      --change 'WORKDIR /go' \
      --change 'CMD ["bash"]' \
      --change "LABEL $label=$recipe-$version" \
      - "$name" >/dev/null
}

# bookworm_tree prints the root of a Debian bookworm with redis-server: this machine's own where it is one.
bookworm_tree() {
  if [[ -x /usr/bin/redis-server && $(/usr/bin/redis-server --version) == *v=7.0.* ]]; then
    echo /
  else
    bash "$ci/tree.sh" bookworm redis-server
  fi
}

[ $# -gt 0 ] || set -- redis:8.0 redis:7.0 valkey/valkey:8.1 golang:1.26-trixie
for name in "$@"; do
  case $name in
    redis:8.0) server_image "$name" trixie_tree redis ;;
    redis:7.0) server_image "$name" bookworm_tree redis ;;
    valkey/valkey:8.1) server_image "$name" trixie_tree valkey ;;
    golang:*) golang_image "$name" ;;
    *) fail "no recipe for the image $name" ;;
  esac
  printf '%-22s %s\n' "$name" "$(docker image inspect --format '{{.Id}} {{.Size}}' "$name")"
done
