/**
 * The bundle of a container that is about to start: config.json and the files bound into it, in the
 * run directory (all of it is gone after a reboot, as the container is). The root file system is mounted already.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { ImageConfig } from "../image/image.ts";
import { hostsFile } from "../network/hosts.ts";
import { resolvConf } from "../network/resolv.ts";
import type { RuntimeInfo } from "../runtime/runtime.ts";
import { S_IFDIR, S_IFLNK, S_IFMT } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { which } from "../sys/spawn.ts";
import { Rooted } from "../sys/rooted.ts";
import { cgroupsPath } from "./cgroups-path.ts";
import type { ContainerRecord } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";
import { hostDevices } from "./host-devices.ts";
import { hostFacts } from "./host-facts.ts";
import type { Connected } from "./connect.ts";
import { seccompChoice } from "./seccomp-choice.ts";
import { joinedNamespaces } from "./joined.ts";
import { buildSpec } from "./spec.ts";
import type { SpecFiles } from "./spec-input.ts";
import { encodeSpec } from "./spec-oci.ts";
import { shmPath } from "./teardown.ts";
import { MAX_USER_FILE, resolveUser, type ResolvedUser, type UserFiles } from "./users.ts";
import { resolveVolumes } from "./volumes.ts";

export interface BundleRequest {
  record: ContainerRecord;
  image: ImageConfig | undefined;
  /** Where the root file system is mounted. */
  rootfs: string;
  connected: Connected;
  runtime: RuntimeInfo;
}

/** Returns the bundle's directory. Errors: invalid-argument (user, path of the image), not-found (user, device, init binary). */
export async function writeBundle(ctx: Ctx, deps: ContainerDeps, request: BundleRequest): Promise<string> {
  const { record, image, rootfs, connected } = request;
  const { spec } = record;
  const host = hostFacts(deps.sys);
  const bundle = deps.paths.runContainer(record.id);
  using root = Rooted.open(deps.sys, rootfs);
  refuseLinkedKernelDirs(root);
  const user = userOf(root, spec.user ?? image?.config.User ?? "", spec.groupAdd);
  const mounts = await resolveVolumes(ctx, deps, { record, image, root });
  const seccomp = await seccompChoice(deps, { spec, host, runtime: request.runtime });
  const built = buildSpec({
    id: record.id,
    name: record.name,
    spec,
    image,
    user,
    rootfs,
    host,
    // Variables that take the caller's value were filled in at creation: our own environment is nobody's.
    hostEnv: {},
    files: writeFiles(ctx, deps, request, bundle),
    mounts,
    devices: hostDevices(deps.sys, spec),
    joined: joinedNamespaces(deps, spec),
    ...(connected.netnsPath === undefined ? {} : { netnsPath: connected.netnsPath }),
    ...(spec.init ? { initPath: initPath() } : {}),
    cgroupsPath: cgroupsPath(deps, record),
    runtime: { name: request.runtime.name },
    ...(seccomp === undefined ? {} : { seccomp }),
  });
  for (const note of built.notes) ctx.log.area("container").debug(note);
  makeWorkdir(root, built.workdir, user);
  writeFileSync(`${bundle}/config.json`, encodeSpec(built.spec), { mode: 0o600 });
  return bundle;
}

/** Known runtime flaws start with an image whose /dev, /proc or /sys is a link (security notes R8). */
function refuseLinkedKernelDirs(root: Rooted): void {
  for (const path of ["dev", "proc", "sys"]) {
    const type = entryType(root, path);
    if (type === undefined || type === S_IFDIR) continue;
    throw fail(
      "invalid-argument",
      `the image's "/${path}" is ${type === S_IFLNK ? "a symbolic link" : "not a directory"}`,
      {
        reason: "linked-kernel-directory",
        hint: "such an image is refused, because runtimes would mount outside of the container",
      },
    );
  }
}

