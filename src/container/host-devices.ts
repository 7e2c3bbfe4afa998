/** The devices a container asked for, looked up on the host. */
import { readdirSync } from "node:fs";
import { fail } from "../core/error.ts";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Stat, Sys } from "../sys/sys.ts";
import type { ContainerSpec } from "./container.ts";
import { parseDevice } from "./devices.ts";
import type { HostDevice } from "./spec-input.ts";

/** Directories of /dev that are mounts of their own or hold no devices to hand on. */
const SKIPPED = new Set(["pts", "shm", "mqueue", "hugepages", "fd", "console", "ptmx"]);

/** `--device` entries; for a privileged container all devices of the host. Errors: not-found, invalid-argument (no device). */
export function hostDevices(sys: Sys, spec: ContainerSpec): HostDevice[] {
  const asked = spec.devices.flatMap((text) => {
    const { source, target, access } = parseDevice(text);
    const stat = statOf(sys, source, 0);
    if (stat === undefined)
      throw fail("not-found", `device "${source}" does not exist`, { reason: "device-missing" });
    if ((stat.mode & S_IFMT) === S_IFDIR) return devicesBelow(sys, source, target, access);
    const device = toDevice(stat, target, access);
    if (device === undefined)
      throw fail("invalid-argument", `"${source}" is not a device`, { reason: "not-a-device" });
    return [device];
  });
  if (!spec.privileged) return asked;
  const taken = new Set(asked.map((d) => d.path));
  return [...asked, ...devicesBelow(sys, "/dev", "/dev", "rwm").filter((d) => !taken.has(d.path))];
}

function devicesBelow(sys: Sys, hostDir: string, insideDir: string, access: string): HostDevice[] {
  return readdirSync(hostDir).flatMap((name) => {
    if (SKIPPED.has(name)) return [];
    const stat = statOf(sys, `${hostDir}/${name}`, AT_SYMLINK_NOFOLLOW);
    if (stat === undefined) return [];
    if ((stat.mode & S_IFMT) === S_IFDIR)
      return devicesBelow(sys, `${hostDir}/${name}`, `${insideDir}/${name}`, access);
    const device = toDevice(stat, `${insideDir}/${name}`, access);
    return device === undefined ? [] : [device];
  });
}

function statOf(sys: Sys, path: string, flags: number): Stat | undefined {
  try {
    return sys.stat(AT_FDCWD, path, flags);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENXIO")) return undefined;
    throw error;
  }
}

function toDevice(stat: Stat, path: string, access: string): HostDevice | undefined {
  const type = stat.mode & S_IFMT;
  if (type !== S_IFCHR && type !== S_IFBLK) return undefined;
  return {
    path,
    type: type === S_IFCHR ? "c" : "b",
    major: stat.rdev.major,
    minor: stat.rdev.minor,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    access,
  };
}
