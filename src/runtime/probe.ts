/** A tiny container that proves that a runtime works on this host: `/bin/true` of the host itself, read-only, without a network. */
import { lstatSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import type { Ctx } from "../core/ctx.ts";
import { hasCode } from "../sys/errno.ts";
import { run, which } from "../sys/spawn.ts";
import { hybridArgv } from "./hybrid.ts";
import { runtimeError } from "./oci-error.ts";
import type { RuntimeInfo } from "./runtime.ts";

interface Mount {
  destination: string;
  type: string;
  source: string;
  options?: string[];
}

/** Directories that a dynamically linked program of the host needs; links of a merged /usr stay links. */
function hostPrograms(rootfs: string): Mount[] {
  const mounts: Mount[] = [];
  for (const name of ["usr", "bin", "lib", "lib32", "lib64", "nix", "gnu"]) {
    let stat;
    try {
      stat = lstatSync(`/${name}`);
    } catch (error) {
      if (hasCode(error, "ENOENT")) continue;
      throw error;
    }
    if (stat.isSymbolicLink()) symlinkSync(readlinkSync(`/${name}`), `${rootfs}/${name}`);
    else if (stat.isDirectory()) mounts.push(readOnlyBind(`/${name}`));
  }
  return mounts;
}

function readOnlyBind(path: string): Mount {
  return { destination: path, type: "bind", source: path, options: ["rbind", "ro"] };
}

function config(rootfs: string, id: string): object {
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: [which("true") ?? "/bin/true"],
      env: ["PATH=/usr/bin:/bin"],
      cwd: "/",
      noNewPrivileges: true,
    },
    root: { path: rootfs, readonly: true },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
      ...hostPrograms(rootfs),
    ],
    linux: {
      // One level only: runtimes leave the parents of a cgroup behind.
      cgroupsPath: `/${id}`,
      namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })),
    },
  };
}

/** Errors: those of oci-error.ts; deadline-exceeded. Leaves nothing behind. */
export function probeRuntime(ctx: Ctx, runDir: string, info: RuntimeInfo): void {
  mkdirSync(`${runDir}/runtimes`, { recursive: true, mode: 0o700 });
  const bundle = mkdtempSync(`${runDir}/runtimes/probe-`);
  const id = `berth-${basename(bundle)}`;
  const call = [info.path, ...info.flags, `--root=${bundle}/state`];
  try {
    const rootfs = `${bundle}/rootfs`;
    mkdirSync(rootfs);
    for (const name of ["proc", "dev"]) mkdirSync(`${rootfs}/${name}`);
    writeFileSync(`${bundle}/config.json`, JSON.stringify(config(rootfs, id)));
    const wrapper = info.hybridWrapper ? hybridArgv(`${runDir}/runtimes`) : [];
    const result = run(ctx, [...wrapper, ...call, "run", "--bundle", bundle, id], { timeoutMs: 10_000 });
    if (result.exitCode !== 0) {
      throw runtimeError({ runtime: info.name, verb: "run", stderr: result.stderr });
    }
  } catch (error) {
    run(ctx, [...call, "delete", "--force", id]);
    throw error;
  } finally {
    rmSync(bundle, { recursive: true, force: true });
  }
}
