/**
 * The mounts of a container in the order they are made: the system's (proc, dev, sys, cgroup, shm), the engine's files
 * (hosts, resolv.conf, hostname, init), and the user's, which replace what they cover. Parents come before children.
 */
import { fail } from "../core/error.ts";
import type { ImageConfig } from "../image/image.ts";
import type { ContainerSpec, MountRequest } from "./container.ts";
import { bindOptions, devptsOptions, tmpfsOptions } from "./mounts-options.ts";
import type { SpecInput } from "./spec-input.ts";
import type { Namespaces } from "./spec-namespaces.ts";
import type { OciMount } from "./spec-oci.ts";
import type { SecurityOptions } from "./spec-security.ts";
import { absolutePath, checkLine, cleanPath, isWithin, quote } from "./spec-text.ts";

const DEFAULT_SHM_SIZE = 64 * 1024 * 1024;

export interface MountInput {
  input: SpecInput;
  namespaces: Namespaces;
  security: SecurityOptions;
}

export function containerMounts(request: MountInput): OciMount[] {
  const { input } = request;
  const user = userMounts(input);
  const covered = new Set(user.map((mount) => mount.destination));
  const ownDev = covered.has("/dev");
  const own = [...systemMounts(request), ...fileMounts(input)].filter(
    (mount) => !covered.has(mount.destination) && !(ownDev && isWithin(mount.destination, "/dev")),
  );
  return byDepth([...own, ...initMount(input), ...user]);
}

/** Stable, so that mounts of one depth keep the order they were asked for. */
function byDepth(mounts: OciMount[]): OciMount[] {
  const depth = (path: string) => (path === "/" ? 0 : path.split("/").length - 1);
  return mounts.toSorted((a, b) => depth(a.destination) - depth(b.destination));
}

function systemMounts({ input, namespaces, security }: MountInput): OciMount[] {
  const { spec, host } = input;
  const hardened = ["nosuid", "noexec", "nodev"];
  const access = spec.privileged ? "rw" : "ro";
  const tty = host.ttyGid ? ["gid=5"] : [];
  return [
    { destination: "/proc", type: "proc", source: "proc", options: [...hardened, ...security.procOptions] },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    sysMount(input, namespaces, [...hardened, access]),
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", ...tty],
    },
    mqueueMount(input, namespaces, hardened),
    ...shmMount(input, namespaces, hardened),
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: [...hardened, "relatime", access],
    },
  ];
}

/** sysfs shows a network namespace, and only its owner may mount it: without root, the host's /sys is bound instead. */
function sysMount(input: SpecInput, namespaces: Namespaces, options: string[]): OciMount {
  if (input.host.rootless && namespaces.network.kind === "host") {
    return { destination: "/sys", type: "bind", source: "/sys", options: ["rbind", "rprivate", ...options] };
  }
  return { destination: "/sys", type: "sysfs", source: "sysfs", options };
}

/** Root may mount the host's queues again; without root only what the host has mounted can be bound. */
function mqueueMount(input: SpecInput, namespaces: Namespaces, hardened: string[]): OciMount {
  const destination = "/dev/mqueue";
  if (namespaces.ipc.kind === "host" && input.host.rootless) {
    return { destination, type: "bind", source: destination, options: ["bind", "rprivate", ...hardened] };
  }
  return { destination, type: "mqueue", source: "mqueue", options: hardened };
}

/** With `--ipc none` there is no /dev/shm at all. */
function shmMount(input: SpecInput, namespaces: Namespaces, hardened: string[]): OciMount[] {
  if (input.spec.ipc === "none") return [];
  const destination = "/dev/shm";
  const shared = namespaces.ipc.kind === "host" ? "/dev/shm" : input.files.shmPath;
  if (shared !== undefined) {
    return [{ destination, type: "bind", source: shared, options: ["bind", "rprivate", ...hardened] }];
  }
  const size = input.spec.shmSize > 0 ? input.spec.shmSize : DEFAULT_SHM_SIZE;
  return [{ destination, type: "tmpfs", source: "shm", options: [...hardened, "mode=1777", `size=${size}`] }];
}

function fileMounts(input: SpecInput): OciMount[] {
  const { files, spec } = input;
  const options = spec.readOnly ? ["bind", "rprivate", "ro"] : ["bind", "rprivate"];
  const targets: [string, string | undefined][] = [
    ["/etc/hosts", files.hosts],
    ["/etc/resolv.conf", files.resolvConf],
    ["/etc/hostname", files.hostname],
  ];
  return targets.flatMap(([destination, source]) =>
    source === undefined ? [] : [{ destination, type: "bind", source, options }],
  );
}

