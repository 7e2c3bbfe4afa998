/** Runs a specification on a real low-level runtime in a directory of its own, and takes away what that leaves. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from "node:fs";
import { encodeSpec, type OciSpec } from "../../../src/container/spec-oci.ts";

export interface OciRun {
  runtime: "crun" | "runc";
  spec: OciSpec;
  /** Directory for the bundle; its `rootfs` is the root. */
  bundle: string;
}

export interface OciOutcome {
  code: number;
  stdout: Buffer;
  stderr: string;
}

const UNIFIED = "/sys/fs/cgroup/unified";

/** crun refuses hosts whose unified hierarchy has controllers beside v1: it gets a mount namespace without that mount. */
function prefix(runtime: string): string[] {
  const hybrid = existsSync(`${UNIFIED}/cgroup.controllers`);
  if (runtime !== "crun" || !hybrid) return [];
  const script = `umount ${UNIFIED}; exec "$0" "$@"`;
  return ["unshare", "-m", "--propagation", "slave", "sh", "-c", script];
}

export function runOci({ runtime, spec, bundle }: OciRun): OciOutcome {
  const root = `${bundle}/state`;
  const id = spec.linux.cgroupsPath.slice(1).replaceAll("/", "-");
  const full: OciSpec = { ...spec, root: { ...spec.root, path: `${bundle}/rootfs` } };
  writeFileSync(`${bundle}/config.json`, encodeSpec(full));
  const base = [...prefix(runtime), runtime, "--root", root];
  try {
    const done = Bun.spawnSync([...base, "run", "--bundle", bundle, id], { stdin: "ignore", timeout: 20_000 });
    return { code: done.exitCode, stdout: done.stdout, stderr: done.stderr.toString() };
  } finally {
    Bun.spawnSync([...base, "delete", "--force", id]);
    removeCgroups(spec.linux.cgroupsPath);
  }
}

/** The runtime's own directory and the first component above it, which is this test's, in every hierarchy. */
function removeCgroups(path: string): void {
  const top = `/${path.split("/")[1]}`;
  const hierarchies = readdirSync("/sys/fs/cgroup", { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const base of ["/sys/fs/cgroup", ...hierarchies.map((entry) => `/sys/fs/cgroup/${entry.name}`)]) {
    for (const directory of [base + path, base + top]) {
      if (existsSync(directory)) rmdirSync(directory);
    }
  }
}

/** Why real runs are impossible here, or undefined. */
export function cannotRun(runtime: string): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (Bun.which(runtime) === null) return `${runtime} is not installed`;
  return existsSync("/bin/busybox") ? undefined : "busybox-static is not installed";
}

/** The engine's own bounding set, as /proc has it. */
export function ownBoundingMask(): string {
  return /^CapBnd:\s+(\w+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0";
}

/** A root file system of busybox with links for all its applets. */
export function busyboxRoot(rootfs: string): void {
  for (const directory of ["bin", "etc", "root", "proc", "sys", "dev", "tmp"]) {
    mkdirSync(`${rootfs}/${directory}`, { recursive: true });
  }
  cpSync("/bin/busybox", `${rootfs}/bin/busybox`);
  const applets = Bun.spawnSync(["/bin/busybox", "--list"]).stdout.toString().trim().split("\n");
  for (const applet of applets) {
    if (applet !== "busybox") symlinkSync("busybox", `${rootfs}/bin/${applet}`);
  }
}