function entryType(root: Rooted, path: string): number | undefined {
  try {
    return root.lstat(path).mode & S_IFMT;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Who the process is, from the image's own passwd and group files. */
export function userOf(root: Rooted, request: string, groupAdd: readonly string[]): ResolvedUser {
  return resolveUser(request, userFiles(root), groupAdd);
}

/** The container's own passwd and group files. */
export function userFiles(root: Rooted): UserFiles {
  return { passwd: userFile(root, "etc/passwd"), group: userFile(root, "etc/group") };
}

function userFile(root: Rooted, path: string): Uint8Array | undefined {
  try {
    return root.readFile(path, MAX_USER_FILE);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

function makeWorkdir(root: Rooted, workdir: string, user: ResolvedUser): void {
  if (workdir === "/" || root.exists(workdir)) return;
  root.mkdirAll(workdir, 0o755, { uid: user.uid, gid: user.gid });
}

function writeFiles(ctx: Ctx, deps: ContainerDeps, request: BundleRequest, bundle: string): SpecFiles {
  const { record, connected } = request;
  const { spec } = record;
  const files: SpecFiles = {};
  const put = (name: string, text: string): string => {
    const path = `${bundle}/${name}`;
    writeFileSync(path, text, { mode: 0o644 });
    return path;
  };
  const sharesUts = spec.uts === "host" || spec.network === "host";
  const hostname = spec.hostname ?? (sharesUts ? hostFacts(deps.sys).hostname : record.id.slice(0, 12));
  if (connected.files === "own") {
    files.hosts = put("hosts", ownHosts(record, connected, hostname));
    files.resolvConf = put("resolv.conf", ownResolvConf(record, connected));
  } else {
    const other = deps.paths.runContainer(connected.files);
    files.hosts = `${other}/hosts`;
    files.resolvConf = `${other}/resolv.conf`;
  }
  files.hostname = put("hostname", `${hostname}\n`);
  if (spec.ipc === "shareable") files.shmPath = mountShm(ctx, deps, record);
  if (spec.ipc.startsWith("container:")) {
    files.shmPath = shmPath(deps, deps.records.resolve(spec.ipc.slice("container:".length)).id);
  }
  return files;
}

function ownHosts(record: ContainerRecord, connected: Connected, hostname: string): string {
  const { spec } = record;
  return hostsFile({
    ...connected.hosts,
    hostname,
    ...(spec.domainname === undefined ? {} : { domainname: spec.domainname }),
    names: [record.name],
    addHosts: spec.addHosts,
    ...(spec.network === "host" ? { base: readIfThere("/etc/hosts") } : {}),
  });
}

function ownResolvConf(record: ContainerRecord, connected: Connected): string {
  const { spec } = record;
  const resolved = readIfThere("/run/systemd/resolve/resolv.conf");
  return resolvConf({
    host: readIfThere("/etc/resolv.conf"),
    ...(resolved === "" ? {} : { resolved }),
    sharesHostNetwork: spec.network === "host",
    ipv6: connected.hosts.addresses.some((address) => address.includes(":")),
    dns: spec.dns,
    search: spec.dnsSearch,
    options: spec.dnsOptions,
  });
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function mountShm(_ctx: Ctx, deps: ContainerDeps, record: ContainerRecord): string {
  const path = shmPath(deps, record.id);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const NOSUID_NODEV_NOEXEC = 2 | 4 | 8;
  deps.sys.mount("shm", path, "tmpfs", NOSUID_NODEV_NOEXEC, `mode=1777,size=${record.spec.shmSize}`);
  return path;
}

const INIT_BINARIES = ["catatonit", "docker-init", "tini"];

/** Errors: not-found with the package to install. */
function initPath(): string {
  const found = INIT_BINARIES.map((name) => which(name)).find((path) => path !== undefined);
  if (found !== undefined) return found;
  throw fail("not-found", "no init binary for --init was found", {
    reason: "init-missing",
    hint: "install one: apt-get install catatonit",
  });
}
