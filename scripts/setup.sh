#!/usr/bin/env bash
# Installs what berth needs: Debian packages and the npm packages of package-lock.json. Idempotent.
#   scripts/setup.sh          what `npm start` needs
#   scripts/setup.sh test     and what `npm test` needs
#   scripts/setup.sh bench    and the peers that `npm run bench` compares with
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(crun runc conmon nftables busybox-static docker-registry catatonit ca-certificates)
case "${1:-start}" in
start) ;;
test) packages+=(runsc skopeo podman zsh fish strace iproute2 procps zstd xz-utils bzip2 openssl curl) ;;
bench) packages+=(runsc skopeo strace iproute2 procps zstd xz-utils bzip2 openssl curl podman docker.io containerd hyperfine iptables) ;;
*) echo "usage: scripts/setup.sh [start|test|bench]" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "setup: these Debian packages are missing: ${missing[*]} (run this as root, or install them)" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Services of the packages are not wanted: berth has no daemon, and the tests start their own peers.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  log=$(mktemp)
  if ! apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
  rm -f "$log"
fi

if [ ! -x node_modules/.bin/bun ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "setup: installing the npm packages of package-lock.json"
  # Not `npm ci`: it refuses a lock file that does not name the optional binaries of every platform there is,
  # and not every registry has them all. This takes the locked versions and leaves the lock file as it is.
  npm install --no-save --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
echo "setup: ready ($(node_modules/.bin/bun --version | sed 's/^/bun /'), $(crun --version | head -1), $(runc --version | head -1))"
