import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ContainerSpec } from "../container/container.ts";
import { parseEnv, parseLabels } from "./container-env.ts";
import { createFlags, otherContainerFlags } from "./container-flags.ts";
import { containerSpec, createRequest, type CreateValues, registryOptions } from "./container-spec.ts";
import { parseFlags } from "./flags.ts";

const table = { ...createFlags, ...otherContainerFlags() };

function parse(argv: string[]): { flags: CreateValues; args: string[]; changed: Set<string> } {
  const { values, args, changed } = parseFlags(table, [...argv, "img"], { interspersed: false });
  return { flags: values as unknown as CreateValues, args, changed };
}

function spec(line: string, docker = false): ContainerSpec {
  const { flags, args } = parse(line === "" ? [] : line.split(" "));
  return containerSpec({ flags, args, docker });
}

describe("containerSpec", () => {
  test("without flags: everything private, nothing asked for", () => {
    const { env: _, ...rest } = spec("", true);
    expect(rest).toMatchInlineSnapshot(`
      {
        "addHosts": [],
        "annotations": {},
        "autoRemove": false,
        "capAdd": [],
        "capDrop": [],
        "cgroupns": "",
        "command": [],
        "devices": [],
        "dns": [],
        "dnsOptions": [],
        "dnsSearch": [],
        "expose": [],
        "groupAdd": [],
        "image": "img",
        "init": false,
        "ipc": "",
        "labels": {},
        "logDriver": "k8s-file",
        "logOptions": {},
        "mounts": [],
        "network": "bridge",
        "openStdin": false,
        "pid": "",
        "ports": [],
        "privileged": false,
        "publishAll": false,
        "readOnly": false,
        "resources": {},
        "restart": {
          "max": 0,
          "policy": "no",
        },
        "runtime": "",
        "securityOpt": [],
        "shmSize": 67108864,
        "sysctls": {},
        "terminal": false,
        "tmpfs": {},
        "ulimits": [],
        "uts": "",
      }
    `);
  });

  const cases: [string, Partial<ContainerSpec>][] = [
    ["-e A=1 -e B=2 -e A=3", { env: ["A=3", "B=2"] }],
    ["-it", { terminal: true, openStdin: true }],
    ["--rm --name x -h host1 --domainname d", { autoRemove: true, hostname: "host1", domainname: "d" }],
    ["-l a=1 -l b --label c=", { labels: { a: "1", b: "", c: "" } }],
    ["--entrypoint /x", { entrypoint: ["/x"] }],
    ['--entrypoint ["a","b"]', { entrypoint: ["a", "b"] }],
    ["--entrypoint=", { entrypoint: [] }],
    ["-u 1000:1000 -w /srv --umask 0027", { user: "1000:1000", workdir: "/srv", umask: 0o27 }],
    ["--cap-add NET_ADMIN,SYS_TIME --cap-drop ALL", { capAdd: ["NET_ADMIN", "SYS_TIME"], capDrop: ["ALL"] }],
    ["-p 8080:80", { ports: [{ hostIp: "", hostPort: 8080, containerPort: 80, protocol: "tcp", range: 1 }] }],
    [
      "-p 127.0.0.1:53:53/udp",
      { ports: [{ hostIp: "127.0.0.1", hostPort: 53, containerPort: 53, protocol: "udp", range: 1 }] },
    ],
    ["--network host -p 80:80", { network: "host", ports: [] }],
    ["--net none", { network: "none" }],
    ["--network podman", { network: "bridge" }],
    ["--network container:web", { network: "container:web" }],
    [
      "--ulimit nofile=1024:2048 --ulimit core=-1",
      {
        ulimits: [
          { name: "nofile", soft: 1024, hard: 2048 },
          { name: "core", soft: -1, hard: -1 },
        ],
      },
    ],
    ["-m 64m --memory-swap -1", { resources: { memory: 67108864, memorySwap: -1 } }],
    ["--cpus 1.5", { resources: { cpuPeriod: 100000, cpuQuota: 150000 } }],
    [
      "--cpu-quota 5000 --cpu-period 10000 -c 512",
      {
        resources: { cpuQuota: 5000, cpuPeriod: 10000, cpuShares: 512 },
      },
    ],
    ["--pids-limit 0", { resources: { pidsLimit: -1 } }],
    [
      "--oom-score-adj -500 --oom-kill-disable",
      {
        resources: { oomScoreAdj: -500, oomKillDisable: true },
        oomScoreAdj: -500,
      },
    ],
    ["--shm-size 1g", { shmSize: 1073741824 }],
    [
      "--pid host --ipc container:a --uts private --cgroupns host",
      {
        pid: "host",
        ipc: "container:a",
        uts: "",
        cgroupns: "host",
      },
    ],
    ["--restart on-failure:3", { restart: { policy: "on-failure", max: 3 } }],
    ["--restart unless-stopped", { restart: { policy: "unless-stopped", max: 0 } }],
    [
      "--add-host a:10.0.0.1 --add-host b=::1 --add-host c:host-gateway",
      {
        addHosts: ["a:10.0.0.1", "b:::1", "c:host-gateway"],
      },
    ],
    [
      "--device /dev/fuse --device /dev/a:/dev/b:r --device /dev/c:rw",
      {
        devices: ["/dev/fuse", "/dev/a:/dev/b:r", "/dev/c:/dev/c:rw"],
      },
    ],
    ["--sysctl net.ipv4.ip_forward=1", { sysctls: { "net.ipv4.ip_forward": "1" } }],
    [
      "--log-driver json-file --log-opt max-size=10m",
      { logDriver: "json-file", logOptions: { "max-size": "10485760" } },
    ],
    [
      "--stop-signal INT --stop-timeout 3 --timeout 60",
      { stopSignal: "INT", stopTimeout: 3, timeoutSeconds: 60 },
    ],
    [
      "--security-opt seccomp=unconfined --security-opt no-new-privileges",
      {
        securityOpt: ["seccomp=unconfined", "no-new-privileges"],
      },
    ],
    [
      "--dns 1.1.1.1,8.8.8.8 --dns-search a.b --dns-option ndots:1",
      {
        dns: ["1.1.1.1", "8.8.8.8"],
        dnsSearch: ["a.b"],
        dnsOptions: ["ndots:1"],
      },
    ],
    ["--tmpfs /tmp:size=64m,mode=1777 --tmpfs /x", { tmpfs: { "/tmp": "size=64m,mode=1777", "/x": "" } }],
    ["-v /a:/b", { mounts: [{ type: "bind", source: "/a", target: "/b", readOnly: false, options: [] }] }],
    [
      "-v /a/:/b/:ro,Z",
      { mounts: [{ type: "bind", source: "/a", target: "/b", readOnly: true, options: [] }] },
    ],
    [
      "-v /a:/b:rshared,noexec",
      {
        mounts: [
          { type: "bind", source: "/a", target: "/b", readOnly: false, options: ["rshared", "noexec"] },
        ],
      },
    ],
    [
      "-v data:/b",
      { mounts: [{ type: "volume", source: "data", target: "/b", readOnly: false, options: [] }] },
    ],
    ["-v /b", { mounts: [{ type: "volume", source: "", target: "/b", readOnly: false, options: [] }] }],
    [
      "--mount type=bind,src=/a,dst=/b,ro,bind-propagation=rslave",
      {
        mounts: [{ type: "bind", source: "/a", target: "/b", readOnly: true, options: ["rslave"] }],
      },
    ],
    [
      "--mount type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=700",
      {
        mounts: [
          { type: "tmpfs", source: "", target: "/t", readOnly: false, options: ["size=64m", "mode=700"] },
        ],
      },
    ],
    [
      "--mount source=data,destination=/d",
      {
        mounts: [{ type: "volume", source: "data", target: "/d", readOnly: false, options: [] }],
      },
    ],
    [
      "--mount type=image,source=img,target=/i",
      {
        mounts: [{ type: "image", source: "img", target: "/i", readOnly: true, options: [] }],
      },
    ],
  ];
  for (const [line, want] of cases) test(line, () => expect(spec(line)).toMatchObject(want));

  test("the command is what follows the image, flags included", () => {
    const { values, args } = parseFlags(table, ["-d".replace("d", "i"), "img", "sh", "-c", "x", "--rm"], {
      interspersed: false,
    });
    const made = containerSpec({ flags: values as unknown as CreateValues, args, docker: false });
    expect([made.image, made.command, made.autoRemove]).toEqual(["img", ["sh", "-c", "x", "--rm"], false]);
  });

  test("a relative source is below the working directory", () => {
    expect(spec("-v ./a:/b").mounts[0]?.source).toBe(join(process.cwd(), "a"));
  });

  test("--read-only leaves tmpfs where programs write, but not for docker or on request", () => {
    expect(Object.keys(spec("--read-only").tmpfs)).toEqual(["/run", "/tmp", "/var/tmp"]);
    expect(Object.keys(spec("--read-only -v /a:/tmp").tmpfs)).toEqual(["/run", "/var/tmp"]);
    expect(spec("--read-only", true).tmpfs).toEqual({});
    expect(spec("--read-only --read-only-tmpfs=false").tmpfs).toEqual({});
  });

  const errors: [string, string][] = [
    ["--rm --restart always", "--rm and --restart cannot be used together"],
    ["--restart sometimes", 'invalid --restart "sometimes"'],
    ["--restart always:3", "only on-failure has a count"],
    ["--ulimit nofile", 'invalid --ulimit "nofile"'],
    ["--ulimit frob=1", 'unknown limit "frob"'],
    ["--ulimit nofile=5:3", "the soft limit is above the hard one"],
    ["--memory-swap 64m", "--memory-swap must be larger than --memory"],
    ["-m 64m --memory-swap 32m", "--memory-swap must be larger than --memory"],
    ["--cpus 1 --cpu-quota 5", "--cpus cannot be used with"],
    ["--blkio-weight 5", "it goes from 10 to 1000"],
    ["--oom-score-adj 2000", "it goes from -1000 to 1000"],
    ["-p 80:x", 'invalid port "80:x"'],
    ["--network container:a -p 80:80", "ports cannot be published in another container's network"],
    ["--network container:a -h x", "--hostname cannot be used with another container's network"],
    ["--network a --network b", "more than one --network is not supported yet"],
    ["--network pasta", '--network "pasta" is not supported yet'],
    ["--pid frob", 'invalid --pid "frob"'],
    ["--ipc container:", 'invalid --ipc "container:"'],
    ["--userns keep-id", '--userns "keep-id" is not supported yet'],
    ["--gpus all", '"--gpus" is not supported yet'],
    ["--health-cmd true", '"--health-cmd" is not supported yet'],
    ["--pod x", '"--pod" is not supported yet'],
    ["-v a:b", 'the path in the container, "b", must be absolute'],
    ["-v /a:/b:/c:/d", "write it as [SOURCE:]PATH[:OPTIONS]"],
    ["-v /a:/b:frob", 'unknown option "frob"'],
    ["-v /a:/b:O", 'volume option "O" is not supported yet'],
    ["-v /a:/", "the root of the container cannot be a mount point"],
    ["-v /a:/b -v /c:/b", "something is mounted there already"],
    ["-v /a:/b --tmpfs /b", "something is mounted there already"],
    ["-v a/b:/c", '"a/b" is neither an absolute path nor the name of a volume'],
    ["--mount type=frob,target=/x", 'unknown type "frob"'],
    ["--mount type=bind,target=/x", 'a bind mount needs a "source"'],
    ["--mount type=bind,source=/x", 'a "target" must be given'],
    ["--mount type=tmpfs,target=/x,frob=1", 'unknown option "frob" for type tmpfs'],
    ["--mount type=tmpfs,source=/a,target=/x", "a tmpfs has no source"],
    ["--device fuse", 'invalid --device "fuse"'],
    ["--device /dev/a:/dev/b:q", 'invalid --device "/dev/a:/dev/b:q"'],
    ["--add-host nowhere", 'invalid --add-host "nowhere"'],
    ["--umask 999", 'invalid --umask "999"'],
    ["--log-driver journald", 'log driver "journald" is not supported yet'],
    ["--log-driver frob", 'invalid --log-driver "frob"'],
    ["-e =x", 'invalid variable "=x"'],
    ["--env-file /nonexistent/file", 'cannot read the environment file "/nonexistent/file"'],
  ];
  for (const [line, want] of errors) test(`error: ${line}`, () => expect(() => spec(line)).toThrow(want));
});

