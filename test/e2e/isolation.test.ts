/** What a container sees and may do, on crun and runc. Values were compared with podman 4.3.1 on the same kernel. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { Box, type Outcome } from "./box.ts";

const IMAGE = "localhost/busybox";
/** podman's and docker's common eleven: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, sys_chroot, setfcap. */
const DEFAULT_CAPS = "00000000800405fb";

for (const runtime of ["crun", "runc"]) {
  describe(`on ${runtime}`, () => {
    let box: Box;
    beforeAll(() => {
      box = new Box(`isolation-${runtime}`);
      box.importBusybox();
      box.ok(["run", "--rm", "--runtime", runtime, "--network", "none", IMAGE, "true"]);
      box.mark();
    });
    afterEach(async () => {
      box.clear();
      expect(await box.leaks()).toEqual([]);
    });
    afterAll(() => box.close());

    const tries = (script: string, ...flags: string[]): Outcome =>
      box.berth([
        "run",
        "--rm",
        "--runtime",
        runtime,
        "--network",
        "none",
        ...flags,
        IMAGE,
        "sh",
        "-c",
        script,
      ]);
    const says = (script: string, ...flags: string[]): string => {
      const outcome = tries(script, ...flags);
      if (outcome.code !== 0) throw new Error(`${script}: ${outcome.code} ${outcome.stderr}`);
      return outcome.stdout.trimEnd();
    };
    const status = (field: string, ...flags: string[]): string =>
      says(`grep "^${field}:" /proc/self/status`, ...flags).split(/\s+/)[1] as string;

    describe("privileges", () => {
      test.each([
        [[], DEFAULT_CAPS],
        [["--cap-drop", "all"], "0000000000000000"],
        [["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], "0000000000001000"],
        [["--cap-add", "cap_sys_admin", "--cap-drop", "CHOWN"], "00000000802405fa"],
      ])("capabilities with %p", (flags, mask) => {
        expect(status("CapEff", ...flags)).toBe(mask);
        expect(status("CapBnd", ...flags)).toBe(mask);
        expect(status("CapInh", ...flags)).toBe("0000000000000000");
      });

      test("another user has none of them in effect; those asked for it has as ambient ones", () => {
        const read = (...flags: string[]): string =>
          says("grep -E '^Cap(Eff|Bnd|Amb)' /proc/self/status | cut -f2", "-u", "user", ...flags);
        expect(read().split("\n")).toEqual(["0000000000000000", DEFAULT_CAPS, "0000000000000000"]);
        expect(read("--cap-drop", "all", "--cap-add", "net_bind_service").split("\n")[0]).toBe(
          "0000000000000400",
        );
      });

      test("seccomp filters; unconfined does not; a profile of one's own does what it says", () => {
        expect(status("Seccomp")).toBe("2");
        expect(status("Seccomp", "--security-opt", "seccomp=unconfined")).toBe("0");
        // Filtered whatever capabilities there are: kexec_load, and with podman's list unshare too.
        expect(tries("unshare -U true").code).not.toBe(0);
        const profile = join(box.dir, "seccomp.json");
        const rule = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 13 };
        writeFileSync(profile, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule] }));
        const denied = tries("mkdir /x", "--security-opt", `seccomp=${profile}`);
        expect(denied.stderr).toContain("Permission denied");
        expect(says("touch /x && echo ok", "--security-opt", `seccomp=${profile}`)).toBe("ok");
        const missing = tries("true", "--security-opt", "seccomp=/nonexistent.json");
        expect([missing.code, missing.stderr.includes("/nonexistent.json")]).toEqual([125, true]);
      });

      test("no-new-privileges when asked for", () => {
        expect(status("NoNewPrivs")).toBe("0");
        expect(status("NoNewPrivs", "--security-opt", "no-new-privileges")).toBe("1");
        expect(status("NoNewPrivs", "--security-opt=no-new-privileges:true")).toBe("1");
      });

      test("kernel files are masked or read-only", () => {
        expect(says("cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c")).toBe("0");
        expect(
          says("ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v : | grep -v '^$' | wc -l"),
        ).toBe("0");
        for (const path of [
          "/proc/sys/kernel/hostname",
          "/proc/sysrq-trigger",
          "/sys/kernel/mm/ksm/run",
          "/proc/irq/x",
        ]) {
          const outcome = tries(`echo b > ${path}`);
          expect(outcome.code).not.toBe(0);
          expect(outcome.stderr).toMatch(/Read-only file system|nonexistent|No such file/);
        }
        const unmasked = says("mount | grep -c /proc/keys || true", "--security-opt", "unmask=ALL");
        expect(unmasked).toBe("0");
        expect(says("ls /home | wc -l", "--security-opt", "mask=/home")).toBe("0");
      });

      test("mounting, raw devices and the kernel's log are out of reach", () => {
        for (const script of [
          "mount -t tmpfs x /mnt",
          "mknod /dev/sda b 8 0",
          "hostname other",
          "dmesg",
          "chroot /proc/1/root/../.. ls /etc/berth",
        ]) {
          expect([script, tries(script).code === 0]).toEqual([script, false]);
        }
      });

      test("the clock cannot be set", () => {
        expect(says("date -s 2020-01-01 >/dev/null 2>&1; date +%Y")).toBe(String(new Date().getFullYear()));
      });

      test("the device cgroup is closed even to mknod", () => {
        const outcome = tries("mknod /tmp/vda b 254 0 && head -c1 /tmp/vda", "--cap-add", "MKNOD");
        expect(outcome.stderr).toContain("Operation not permitted");
      });

      test("--privileged opens it", () => {
        expect(
          says(
            "mkdir /m; mount -t tmpfs x /m && echo mounted; ls /dev | grep -c '^loop-control$\\|^kmsg$\\|^mem$'",
            "--privileged",
          ).split("\n")[0],
        ).toBe("mounted");
        expect(status("Seccomp", "--privileged")).toBe("0");
        expect(says("mount | grep ' /sys ' | grep -c ro, || true", "--privileged")).toBe("0");
        expect(BigInt(`0x${status("CapEff", "--privileged")}`)).toBeGreaterThan(0x1ffffffffn);
      });
    });

    describe("what is there", () => {
      test("open descriptors are 0, 1 and 2, and the listing's own", () => {
        expect(says("ls /proc/self/fd")).toBe("0\n1\n2\n3");
        expect(says("ls /proc/self/fd; cat", "-i")).toBe("0\n1\n2\n3");
        box.up("fds", "exec sleep 1000", ["--runtime", runtime]);
        expect(box.in("fds", "ls /proc/1/fd; ls /proc/self/fd")).toBe("0\n1\n2\n0\n1\n2\n3");
      });

      test("devices: the usual, nothing of the host's, and those asked for", () => {
        expect(
          says("ls /dev")
            .split("\n")
            .filter((name) => name !== "core"),
        ).toEqual("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split(" "));
        expect(
          says(
            "stat -c '%F %t,%T %a' /dev/null; head -c 3 /dev/zero | wc -c; echo x >/dev/full || echo full",
          ),
        ).toBe("character special file 1,3 666\n3\nfull");
        const given = says("stat -c '%t,%T' /dev/mine", "--device", "/dev/null:/dev/mine:r");
        expect(given).toBe("1,3");
        expect(tries("echo x >/dev/kmsg2", "--device", "/dev/kmsg:/dev/kmsg2:r").code).not.toBe(0);
      });

      test("environment: the image's, the engine's few, and -e, --env-file in the right order", () => {
        const file = join(box.dir, "env");
        writeFileSync(file, "# comment\nFILE=1\nBOTH=file\nFROM_HOST\n");
        const env = (...flags: string[]): string[] => says("env | sort", ...flags).split("\n");
        expect(env("--hostname", "h")).toEqual([
          "HOME=/root",
          "HOSTNAME=h",
          "PATH=/bin:/sbin",
          "PWD=/",
          "SHLVL=1",
          "container=oci",
        ]);
        process.env["FROM_HOST"] = "host value";
        const all = env(
          "--env-file",
          file,
          "-e",
          "BOTH=flag",
          "-e",
          "EMPTY=",
          "-e",
          "NOT_SET_HERE",
          "-e",
          "PATH=/bin",
        );
        for (const line of ["FILE=1", "BOTH=flag", "EMPTY=", "FROM_HOST=host value", "PATH=/bin"]) {
          expect(all).toContain(line);
        }
        expect(all.some((line) => line.startsWith("NOT_SET_HERE"))).toBe(false);
      });

      test("users: names, ids, groups; home and supplementary groups from the image's files", () => {
        expect(says("id", "-u", "user")).toBe("uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)");
        expect(says("id -u; id -g; id -G", "-u", "1000:2000")).toBe("1000\n2000\n2000");
        expect(says("id -u; id -g; echo $HOME", "-u", "4321")).toBe("4321\n0\n/");
        expect(says("id -g; echo $HOME", "-u", "user:0")).toBe("0\n/home/user");
        expect(says("id -G", "--group-add", "extra", "--group-add", "77")).toBe("0 77 2000");
        expect(says("umask", "--umask", "0077")).toBe("0077");
      });

      test("working directory: made when missing, owned by root's or the user's", () => {
        expect(says("pwd; ls -ld . | cut -d' ' -f1", "-w", "/made/here")).toBe("/made/here\ndrwxr-xr-x");
        expect(says("pwd", "-w", "/etc")).toBe("/etc");
        expect(tries("true", "-w", "relative").code).toBe(125);
        expect(tries("true", "-w", "/etc/passwd").code).not.toBe(0);
      });

      test("host name, hosts and resolver files", () => {
        const [name, ...lines] = says(
          "hostname; cat /etc/hosts /etc/resolv.conf",
          "--hostname=named",
          "--add-host=db:10.1.2.3",
          "--dns=9.9.9.9",
          "--dns-search=example.org",
          "--dns-option=ndots:2",
        ).split("\n");
        expect(name).toBe("named");
        expect(lines).toContain("10.1.2.3\tdb");
        expect(lines.slice(-3).sort()).toEqual([
          "nameserver 9.9.9.9",
          "options ndots:2",
          "search example.org",
        ]);
        expect(says("hostname", "--uts", "host")).toBe(hostname());
        const id = box.up("plain", "exec sleep 1000", ["--runtime", runtime]);
        expect(box.in("plain", "hostname")).toBe(id.slice(0, 12));
      });

      test("limits, kernel parameters, tmpfs, shared memory", () => {
        expect(says("ulimit -n; ulimit -Hn", "--ulimit", "nofile=500:600")).toBe("500\n600");
        expect(says("ulimit -c", "--ulimit", "core=0")).toBe("0");
        expect(
          says(
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
            "--sysctl",
            "net.ipv4.ip_unprivileged_port_start=99",
          ),
        ).toBe("99");
        expect(says("cat /proc/sys/kernel/msgmax", "--sysctl", "kernel.msgmax=12345")).toBe("12345");
        expect(
          says(
            "df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /t",
            "--tmpfs",
            "/t:size=4m,mode=700",
          ),
        ).toBe("4096\n700");
        expect(tries("cp /bin/busybox /t/x && /t/x true", "--tmpfs", "/t:noexec").stderr).toContain(
          "Permission denied",
        );
        expect(says("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2")).toBe("65536");
        expect(says("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "--shm-size", "8m")).toBe("8192");
      });

      test("--read-only: nothing but the tmpfs can be written", () => {
        expect(tries("touch /x", "--read-only").stderr).toContain("Read-only file system");
        expect(says("touch /tmp/x /run/x /var/tmp/x /dev/shm/x && echo ok", "--read-only")).toBe("ok");
        expect(tries("touch /tmp/x", "--read-only", "--read-only-tmpfs=false").code).not.toBe(0);
        expect(says("touch /data/x && echo ok", "--read-only", "-v", "/data")).toBe("ok");
      });
    });

    describe("processes", () => {
      test("it is process 1 and alone; with --init the init is, and takes the dead away", () => {
        expect(says("echo $$; ls /proc | grep -c '^[0-9]'")).toMatch(/^1\n[234]$/); // itself, ls, and grep if it was there yet
        const script =
          "(sleep 0.1 & exec true) ; sleep 0.4; cat /proc/1/comm; ps -o stat,args | grep -c '^Z' || true";
        expect(says(script, "--init")).toBe("init\n0");
        box.up("signalled", "exec sleep 1000", ["--init", "--runtime", runtime]);
        const started = Date.now();
        box.ok(["stop", "signalled"]);
        expect(Date.now() - started).toBeLessThan(5000);
        expect(box.ok(["wait", "signalled"])).toBe("143");
      });

      test("namespaces of its own, of the host, of another container", () => {
        const own = (kind: string): string => readlinkSync(`/proc/self/ns/${kind}`);
        const seen = (kind: string, ...flags: string[]): string =>
          says(`readlink /proc/self/ns/${kind}`, ...flags);
        for (const kind of ["pid", "ipc", "uts", "mnt"]) expect(seen(kind)).not.toBe(own(kind));
        expect(seen("pid", "--pid", "host")).toBe(own("pid"));
        expect(seen("ipc", "--ipc", "host")).toBe(own("ipc"));
        expect(seen("uts", "--uts", "host")).toBe(own("uts"));
        box.up("first", "exec sleep 1000", [
          "--runtime",
          runtime,
          "--ipc",
          "shareable",
          "--hostname",
          "shared",
        ]);
        const of = (kind: string): string => box.in("first", `readlink /proc/self/ns/${kind}`);
        expect(seen("pid", "--pid", "container:first")).toBe(of("pid"));
        expect(says("ps", "--pid", "container:first")).toContain("sleep 1000");
        expect(seen("ipc", "--ipc", "container:first")).toBe(of("ipc"));
        box.in("first", "echo shared >/dev/shm/x");
        expect(says("cat /dev/shm/x", "--ipc", "container:first")).toBe("shared");
        expect(says("hostname", "--uts", "container:first")).toBe("shared");
        expect(tries("true", "--pid", "container:nobody").code).toBe(125);
      });

      test("--timeout kills it; the monitor then says 255, as podman's does", () => {
        const started = Date.now();
        expect(tries("sleep 1000", "--timeout", "1").code).toBe(255);
        expect(Date.now() - started).toBeLessThan(8000);
      });
    });

    describe("mounts", () => {
      let dir: string;
      beforeAll(() => {
        dir = join(box.dir, "bound");
        mkdirSync(dir);
        writeFileSync(join(dir, "f"), "from the host\n");
      });

      test("binds: read and write, read-only, a file, a missing source, relative", () => {
        expect(says("cat /b/f; echo new >/b/new", "-v", `${dir}:/b`)).toBe("from the host");
        expect(existsSync(join(dir, "new"))).toBe(true);
        rmSync(join(dir, "new"));
        expect(tries("touch /b/x", "-v", `${dir}:/b:ro`).stderr).toContain("Read-only file system");
        expect(tries("touch /b/x", "--mount", `type=bind,src=${dir},dst=/b,readonly`).stderr).toContain(
          "Read-only",
        );
        expect(says("cat /etc/motd", "-v", `${dir}/f:/etc/motd:ro`)).toBe("from the host");
        const missing = tries("true", "--mount", `type=bind,src=${dir}/nosuch,dst=/b`);
        expect([missing.code, missing.stderr.includes("nosuch")]).toEqual([125, true]);
        // Written inside it belongs to whoever the container's user is.
        chmodSync(dir, 0o777);
        says("touch /b/mine", "-v", `${dir}:/b`, "-u", "1000:1000");
        expect(statSync(join(dir, "mine")).uid).toBe(1000);
        rmSync(join(dir, "mine"));
      });

      test("a bind is nodev and nosuid unless asked; propagation can be chosen", () => {
        expect(
          says("grep ' /b ' /proc/self/mountinfo | grep -c 'shared:\\|master:' || true", "-v", `${dir}:/b`),
        ).toBe("0");
      });

      test("named volumes keep what was written and begin with what the image has there", () => {
        expect(says("cat /var/www/index.html; echo more >/var/www/more", "-v", "site:/var/www")).toBe(
          "hello from berth",
        );
        expect(says("ls /data", "-v", "site:/data:ro")).toBe("index.html\nmore");
        expect(says("ls /var/www | wc -l", "-v", "bare:/var/www:nocopy")).toBe("0");
        expect(says("stat -c '%u %a' /home/user", "-v", "home:/home/user")).toBe("0 755");
      });

      test("anonymous volumes are fresh each time, tmpfs hides what is below", () => {
        expect(says("ls /var/www; touch /var/www/x", "-v", "/var/www")).toBe("index.html");
        expect(says("ls /var/www", "-v", "/var/www")).toBe("index.html");
        expect(says("ls -a /var/www | wc -l", "--tmpfs", "/var/www")).toBe("2");
        expect(
          says(
            "mount | grep -c ' /m type tmpfs' ; df -k /m | tail -1 | tr -s ' ' | cut -d' ' -f2",
            "--mount",
            "type=tmpfs,dst=/m,tmpfs-size=1m",
          ),
        ).toBe("1\n1024");
      });

      test("a link in the image does not lead a mount out of the container", () => {
        box.ok([
          "run",
          "--name",
          "evil",
          "--runtime",
          runtime,
          "--network",
          "none",
          IMAGE,
          "sh",
          "-c",
          `rm -r /var/www; ln -s ${dir}/../escaped /var/www`,
        ]);
        box.ok(["commit", "evil", "localhost/evil:1"]);
        const run = ["run", "--rm", "--runtime", runtime, "--network", "none", "-v", "site:/var/www"];
        box.berth([...run, "localhost/evil:1", "touch", "/var/www/z"]);
        expect(existsSync(join(box.dir, "escaped"))).toBe(false);
        box.ok(["rmi", "-f", "localhost/evil:1"]);
      });
    });
  });
}
