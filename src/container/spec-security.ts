/** --security-opt, and what it and --privileged make of masks, seccomp, AppArmor and no-new-privileges. */
import { fail } from "../core/error.ts";
import type { ContainerSpec } from "./container.ts";
import type { HostFacts } from "./spec-input.ts";
import { absolutePath, checkLine, quote } from "./spec-text.ts";

export interface SecurityOptions {
  noNewPrivileges: boolean;
  /** "default", "unconfined", the path of a profile file, or a profile itself (JSON, as Docker's client sends it). */
  seccomp: string;
  /** undefined: not said. */
  apparmor: string | undefined;
  mask: string[];
  /** Absolute paths, with `*` within a component; ["ALL"] clears all. */
  unmask: string[];
  /** Options for /proc: "hidepid=2". */
  procOptions: string[];
}

/** Podman's list, and thermal and interrupt data that tell of the host (Docker's newer entries). */
const MASKED_PATHS: readonly string[] = [
  "/proc/acpi",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/dev/block",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
  "/sys/fs/selinux",
];

const READONLY_PATHS: readonly string[] = [
  "/proc/asound",
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
];

/** Errors: invalid-argument for an unknown option or a malformed value. */
export function parseSecurityOptions(options: readonly string[], privileged: boolean): SecurityOptions {
  const parsed: SecurityOptions = {
    noNewPrivileges: false,
    seccomp: privileged ? "unconfined" : "default",
    apparmor: privileged ? "unconfined" : undefined,
    mask: [],
    unmask: privileged ? ["ALL"] : [],
    procOptions: [],
  };
  for (const option of options) {
    const isProfile = option.startsWith("seccomp=") && isInline(option.slice("seccomp=".length));
    applyOption(parsed, isProfile ? option : checkLine("security option", option));
  }
  return parsed;
}

function applyOption(parsed: SecurityOptions, option: string): void {
  const separator = option.search(/[=:]/);
  const key = separator === -1 ? option : option.slice(0, separator);
  const value = separator === -1 ? undefined : option.slice(separator + 1);
  switch (key) {
    case "no-new-privileges":
      parsed.noNewPrivileges = booleanValue(option, value);
      return;
    case "seccomp":
      parsed.seccomp = needed(option, value);
      return;
    case "apparmor":
      parsed.apparmor = needed(option, value);
      return;
    case "label":
      return;
    case "mask":
      parsed.mask.push(...pathList(option, value));
      return;
    case "unmask":
      parsed.unmask.push(...(value?.toUpperCase() === "ALL" ? ["ALL"] : pathList(option, value)));
      return;
    case "systempaths":
      if (value !== "unconfined") throw optionError(option, 'the only value is "unconfined"');
      parsed.unmask.push("ALL");
      return;
    case "proc-opts":
      parsed.procOptions.push(...procOptions(option, value));
      return;
    default:
      throw optionError(
        option,
        "known: no-new-privileges, seccomp, apparmor, label, mask, unmask, systempaths, proc-opts",
      );
  }
}

function isInline(seccomp: string): boolean {
  return seccomp.trimStart().startsWith("{");
}

function booleanValue(option: string, value: string | undefined): boolean {
  if (value === undefined || value === "true") return true;
  if (value === "false") return false;
  throw optionError(option, "use true or false");
}

function needed(option: string, value: string | undefined): string {
  if (value === undefined || value === "") throw optionError(option, "a value is missing after =");
  return value;
}

function pathList(option: string, value: string | undefined): string[] {
  return needed(option, value)
    .split(":")
    .map((path) => absolutePath("path", path));
}

function procOptions(option: string, value: string | undefined): string[] {
  const options = needed(option, value).split(",");
  for (const one of options) {
    if (!/^(hidepid=(0|1|2|4|off|noaccess|invisible|ptraceable)|subset=pid|gid=\d+)$/.test(one)) {
      throw optionError(option, "use hidepid=, subset=pid or gid=");
    }
  }
  return options;
}

function optionError(option: string, hint: string): Error {
  return fail("invalid-argument", `invalid security option ${quote(option)}`, { hint });
}

export interface PathRestrictions {
  maskedPaths: string[];
  readonlyPaths: string[];
}

/** Defaults minus what is unmasked, plus what is masked by name (which always wins). */
export function restrictedPaths(security: SecurityOptions, extraMasked: readonly string[]): PathRestrictions {
  const all = security.unmask.includes("ALL");
  const open = security.unmask.filter((path) => path !== "ALL").map(globPattern);
  const kept = (paths: readonly string[]) =>
    all ? [] : paths.filter((path) => !open.some((pattern) => pattern.test(path)));
  const masked = new Set([...kept([...MASKED_PATHS, ...extraMasked]), ...security.mask]);
  return {
    maskedPaths: [...masked],
    readonlyPaths: kept(READONLY_PATHS).filter((path) => !masked.has(path)),
  };
}

function globPattern(glob: string): RegExp {
  const source = glob.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^/]*");
  return new RegExp(`^${source}$`);
}

/** The AppArmor profile to name, if the host has AppArmor. Errors: unimplemented when one is asked for and it has not. */
export function apparmorProfile(security: SecurityOptions, host: HostFacts): string | undefined {
  const profile = security.apparmor;
  if (profile === undefined || profile === "unconfined") return host.apparmor ? profile : undefined;
  if (!host.apparmor) {
    throw fail(
      "unimplemented",
      `AppArmor profile ${quote(profile)} asked for, but this host has no AppArmor`,
    );
  }
  return profile;
}

export type SeccompPlan =
  | { kind: "unconfined" }
  | { kind: "default" }
  | { kind: "file"; path: string }
  | { kind: "inline"; text: string };

/** Which filter the caller has to provide as SpecInput.seccomp. */
export function seccompPlan(spec: ContainerSpec, host: HostFacts): SeccompPlan {
  const { seccomp } = parseSecurityOptions(spec.securityOpt, spec.privileged);
  if (seccomp === "unconfined") return { kind: "unconfined" };
  if (seccomp === "default" || seccomp === "builtin")
    return host.seccomp ? { kind: "default" } : { kind: "unconfined" };
  if (!host.seccomp)
    throw fail("unimplemented", "a seccomp profile was asked for, but this kernel has no seccomp filters");
  return isInline(seccomp) ? { kind: "inline", text: seccomp } : { kind: "file", path: seccomp };
}
