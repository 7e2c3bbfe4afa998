/**
 * Golden specifications: each request's config.json is kept whole in test/golden/spec. After a wanted change run
 * `BERTH_UPDATE_GOLDEN=1 bun test src/container/spec.test.ts` and read the difference.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { aHost, anImage, anInput } from "../../test/golden/spec/fixture.ts";
import type { ContainerSpec } from "./container.ts";
import { imageVolumes } from "./mounts.ts";
import type { BuiltSpec, HostFacts, SpecInput } from "./spec-input.ts";
import { encodeSpec } from "./spec-oci.ts";
import { seccompPlan } from "./spec-security.ts";
import { buildSpec } from "./spec.ts";

const GOLDEN = `${import.meta.dir}/../../test/golden/spec`;

const v2: HostFacts["cgroup"] = {
  mode: "v2",
  controllers: ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"],
  swapLimit: true,
  blkioWeight: true,
};

const limits: Partial<ContainerSpec> = {
  resources: {
    memory: 268435456,
    memoryReservation: 134217728,
    cpuShares: 512,
    cpuQuota: 150000,
    cpuPeriod: 100000,
    cpusetCpus: "0-1",
    pidsLimit: 100,
    blkioWeight: 300,
    oomKillDisable: true,
  },
  oomScoreAdj: -500,
};

const mounts: ContainerSpec["mounts"] = [
  { type: "bind", source: "/srv/data", target: "/data/", readOnly: false, options: ["rshared", "z"] },
  { type: "bind", source: "/srv/conf", target: "/data/conf", readOnly: true, options: ["nosuid"] },
  {
    type: "volume",
    source: "/var/lib/berth/volumes/v1",
    target: "/var/cache",
    readOnly: false,
    options: ["nocopy"],
  },
  {
    type: "tmpfs",
    source: "",
    target: "/scratch",
    readOnly: false,
    options: ["size=16m", "exec", "mode=700"],
  },
  { type: "bind", source: "/srv/hosts", target: "/etc/hosts", readOnly: true, options: [] },
];

const unprivileged = { uid: 1000, gid: 1000, additionalGids: [4, 1000], home: "/home/user", name: "user" };
const device = {
  path: "/dev/fuse",
  type: "c",
  major: 10,
  minor: 229,
  mode: 0o20666,
  uid: 0,
  gid: 0,
  access: "rwm",
} as const;

const cases: Record<string, [Partial<ContainerSpec>, Partial<SpecInput>?]> = {
  default: [{}],
  tty: [{ terminal: true, openStdin: true, env: ["LANG=C.UTF-8", "HOME=/tmp"], command: ["sh", "-l"] }],
  privileged: [{ privileged: true, capDrop: ["sys_module"] }, { devices: [device] }],
  "read-only": [{ readOnly: true, securityOpt: ["no-new-privileges"] }],
  user: [{ user: "user", umask: 0o77, capAdd: ["NET_RAW"] }, { user: unprivileged }],
  capabilities: [{ capAdd: ["NET_ADMIN", "cap_sys_resource"], capDrop: ["ALL"] }],
  "resources-v1": [limits],
  "resources-v2": [limits, { host: aHost({ cgroup: v2, canRaise: true }) }],
  "host-network": [{ network: "host", domainname: "quay.test" }],
  "host-pid-ipc-uts": [{ pid: "host", ipc: "host", uts: "host", cgroupns: "private" }],
  joined: [
    { pid: "container:a", ipc: "container:a", network: "container:a", uts: "ns:/proc/1/ns/uts" },
    {
      joined: { pid: "/proc/42/ns/pid", ipc: "/proc/42/ns/ipc" },
      netnsPath: "/run/berth/netns/a",
      files: { shmPath: "/run/berth/a/shm" },
    },
  ],
  mounts: [{ mounts, tmpfs: { "/var/tmp": "" } }],
  init: [
    { init: true, workdir: "/srv//app/../www/", entrypoint: ["/bin/app"] },
    { initPath: "/usr/bin/catatonit" },
  ],
  sysctls: [
    {
      sysctls: {
        "net/ipv4/ip_forward": "1",
        "kernel.shmmax": "68719476736",
        "net.ipv4.ip_unprivileged_port_start": "1024",
      },
    },
  ],
  ulimits: [
    {
      ulimits: [
        { name: "nofile", soft: 1048576, hard: 1048576 },
        { name: "core", soft: -1, hard: -1 },
        { name: "RLIMIT_NPROC", soft: 10, hard: 20 },
      ],
    },
  ],
  security: [
    {
      securityOpt: [
        "unmask=/proc/acpi:/sys/*",
        "mask=/proc/cpuinfo:/proc/bus",
        "proc-opts=hidepid=2",
        "label=disable",
      ],
      devices: ["/dev/fuse"],
    },
    { devices: [device] },
  ],
  rootless: [
    { network: "host" },
    {
      host: aHost({
        rootless: true,
        ttyGid: false,
        cgroup: v2,
        limits: { nofile: { soft: 1024, hard: 4096 } },
      }),
    },
  ],
  "crun-filter": [
    { annotations: { "run.oci.handler": "wasm", note: "x", kept: "y" } },
    { seccomp: { kind: "bpf", base64: "BgAAAAAA/38=" }, allowedAnnotations: ["kept", "run.oci.handler"] },
  ],
};

function built(spec: Partial<ContainerSpec>, changes: Partial<SpecInput> = {}): BuiltSpec {
  return buildSpec(anInput(spec, changes));
}

describe("golden", () => {
  for (const [name, [spec, changes]] of Object.entries(cases)) {
    test(name, () => {
      const { spec: made, notes, workdir } = built(spec, changes);
      const path = `${GOLDEN}/${name}.json`;
      const pretty = `${encodeSpec({ notes, workdir, spec: made }, 2)}\n`;
      if (process.env["BERTH_UPDATE_GOLDEN"]) writeFileSync(path, pretty);
      expect(pretty).toBe(readFileSync(path, "utf8"));
    });
  }
});

describe("argv", () => {
  const image = anImage({ Entrypoint: ["/entry"], Cmd: ["a", "b"] });
  const args = (spec: Partial<ContainerSpec>) => built(spec, { image }).spec.process.args;

  test("joins entrypoint and command by Docker's rules", () => {
    expect(args({})).toEqual(["/entry", "a", "b"]);
    expect(args({ command: ["c"] })).toEqual(["/entry", "c"]);
    expect(args({ entrypoint: ["/other"] })).toEqual(["/other"]);
    expect(args({ entrypoint: ["/other", "-x"], command: ["c"] })).toEqual(["/other", "-x", "c"]);
    expect(args({ entrypoint: [""], command: ["c"] })).toEqual(["c"]);
    expect(args({ entrypoint: [] })).toEqual(["a", "b"]);
  });

  test("says so when there is nothing to run", () => {
    expect(() => args({ entrypoint: [""] })).toThrow("no command specified");
    expect(() => built({}, { image: undefined })).toThrow("no command specified");
  });
});

describe("environment", () => {
  const env = (
    own: string[],
    hostEnv = {},
    image = anImage({ Cmd: ["x"], Env: ["A=image", "PATH=/bin", "B=image"] }),
  ) => built({ env: own }, { hostEnv, image }).spec.process.env;

  test("request over image over defaults; a name alone takes the caller's value or removes", () => {
    const made = env(["A=request", "HOSTVAR", "B"], { HOSTVAR: "from host" });
    expect(made).toContain("A=request");
    expect(made).toContain("PATH=/bin");
    expect(made).toContain("HOSTVAR=from host");
    expect(made.some((entry) => entry.startsWith("B="))).toBe(false);
  });

  test("an image's name alone does not fetch the caller's value", () => {
    const made = env([], { SECRET: "s" }, anImage({ Cmd: ["x"], Env: ["SECRET"] }));
    expect(made.join()).not.toContain("SECRET");
  });

  test("keeps newlines in values, and refuses what would end a string or write a line of its own", () => {
    expect(env(["M=a\nb"])).toContain("M=a\nb");
    for (const bad of ["A=\0", "=x", "", "A\n=1", "HOME=/x\ny:0:0", "HOSTNAME=a\nb", "HOME=/\r"]) {
      expect(() => env([bad])).toThrow();
    }
    expect(() => env([], {}, anImage({ Cmd: ["x"], Env: ["HOME=/x\nroot::0:0::/:/bin/sh"] }))).toThrow(
      "control byte",
    );
  });
});

describe("hostile images", () => {
  const workdir = (path: string) => built({}, { image: anImage({ Cmd: ["x"], WorkingDir: path }) }).workdir;

  test("the working directory stays inside and never goes through /proc", () => {
    expect(workdir("../../etc")).toBe("/etc");
    expect(workdir("app")).toBe("/app");
    for (const path of [
      "/proc/self/fd/7",
      "/proc/./self//fd/8",
      "/x/../proc/1/root",
      "/proc/thread-self/cwd",
      "/a\nb",
    ]) {
      expect(() => workdir(path)).toThrow();
    }
    expect(() => built({ workdir: "relative" })).toThrow("not an absolute path");
  });

  test("labels, volumes and stop signals of the image give no orders", () => {
    const image = anImage({
      Cmd: ["x"],
      Labels: { "run.oci.hooks.stderr": "/x", "org.systemd.property.ExecStartPre": "'/bin/sh'" },
      Volumes: { "/../../../../etc/canary": {}, "/proc": {}, "/sys/fs": {}, "": {}, data: {}, "/dev": {} },
    });
    const { annotations } = built({ labels: { "run.oci.handler": "krun" } }, { image }).spec;
    expect(Object.keys(annotations)).toEqual(["io.container.manager"]);
    expect(imageVolumes(image, anInput().spec)).toEqual(["/data", "/etc/canary"]);
    const taken = anInput({ tmpfs: { "/data/": "" } }).spec;
    expect(imageVolumes(image, taken)).toEqual(["/etc/canary"]);
    expect(() => built({}, { image: anImage({ Cmd: ["x"], StopSignal: "TERM\n" }) })).toThrow("control byte");
  });

  test("annotations are compared whole, and the runtime's own are never passed on", () => {
    const made = built(
      { annotations: { allowed: "1", allowedx: "2", "run.oci.seccomp_bpf_data": "AAAA" } },
      { allowedAnnotations: ["allowed", "run.oci.seccomp_bpf_data"] },
    );
    expect(made.spec.annotations).toEqual({ "io.container.manager": "berth", allowed: "1" });
    expect(made.notes.length).toBe(2);
  });
});

describe("mounts", () => {
  const bind = (target: string, options: string[] = [], source = "/s") =>
    built({ mounts: [{ type: "bind", source, target, readOnly: false, options }] }).spec;

  test("parents come before children, and the user's mounts replace the system's", () => {
    const order = built({ mounts, readOnly: true, tmpfs: { "/tmp": "size=1m" } }).spec.mounts.map(
      (one) => one.destination,
    );
    for (const [index, path] of order.entries()) {
      expect(order.slice(index).every((later) => !path.startsWith(`${later}/`))).toBe(true);
    }
    expect(new Set(order).size).toBe(order.length);
    const own = bind("/dev").mounts.map((one) => one.destination);
    expect(own.filter((path) => path.startsWith("/dev"))).toEqual(["/dev"]);
  });

  test("shared propagation reaches the root; unknown options and reserved targets are refused", () => {
    expect(bind("/x", ["rshared"]).linux.rootfsPropagation).toBe("shared");
    expect(bind("/x", ["rslave"]).linux.rootfsPropagation).toBe("rslave");
    expect(bind("/x").linux.rootfsPropagation).toBeUndefined();
    for (const option of ["upperdir=/x", "rshared,/x", "remount", "size=1m", ""]) {
      expect(() => bind("/x", [option])).toThrow("unknown option");
    }
    for (const target of ["/", "/x/..", "/proc", "relative", "/a\0b"]) expect(() => bind(target)).toThrow();
    expect(bind("/proc", [], "/proc").mounts.find((one) => one.destination === "/proc")?.type).toBe("bind");
    expect(() => bind("/x", [], "volume-name")).toThrow("not a host path");
  });

  test("the same target twice is refused, however it is written", () => {
    const twice = [
      { type: "bind", source: "/a", target: "/x", readOnly: false, options: [] },
      { type: "bind", source: "/b", target: "/y/../x/", readOnly: false, options: [] },
    ] as const;
    expect(() => built({ mounts: twice.map((one) => ({ ...one, options: [] })) })).toThrow("two mounts");
    expect(() => built({ mounts: [{ ...twice[0], options: [] }], tmpfs: { "/x": "" } })).toThrow(
      "two mounts",
    );
  });

  test("--init does not write into a /dev that may be the host's", () => {
    const dev = [
      { type: "bind", source: "/dev", target: "/dev", readOnly: false, options: [] },
    ] as ContainerSpec["mounts"];
    const made = built({ init: true, mounts: dev }, { initPath: "/usr/bin/tini" }).spec;
    expect(made.process.args[0]).toBe("/.berth-init");
    expect(made.mounts.filter((one) => one.destination.startsWith("/dev/"))).toEqual([]);
    expect(() => built({ init: true })).toThrow("no init binary");
  });
});

test("what the host cannot do is left out with a note, not refused", () => {
  const poor = aHost({ cgroup: { mode: "v2", controllers: ["pids"], swapLimit: false, blkioWeight: false } });
  const made = built(limits, { host: poor });
  expect(Object.keys(made.spec.linux.resources).toSorted()).toEqual(["devices", "pids"]);
  expect(made.notes.join("\n")).toContain("cannot limit memory");
  expect(made.notes.join("\n")).toContain("oom score adjustment -500 raised to the host's 0");
});

test("limits: -1 is unlimited in the file, and only there", () => {
  const made = built({ ulimits: [{ name: "stack", soft: -1, hard: -1 }] }).spec;
  expect(encodeSpec(made)).toContain(
    '{"type":"RLIMIT_STACK","soft":18446744073709551615,"hard":18446744073709551615}',
  );
  const raised = built(
    { ulimits: [{ name: "nofile", soft: -1, hard: -1 }] },
    { host: aHost({ canRaise: true }) },
  );
  expect(raised.notes).toEqual([]);
  expect(raised.spec.process.rlimits.find((one) => one.type === "RLIMIT_NOFILE")?.hard).toBe(
    18446744073709551615n,
  );
});

test("--ipc none has no /dev/shm", () => {
  const targets = (ipc: string) => built({ ipc }).spec.mounts.map((one) => one.destination);
  expect(targets("none")).not.toContain("/dev/shm");
  expect(targets("shareable")).toContain("/dev/shm");
});

test("the filter that a request needs", () => {
  const plan = (spec: Partial<ContainerSpec>, seccomp = true) =>
    seccompPlan(anInput(spec).spec, aHost({ seccomp }));
  expect(plan({})).toEqual({ kind: "default" });
  expect(plan({ privileged: true })).toEqual({ kind: "unconfined" });
  expect(plan({ securityOpt: ["seccomp=unconfined"] })).toEqual({ kind: "unconfined" });
  expect(plan({ securityOpt: ["seccomp=/p.json"] })).toEqual({ kind: "file", path: "/p.json" });
  expect(plan({ privileged: true, securityOpt: ["seccomp=/p.json"] })).toEqual({
    kind: "file",
    path: "/p.json",
  });
  expect(plan({ securityOpt: ['seccomp={\n"defaultAction": "SCMP_ACT_ALLOW"}'] })).toMatchObject({
    kind: "inline",
  });
  expect(() => plan({ securityOpt: ["seccomp=/p\n.json"] })).toThrow("control byte");
  expect(plan({}, false)).toEqual({ kind: "unconfined" });
});