/**
 * Where the init binary appears: on the container's own /dev, so that nothing is left in its root file system; elsewhere if
 * the user's mount covers /dev, which may be the host's.
 */
export function initTarget(input: SpecInput): string {
  const targets = [...input.mounts.map((mount) => mount.target), ...Object.keys(input.spec.tmpfs)];
  return targets.some((target) => cleanPath("mount target", target) === "/dev")
    ? "/.berth-init"
    : "/dev/init";
}

function initMount(input: SpecInput): OciMount[] {
  if (!input.spec.init) return [];
  if (input.initPath === undefined) {
    throw fail("unavailable", "no init binary found for --init", {
      hint: "install the package catatonit or tini",
    });
  }
  const options = ["bind", "rprivate", "ro", "nosuid", "nodev"];
  return [{ destination: initTarget(input), type: "bind", source: input.initPath, options }];
}

function userMounts(input: SpecInput): OciMount[] {
  return allRequests(input.mounts, input.spec.tmpfs).map(userMount);
}

/** Errors: invalid-argument. Volumes need not be resolved yet. */
export function checkMounts(mounts: readonly MountRequest[], tmpfs: Record<string, string>): void {
  for (const request of allRequests(mounts, tmpfs)) {
    if (request.type === "tmpfs") tmpfsOptions(request);
    else if (request.type === "bind") userMount(request);
    else if (request.type === "devpts") devptsOptions(request);
    else bindOptions(request);
  }
}

/** Mounts and --tmpfs as one list. Errors: invalid-argument for a target that is not allowed, or taken twice. */
function allRequests(mounts: readonly MountRequest[], tmpfs: Record<string, string>): MountRequest[] {
  const requests = [...mounts];
  for (const [target, options] of Object.entries(tmpfs)) {
    const list = options === "" ? [] : options.split(",");
    requests.push({ type: "tmpfs", source: "", target, readOnly: false, options: list });
  }
  const targets = new Set<string>();
  for (const request of requests) {
    const target = mountTarget(request);
    if (targets.has(target)) throw fail("invalid-argument", `two mounts have the target ${quote(target)}`);
    targets.add(target);
  }
  return requests;
}

function userMount(request: MountRequest): OciMount {
  const destination = mountTarget(request);
  switch (request.type) {
    case "tmpfs":
      return { destination, type: "tmpfs", source: "tmpfs", options: tmpfsOptions(request) };
    case "devpts":
      return { destination, type: "devpts", source: "devpts", options: devptsOptions(request) };
    case "bind":
    case "volume":
      return { destination, type: "bind", source: hostPath(request), options: bindOptions(request) };
    case "image":
      return { destination, type: "bind", source: hostPath(request), options: bindOptions(request) };
  }
}

function mountTarget(request: MountRequest): string {
  const target = absolutePath("mount target", request.target);
  if (target === "/") throw fail("invalid-argument", "the root of the container cannot be a mount target");
  // A procfs that is not one would send the runtime's writes astray (CVE-2019-16884, CVE-2025-52881).
  if (target === "/proc" && !(request.type === "bind" && request.source === "/proc")) {
    throw fail("invalid-argument", 'mount target "/proc" is reserved for the process file system');
  }
  return target;
}

function hostPath(request: MountRequest): string {
  checkLine("mount source", request.source);
  if (!request.source.startsWith("/")) {
    throw fail(
      "invalid-argument",
      `source ${quote(request.source)} of the mount at ${quote(request.target)} is not a host path`,
    );
  }
  return request.source;
}

/**
 * Targets of the image's VOLUMEs that need an anonymous volume: cleaned inside the root ("/../../x" is "/x"), without
 * those the request mounts over. /proc, /sys and the root are never volumes, whatever the image says.
 */
export function imageVolumes(image: ImageConfig | undefined, spec: ContainerSpec): string[] {
  const taken = new Set(
    [...spec.mounts.map((mount) => mount.target), ...Object.keys(spec.tmpfs)].map((path) =>
      cleanPath("mount target", path),
    ),
  );
  const targets = new Set<string>();
  for (const volume of Object.keys(image?.config.Volumes ?? {})) {
    const target = cleanPath("image volume", volume);
    const reserved =
      target === "/" || isWithin(target, "/proc") || isWithin(target, "/sys") || target === "/dev";
    if (!reserved && !taken.has(target)) targets.add(target);
  }
  return [...targets].toSorted();
}
