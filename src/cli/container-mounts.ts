/** `-v`, `--mount` and `--tmpfs` as MountRequests. */
import { isAbsolute, normalize, resolve } from "node:path";
import { fail } from "../core/error.ts";
import type { MountRequest } from "../container/container.ts";
import { splitCsv } from "./flags.ts";

/** Options that mean something to mount(8) or to the store; they travel as they are. */
const MOUNT_OPTIONS = new Set(
  `shared rshared slave rslave private rprivate unbindable runbindable
  bind rbind exec noexec suid nosuid dev nodev copy nocopy`.split(/\s+/),
);

/** Without effect on Linux without SELinux, or hints for other systems. */
const IGNORED_OPTIONS = new Set(["rw", "z", "Z", "cached", "delegated", "consistent"]);

const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

function invalid(what: string, text: string, why: string): Error {
  return fail("invalid-argument", `invalid ${what} "${text}": ${why}`, { reason: "invalid-mount" });
}

function target(what: string, text: string, path: string): string {
  if (!isAbsolute(path)) throw invalid(what, text, `the path in the container, "${path}", must be absolute`);
  const clean = normalize(path).replace(/(?<=.)\/$/, "");
  if (clean === "/") throw invalid(what, text, "the root of the container cannot be a mount point");
  return clean;
}

/** A path on the host, or the name of a volume. */
function source(text: string, given: string): { type: "bind" | "volume"; source: string } {
  if (given.startsWith("/") || given.startsWith(".") || given.startsWith("~/")) {
    return { type: "bind", source: resolve(given) };
  }
  if (!VOLUME_NAME.test(given)) {
    throw invalid("volume", text, `"${given}" is neither an absolute path nor the name of a volume`);
  }
  return { type: "volume", source: given };
}

/** `[SOURCE:]TARGET[:OPTION,…]`. Errors: invalid-argument. */
export function parseVolume(text: string): MountRequest {
  const parts = text.split(":");
  if (parts.length > 3 || parts.some((part) => part === "")) {
    throw invalid("volume", text, "write it as [SOURCE:]PATH[:OPTIONS]");
  }
  const [first, second, third] = parts as [string, string?, string?];
  const base = second === undefined ? { type: "volume" as const, source: "" } : source(text, first);
  const mount: MountRequest = {
    ...base,
    target: target("volume", text, second ?? first),
    readOnly: false,
    options: [],
  };
  for (const option of third === undefined ? [] : third.split(",")) applyOption(mount, text, option);
  return mount;
}

function applyOption(mount: MountRequest, text: string, option: string): void {
  if (option === "ro") {
    mount.readOnly = true;
  } else if (MOUNT_OPTIONS.has(option)) {
    mount.options.push(option);
  } else if (!IGNORED_OPTIONS.has(option)) {
    const known = ["O", "U"].includes(option) || /^(idmap|upperdir=|workdir=)/.test(option);
    if (known) throw fail("unimplemented", `volume option "${option}" is not supported yet: "${text}"`);
    throw invalid("volume", text, `unknown option "${option}"`);
  }
}

const TYPES = new Set(["bind", "volume", "tmpfs", "image", "devpts"]);

/** One name for the several spellings of a key. */
const KEYS: Record<string, string> = {
  src: "source",
  dst: "target",
  destination: "target",
  ro: "readonly",
  "volume-nocopy": "nocopy",
  size: "tmpfs-size",
  mode: "tmpfs-mode",
};

type Pairs = Map<string, string>;

function pairsOf(text: string): Pairs {
  const pairs: Pairs = new Map();
  for (const field of splitCsv(text)) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).trim().toLowerCase();
    pairs.set(KEYS[key] ?? key, equals < 0 ? "true" : field.slice(equals + 1).trim());
  }
  return pairs;
}

function flag(pairs: Pairs, key: string): boolean {
  const value = pairs.get(key);
  return value !== undefined && /^(true|1)$/i.test(value);
}

/** `type=bind,source=/a,target=/b,readonly`. Errors: invalid-argument, unimplemented. */
export function parseMount(text: string): MountRequest {
  const pairs = pairsOf(text);
  const type = pairs.get("type") ?? "volume";
  if (!TYPES.has(type)) {
    const known = ["glob", "ramfs", "artifact"].includes(type);
    if (known) throw fail("unimplemented", `mount type "${type}" is not supported yet: "${text}"`);
    throw invalid("mount", text, `unknown type "${type}"`);
  }
  const path = pairs.get("target");
  if (path === undefined) throw invalid("mount", text, 'a "target" must be given');
  const mount: MountRequest = {
    type: type as MountRequest["type"],
    source: mountSource(text, type, pairs.get("source") ?? ""),
    target: target("mount", text, path),
    readOnly: flag(pairs, "readonly"),
    options: [],
  };
  // Images are read-only unless said otherwise.
  if (type === "image") mount.readOnly = !flag(pairs, "rw") && !flag(pairs, "readwrite");
  for (const [key, value] of pairs) mount.options.push(...mountOption(mount, text, key, value));
  return mount;
}

function mountSource(text: string, type: string, given: string): string {
  switch (type) {
    case "bind":
      if (given === "") throw invalid("mount", text, 'a bind mount needs a "source"');
      return resolve(given);
    case "image":
      if (given === "") throw invalid("mount", text, 'an image mount needs a "source"');
      return given;
    case "volume":
      if (given !== "" && !VOLUME_NAME.test(given))
        throw invalid("mount", text, `"${given}" is not the name of a volume`);
      return given;
    default:
      if (given !== "") throw invalid("mount", text, `a ${type} has no source`);
      return "";
  }
}

const COMMON_KEYS = new Set([
  "type",
  "source",
  "target",
  "readonly",
  "rw",
  "readwrite",
  "consistency",
  "relabel",
]);

function mountOption(mount: MountRequest, text: string, key: string, value: string): string[] {
  if (COMMON_KEYS.has(key)) return [];
  if (MOUNT_OPTIONS.has(key)) return value === "true" ? [key] : [];
  switch (`${mount.type} ${key}`) {
    case "bind bind-propagation":
    case "bind propagation":
      if (!MOUNT_OPTIONS.has(value)) throw invalid("mount", text, `unknown propagation "${value}"`);
      return [value];
    case "bind bind-nonrecursive":
      return value === "true" ? ["bind"] : [];
    case "tmpfs tmpfs-size":
      return [`size=${value}`];
    case "tmpfs tmpfs-mode":
      return [`mode=${value}`];
    case "devpts uid":
    case "devpts gid":
    case "devpts max":
      return [`${key}=${value}`];
    case "devpts tmpfs-mode":
      return [`mode=${value}`];
    default:
      throw invalid("mount", text, `unknown option "${key}" for type ${mount.type}`);
  }
}

/** `/path[:size=64m,mode=1777]`: path and options. Errors: invalid-argument. */
export function parseTmpfs(text: string): { path: string; options: string } {
  const colon = text.indexOf(":");
  const path = colon < 0 ? text : text.slice(0, colon);
  return { path: target("tmpfs", text, path), options: colon < 0 ? "" : text.slice(colon + 1) };
}

/** Errors: invalid-argument when two mounts have the same place. */
export function checkTargets(mounts: readonly MountRequest[], tmpfs: Readonly<Record<string, string>>): void {
  const seen = new Set(Object.keys(tmpfs));
  for (const mount of mounts) {
    if (seen.has(mount.target)) throw invalid("mount", mount.target, "something is mounted there already");
    seen.add(mount.target);
  }
}
