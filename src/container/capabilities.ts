/** Linux capabilities: names by bit, the default set, and what a request makes of it (capabilities(7)). */
import { fail } from "../core/error.ts";
import type { OciCapabilities } from "./spec-oci.ts";
import { quote } from "./spec-text.ts";

/** Index is the bit in the kernel's masks. */
export const CAPABILITY_NAMES = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
  "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN " +
  "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE " +
  "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
  .split(" ")
  .map((name) => `CAP_${name}`);

/** Podman's eleven. */
export const DEFAULT_CAPABILITIES: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_NET_BIND_SERVICE",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

export interface BoundingRequest {
  add: readonly string[];
  drop: readonly string[];
  privileged: boolean;
  /** The bounding set of the engine itself: nothing outside it can be given. */
  available: readonly string[];
}

export interface CapabilityRequest extends BoundingRequest {
  uid: number;
}

/** Names of the bits set in a hexadecimal mask of /proc/PID/status ("CapBnd"). */
export function capabilitiesFromMask(hex: string): string[] {
  const mask = BigInt(`0x${hex}`);
  return CAPABILITY_NAMES.filter((_, bit) => ((mask >> BigInt(bit)) & 1n) === 1n);
}

/** "net_admin" or "CAP_NET_ADMIN" → "CAP_NET_ADMIN"; "all" → "ALL". Errors: invalid-argument. */
function normalizeCapability(text: string): string {
  const upper = text.toUpperCase();
  if (upper === "ALL" || upper === "CAP_ALL") return "ALL";
  const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (!CAPABILITY_NAMES.includes(name)) {
    throw fail("invalid-argument", `unknown capability ${quote(text)}`, {
      hint: "see capabilities(7) for the names",
    });
  }
  return name;
}

/** All that a process of the container can ever hold; it also decides the seccomp filter. Errors: invalid-argument. */
export function boundingSet(request: BoundingRequest): string[] {
  const add = new Set(request.add.map(normalizeCapability));
  const drop = new Set(request.drop.map(normalizeCapability));
  for (const name of add) {
    if (drop.has(name)) throw fail("invalid-argument", `capability ${quote(name)} is both added and dropped`);
  }
  const everything = request.privileged || add.has("ALL");
  const wanted = new Set(drop.has("ALL") ? [] : everything ? CAPABILITY_NAMES : DEFAULT_CAPABILITIES);
  for (const name of drop) wanted.delete(name);
  for (const name of add) wanted.add(name);
  const available = new Set(request.available);
  return CAPABILITY_NAMES.filter((name) => wanted.has(name) && available.has(name));
}

/**
 * The five sets of a process. Inheritable and ambient are empty, but for one case: an unprivileged user for whom
 * capabilities were added by name gets exactly those as ambient ones, without which --cap-add would have no
 * effect for him (the kernel wants an ambient capability to be inheritable as well).
 */
export function capabilitySets(request: CapabilityRequest, notes: string[]): OciCapabilities {
  const bounding = boundingSet(request);
  const added = new Set(request.add.map(normalizeCapability));
  for (const name of added) {
    if (name !== "ALL" && !request.available.includes(name)) {
      notes.push(`capability ${name} is not available to the engine: not added`);
    }
  }
  if (request.uid === 0) {
    return { bounding, effective: bounding, permitted: bounding, inheritable: [], ambient: [] };
  }
  const named = bounding.filter((name) => added.has(name));
  return { bounding, effective: named, permitted: named, inheritable: named, ambient: named };
}
