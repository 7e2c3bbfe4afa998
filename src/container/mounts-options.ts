/** Mount options that a request may use, and the defaults they override. What is not known is refused, not passed on. */
import { fail } from "../core/error.ts";
import type { MountRequest } from "./container.ts";
import { checkLine, quote } from "./spec-text.ts";

const PROPAGATION: ReadonlySet<string> = new Set([
  "shared",
  "rshared",
  "slave",
  "rslave",
  "private",
  "rprivate",
  "unbindable",
  "runbindable",
]);

const FLAGS: ReadonlySet<string> = new Set([
  "exec",
  "noexec",
  "suid",
  "nosuid",
  "dev",
  "nodev",
  "sync",
  "async",
  "atime",
  "noatime",
  "diratime",
  "nodiratime",
  "relatime",
  "norelatime",
  "strictatime",
  "nosymfollow",
]);

/** Options that the engine itself acts on before the mount is made: labels, ownership, copying, creation. */
const ENGINE_OPTIONS: ReadonlySet<string> = new Set(["z", "Z", "U", "O", "copy", "nocopy", "nocreate"]);

const TMPFS_VALUE =
  /^(size=\d+[kmgKMG%]?|mode=[0-7]{1,4}|uid=\d+|gid=\d+|nr_inodes=\d+[kmgKMG]?|nr_blocks=\d+[kmgKMG]?|huge=(never|always|within_size|advise))$/;

/** Options of a bind mount (also of volumes and images): recursive and private unless said otherwise. */
export function bindOptions(request: MountRequest): string[] {
  const flags: string[] = [];
  let kind = "rbind";
  let propagation = "rprivate";
  let access = request.readOnly ? "ro" : "rw";
  for (const option of request.options) {
    checkLine("mount option", option);
    if (option === "ro" || option === "rro") access = option;
    else if (option === "rw") access = request.readOnly ? "ro" : "rw";
    else if (option === "bind" || option === "rbind") kind = option;
    else if (PROPAGATION.has(option)) propagation = option;
    else if (FLAGS.has(option) || option === "idmap") flags.push(option);
    else if (!ENGINE_OPTIONS.has(option)) throw optionError(request, option);
  }
  return [kind, propagation, access, ...flags];
}

/** Options of a tmpfs: no programs, no devices and no set-user-id files unless asked for. */
export function tmpfsOptions(request: MountRequest): string[] {
  const chosen: string[] = [];
  let propagation = "rprivate";
  let access = request.readOnly ? "ro" : "rw";
  for (const option of request.options) {
    checkLine("mount option", option);
    if (option === "ro" || option === "rw") access = option;
    else if (PROPAGATION.has(option)) propagation = option;
    else if (FLAGS.has(option) || TMPFS_VALUE.test(option) || option === "tmpcopyup") chosen.push(option);
    else if (option !== "notmpcopyup" && !ENGINE_OPTIONS.has(option)) throw optionError(request, option);
  }
  const defaults = ["noexec", "nosuid", "nodev"].filter(
    (option) => !chosen.includes(option) && !chosen.includes(option.slice(2)),
  );
  return [access, propagation, ...defaults, ...chosen];
}

/** Options of a devpts, always an instance of its own. */
export function devptsOptions(request: MountRequest): string[] {
  for (const option of request.options) {
    if (!/^((uid|gid|max)=\d+|(mode|ptmxmode)=[0-7]{1,4})$/.test(option)) throw optionError(request, option);
  }
  return ["nosuid", "noexec", "newinstance", ...request.options];
}

/** How mounts must propagate from the root for the strongest propagation among binds; undefined for the runtime's own choice. */
export function rootPropagation(mounts: readonly { options?: string[] }[]): string | undefined {
  const options = new Set(mounts.flatMap((mount) => mount.options ?? []));
  if (options.has("shared") || options.has("rshared")) return "shared";
  return options.has("slave") || options.has("rslave") ? "rslave" : undefined;
}

function optionError(request: MountRequest, option: string): Error {
  return fail("invalid-argument", `unknown option ${quote(option)} of the mount at ${quote(request.target)}`);
}
