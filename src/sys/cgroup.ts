/**
 * Control groups on all three layouts: where the hierarchies are, removing what runtimes leave behind, freezing, killing.
 * Reading numbers out of them is in `cgroup-stats.ts`.
 *
 * Vocabulary: a *cgroup path* is as in the OCI runtime spec and /proc/PID/cgroup: absolute from the top of the
 * hierarchies ("/berth/ID"). In `hybrid` the controllers are v1 hierarchies and an (often empty) v2 one is mounted beside them.
 */
import { readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { fail } from "../core/error.ts";
import { SIGKILL } from "./const.ts";
import { hasCode } from "./errno.ts";
import { type MountInfo, mounts } from "./mountinfo.ts";
import { kill } from "./process.ts";

export type CgroupMode = "v1" | "hybrid" | "unified" | "none";

export interface Hierarchy {
  mountPoint: string;
  /** The cgroup that is this mount's root: "/" unless we run in a container without a cgroup namespace. */
  root: string;
}

export interface CgroupHost {
  mode: CgroupMode;
  /** Names of the controllers that can be used: of v1 hierarchies, or of the v2 one in `unified`. Sorted. */
  controllers: string[];
  /** v1 hierarchies by controller; named ones as "name=systemd". */
  v1: Map<string, Hierarchy>;
  /** The v2 hierarchy, wherever it is mounted. */
  v2?: Hierarchy;
}

/** Options of a v1 mount that are not controllers. */
const NOT_CONTROLLERS = new Set([
  "rw",
  "ro",
  "xattr",
  "noprefix",
  "clone_children",
  "cpuset_v2_mode",
  "none",
]);

function hierarchy(mount: MountInfo): Hierarchy {
  return { mountPoint: mount.mountPoint.toString(), root: mount.root.toString() };
}

/** Controllers and names ("name=systemd") among the options of a v1 mount. */
function controllersOf(mount: MountInfo): string[] {
  return mount.superOptions.filter((option) => {
    const named = !option.includes("=") || option.startsWith("name=");
    return named && !NOT_CONTROLLERS.has(option);
  });
}

/** The layout of this host, from its mounts (about 0.1 ms; callers keep it for one command). */
export function cgroupMode(found: MountInfo[] = mounts()): CgroupHost {
  const v1 = new Map<string, Hierarchy>();
  for (const mount of found.filter((one) => one.type === "cgroup")) {
    for (const name of controllersOf(mount)) if (!v1.has(name)) v1.set(name, hierarchy(mount));
  }
  const unified = found.find((mount) => mount.type === "cgroup2");
  const v2 = unified && hierarchy(unified);
  const names = [...v1.keys()].filter((name) => !name.startsWith("name="));
  if (names.length > 0) {
    const mode = v2 === undefined ? "v1" : "hybrid";
    return { mode, controllers: names.toSorted(), v1, ...(v2 && { v2 }) };
  }
  if (v2 === undefined) return { mode: "none", controllers: [], v1 };
  const listed = readText(`${v2.mountPoint}/cgroup.controllers`) ?? "";
  return { mode: "unified", controllers: listed.split(" ").filter(Boolean).toSorted(), v1, v2 };
}

/** Contents without the last newline; undefined if there is no such file or cgroup. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1").trimEnd();
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENODEV", "ENOTDIR", "EOPNOTSUPP", "EINVAL")) return undefined;
    throw error;
  }
}

function directory({ mountPoint, root }: Hierarchy, cgroup: string): string {
  const path = `/${cgroup}`.replace(/\/+/g, "/").replace(/\/$/, "");
  if (path.split("/").includes("..")) {
    throw fail("invalid-argument", `invalid cgroup path "${cgroup}"`, { reason: "cgroup-path" });
  }
  const inside = root !== "/" && (path === root || path.startsWith(`${root}/`));
  return `${mountPoint}${inside ? path.slice(root.length) : path}`;
}

/** Directory of a cgroup for one controller; undefined if this host has no such controller. */
export function cgroupDirectory(host: CgroupHost, controller: string, cgroup: string): string | undefined {
  if (host.mode === "unified") return host.v2 && directory(host.v2, cgroup);
  const found = host.v1.get(controller);
  return found && directory(found, cgroup);
}

/** Directories of a cgroup in every hierarchy of the host, whether they exist or not; co-mounted controllers once. */
export function cgroupDirectories(host: CgroupHost, cgroup: string): string[] {
  const all = [...host.v1.values(), ...(host.v2 ? [host.v2] : [])];
  return [...new Set(all.map((one) => directory(one, cgroup)))];
}

/** Cgroup paths in /proc/PID/cgroup: by controller ("memory", "name=systemd"), "" for the v2 hierarchy. */
export function parseProcCgroup(content: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of content.split("\n")) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    if (match === null) continue;
    for (const controller of (match[1] as string).split(",")) found.set(controller, match[2] as string);
  }
  return found;
}

/** Cgroups of a process; empty if there is no such process. */
export function cgroupsOf(pid: number | "self"): Map<string, string> {
  try {
    return parseProcCgroup(readFileSync(`/proc/${pid}/cgroup`, "utf8"));
  } catch (error) {
    if (hasCode(error, "ENOENT", "ESRCH")) return new Map();
    throw error;
  }
}

