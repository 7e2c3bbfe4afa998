#!/usr/bin/env bash
# The demonstration: sets up, builds, and shows a container's whole life with a real registry and a real image,
# in a store of its own that is gone at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "start: berth needs root for now: sudo npm start" >&2
  exit 1
fi

bold= plain=
if [ -t 1 ]; then
  bold=$(tput bold 2>/dev/null || true)
  plain=$(tput sgr0 2>/dev/null || true)
fi
step() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }
# Shows the command as a person would type it, then runs it.
show() {
  local word line="berth"
  for word in "$@"; do
    case $word in
    *[!A-Za-z0-9_./:=@,-]*) line+=" ${word@Q}" ;;
    *) line+=" $word" ;;
    esac
  done
  printf '%s$ %s%s\n' "$bold" "$line" "$plain"
  "$berth" "$@"
}

step "Set-up"
bash scripts/setup.sh start
bash scripts/build.sh

berth=$PWD/dist/berth
work=$(mktemp -d /tmp/berth-start-XXXXXX)
export BERTH_ROOT=$work/root BERTH_RUN=$work/run
registry=
clean_up() {
  status=$?
  "$berth" system reset --force >/dev/null 2>&1 || true
  if [ -n "$registry" ]; then kill "$registry" 2>/dev/null || true; wait "$registry" 2>/dev/null || true; fi
  rm -rf "$work"
  [ "$status" = 0 ] || echo "start: failed (status $status)" >&2
}
trap clean_up EXIT
free_port() { node -e 'const s=require("net").createServer();s.listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'; }

step "A small real image, from Debian's busybox-static"
rootfs=$work/rootfs
mkdir -p "$rootfs"/{bin,etc,tmp,root,dev,proc,sys,www}
cp /bin/busybox "$rootfs/bin/busybox"
chroot "$rootfs" /bin/busybox --install -s /bin
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$rootfs/etc/passwd"
printf 'root:x:0:\n' >"$rootfs/etc/group"
printf '<h1>Hello from a container that berth runs</h1>\n' >"$rootfs/www/index.html"
tar -C "$rootfs" -cf "$work/rootfs.tar" .
show import --change 'CMD ["httpd","-f","-v","-p","80","-h","/www"]' --change 'EXPOSE 80' "$work/rootfs.tar" localhost/hello

step "To a real registry on loopback, and back"
port=$(free_port)
cat >"$work/registry.yml" <<YAML
version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: $work/registry } }
http: { addr: "127.0.0.1:$port" }
YAML
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 100); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  kill -0 "$registry" 2>/dev/null || { cat "$work/registry.log" >&2; exit 1; }
  sleep 0.05
done
image=127.0.0.1:$port/hello:latest
show tag localhost/hello "$image"
show push "$image"
show rmi localhost/hello "$image"
show pull "$image"
show images

step "A container with a published port"
http=$(free_port)
show run -d --name web -p "127.0.0.1:$http:80" "$image"
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$http") 2>/dev/null && break; sleep 0.05; done
echo "${bold}\$ fetch http://127.0.0.1:$http/${plain}"
node -e 'fetch(process.argv[1]).then(async (r) => { if (!r.ok) process.exit(1); process.stdout.write(await r.text()); })' "http://127.0.0.1:$http/"
show exec web sh -c 'echo "inside: $(hostname), $(ls / | wc -l) entries in the root, pid $$"'
show logs web
show ps
show inspect --format '{{.Name}} is {{.State.Status}} at {{.NetworkSettings.IPAddress}} on {{.OCIRuntime}}' web
show stats --no-stream web
show stop -t 1 web
show rm web
show rmi "$image"

step "Nothing is left"
show ps -a
show system check
leftover=$(findmnt -rno TARGET | grep -F "$work" || true)
[ -z "$leftover" ] || { echo "start: still mounted: $leftover" >&2; exit 1; }

cat <<EOF

${bold}That was berth.${plain} The binary is dist/berth; for everyday use:

  install -m 755 dist/berth /usr/local/bin/berth
  berth --help
  berth run --rm -it IMAGE sh
  berth completion bash > /etc/bash_completion.d/berth

Next: docs in README.md, the tests with "npm test", the comparison with docker and podman with "npm run bench".
EOF
