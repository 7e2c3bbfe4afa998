/** Name of a compiled filter in the caller's cache. Apart from seccomp.ts, so that a cache hit loads none of the profile. */

/** Version of seccomp/profile.ts and of the compiler; any change of either raises it. */
export const PROFILE_VERSION = 1;

/** Architectures of the host, as Node names them, for which there are tables. */
export type SeccompArch = "x64" | "arm64";

/** Equal for equal filters: only capabilities that the profile looks at count, in any order. Safe as a file name. */
export function seccompCacheKey(capabilities: readonly string[], arch: SeccompArch): string {
  const held = new Set(capabilities);
  const gates = GATE_CAPABILITIES.map((name) => (held.has(`CAP_${name}`) ? "1" : "0")).join("");
  return `seccomp-v${PROFILE_VERSION}-${arch}-${Number.parseInt(gates, 2).toString(16)}`;
}

/** Every capability that opens something in the profile; a test keeps it in step with seccomp/profile.ts. */
export const GATE_CAPABILITIES: readonly string[] = [
  "BPF",
  "DAC_READ_SEARCH",
  "PERFMON",
  "SYSLOG",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_CHROOT",
  "SYS_MODULE",
  "SYS_NICE",
  "SYS_PACCT",
  "SYS_PTRACE",
  "SYS_RAWIO",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
];