describe("files of variables and labels", () => {
  test("files come first, comments and blank lines go, bare keys take ours", () => {
    const directory = mkdtempSync(join(tmpdir(), "berth-cli-"));
    try {
      const file = join(directory, "env");
      writeFileSync(file, "# comment\n\n  A=file\r\nB=has = signs \nHOST\nUNSET\n");
      const own = { HOST: "ours", PRE_X: "1", PRE_Y: "2" };
      expect(parseEnv({ files: [file], variables: ["A=flag", "PRE_*", "NOPE"], own })).toEqual([
        "A=flag",
        "B=has = signs ",
        "HOST=ours",
        "PRE_X=1",
        "PRE_Y=2",
      ]);
      expect(parseLabels(["A=flag"], [file])).toEqual({ A: "flag", B: "has = signs ", HOST: "", UNSET: "" });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("our environment and our proxies only when asked for", () => {
    const own = { http_proxy: "http://p", X: "1" };
    expect(parseEnv({ variables: [], own })).toEqual([]);
    expect(parseEnv({ variables: [], own, proxies: true })).toEqual(["http_proxy=http://p"]);
    expect(parseEnv({ variables: ["X=2"], own, host: true })).toEqual(["http_proxy=http://p", "X=2"]);
  });
});

describe("createRequest", () => {
  function request(line: string): ReturnType<typeof createRequest> {
    const { flags, args, changed } = parse(line === "" ? [] : line.split(" "));
    return createRequest({ flags, args, docker: false }, changed);
  }
  test("says how to get the image", () => {
    expect(request("")).toMatchObject({ pull: "missing", registry: {} });
    expect(request("--pull never --platform linux/arm64")).toMatchObject({
      pull: "never",
      platform: "linux/arm64",
    });
    expect(request("--arch arm64 --variant v8").platform).toBe("linux/arm64/v8");
    expect(() => request("--arch arm64 --platform linux/arm64")).toThrow("--platform cannot be used with");
  });
  test("keeps the password out of messages", () => {
    expect(registryOptions({ creds: "u:p:w", "tls-verify": false }, new Set(["tls-verify"]))).toMatchObject({
      tlsVerify: false,
      credentials: { username: "u", password: "p:w" },
    });
    const patient = { retry: -1, "retry-delay": 50, "stall-timeout": 700, "tls-verify": true };
    expect(registryOptions(patient, new Set()).retry).toEqual({ retries: 0, baseMs: 50, stallMs: 700 });
    expect(registryOptions({ "tls-verify": true }, new Set())).not.toHaveProperty("retry");
    expect(() => registryOptions({ ...patient, "stall-timeout": 0 }, new Set())).toThrow("--stall-timeout");
    expect(() => registryOptions({ creds: "secret", "tls-verify": true }, new Set())).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining("secret") as string }),
    );
  });
});