/** Names of child cgroups; undefined if the cgroup does not exist. */
function childNames(dir: string): string[] | undefined {
  try {
    return readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** Tries of an rmdir that is busy, one millisecond apart: a killed process leaves its cgroup a little later than it dies. */
const BUSY_TRIES = 100;

function removeDirectory(dir: string): void {
  for (let tries = 1; ; tries++) {
    try {
      return rmdirSync(dir);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return;
      if (!hasCode(error, "EBUSY")) throw error;
      if (tries >= BUSY_TRIES) {
        throw fail("in-use", `cgroup "${dir}" still has processes`, { reason: "cgroup-busy", cause: error });
      }
      Bun.sleepSync(1);
    }
  }
}

function removeTree(dir: string): void {
  const names = childNames(dir);
  if (names === undefined) return;
  for (const name of names) removeTree(`${dir}/${name}`);
  removeDirectory(dir);
}

/** Removes a directory and the ones above it as far as they are empty, up to and not including `top`. */
function removeEmptyParents(dir: string, top: string): void {
  for (
    let at = dir;
    at.length > top.length && at.startsWith(`${top}/`);
    at = at.slice(0, at.lastIndexOf("/"))
  ) {
    try {
      rmdirSync(at);
    } catch (error) {
      if (hasCode(error, "EBUSY", "ENOTEMPTY", "EPERM", "EACCES")) return;
      if (!hasCode(error, "ENOENT")) throw error;
    }
  }
}

/**
 * Removes a cgroup with its children from every hierarchy, and then the parents that runc and crun
 * made and left, as far as they are empty, below `keep` ("/" by default). A parent that a concurrent start is about to use must be
 * kept: its runtime would fail. Idempotent. Errors: in-use if processes stay in it for 100 ms.
 */
export function removeCgroup(host: CgroupHost, cgroup: string, keep = "/"): void {
  const tops = cgroupDirectories(host, keep);
  for (const [index, dir] of cgroupDirectories(host, cgroup).entries()) {
    removeTree(dir);
    removeEmptyParents(dir.slice(0, dir.lastIndexOf("/")), tops[index] as string);
  }
}

/** A directory that lists the cgroup's processes. In hybrid a runtime uses the v1 hierarchies only. */
function processDirectory(host: CgroupHost, cgroup: string): string | undefined {
  const controllers = ["freezer", "pids", "devices", "memory", ...host.controllers, "name=systemd"];
  for (const controller of controllers) {
    const dir = cgroupDirectory(host, controller, cgroup);
    if (dir !== undefined && childNames(dir) !== undefined) return dir;
  }
  return undefined;
}

function processesBelow(dir: string): number[] {
  const own = (readText(`${dir}/cgroup.procs`) ?? "").split("\n").filter(Boolean).map(Number);
  return own.concat((childNames(dir) ?? []).flatMap((name) => processesBelow(`${dir}/${name}`)));
}

/** Processes in the cgroup and below it; empty if it does not exist. */
export function cgroupProcesses(host: CgroupHost, cgroup: string): number[] {
  const dir = processDirectory(host, cgroup);
  return dir === undefined ? [] : processesBelow(dir);
}

/** Kills everything in the cgroup with SIGKILL, also what is being forked meanwhile. Returns when none is left or after `timeoutMs`: true if none is left. */
export function killCgroup(host: CgroupHost, cgroup: string, timeoutMs = 2000): boolean {
  const deadline = performance.now() + timeoutMs;
  const dir = processDirectory(host, cgroup);
  if (dir === undefined) return true;
  if (host.mode === "unified") tryWrite(`${dir}/cgroup.kill`, "1");
  for (;;) {
    const pids = processesBelow(dir);
    if (pids.length === 0) return true;
    if (performance.now() > deadline) return false;
    pids.forEach(killQuietly);
    Bun.sleepSync(1);
  }
}

function killQuietly(pid: number): void {
  try {
    // 0 stands for a process of another pid namespace, and would mean our own group.
    if (pid > 0) kill(pid, SIGKILL);
  } catch (error) {
    if (!hasCode(error, "ESRCH")) throw error;
  }
}

function tryWrite(path: string, value: string): boolean {
  try {
    writeFileSync(path, value);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT", "EOPNOTSUPP", "ENODEV")) return false;
    throw error;
  }
}

export type FreezeState = "thawed" | "freezing" | "frozen";

/** Undefined if the cgroup does not exist or this host has no freezer. */
export function freezeState(host: CgroupHost, cgroup: string): FreezeState | undefined {
  const dir = cgroupDirectory(host, "freezer", cgroup);
  if (dir === undefined) return undefined;
  if (host.mode !== "unified") {
    return readText(`${dir}/freezer.state`)?.toLowerCase() as FreezeState | undefined;
  }
  const events = readText(`${dir}/cgroup.events`);
  if (events === undefined) return undefined;
  if (events.includes("frozen 1")) return "frozen";
  return readText(`${dir}/cgroup.freeze`) === "1" ? "freezing" : "thawed";
}

/** Asks for it; the state follows a little later. Errors: not-found, unimplemented. */
export function setFrozen(host: CgroupHost, cgroup: string, frozen: boolean): void {
  const dir = cgroupDirectory(host, "freezer", cgroup);
  if (dir === undefined) throw fail("unimplemented", "this host has no freezer cgroup");
  const done =
    host.mode === "unified"
      ? tryWrite(`${dir}/cgroup.freeze`, frozen ? "1" : "0")
      : tryWrite(`${dir}/freezer.state`, frozen ? "FROZEN" : "THAWED");
  if (!done) throw fail("not-found", `no such cgroup "${cgroup}"`, { reason: "cgroup-missing" });
}
