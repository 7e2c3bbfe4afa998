/** The network's sysctls, of the namespace the calling thread is in: /proc/sys/net shows the reader's own. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { O_CLOEXEC, O_DIRECTORY, O_PATH, O_WRONLY } from "./const.ts";
import { SysError, hasCode } from "./errno.ts";
import { close, open, openat, write } from "./files.ts";

const ROOT = "/proc/sys/net";

/** True when the kernel has IPv6 and it is not switched off for the whole namespace. */
export function hasIpv6(): boolean {
  return readSysctl("ipv6/conf/all/disable_ipv6") === "0";
}

/**
 * True where br_netfilter (docker and kubelet load it) makes frames that only cross a bridge pass the IP rules: a
 * translated packet is then bridged, not routed, and can go back to its sender only through a port in hairpin mode.
 */
export function filtersBridges(): boolean {
  return ["iptables", "ip6tables"].some((name) => readSysctl(`bridge/bridge-nf-call-${name}`) === "1");
}

/** `key` is a path beneath net: "ipv4/ip_forward". Undefined where the kernel has no such key. */
function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(`${ROOT}/${key}`, "utf8").trim();
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Errors: ENOENT, EROFS (a read-only /proc/sys), EPERM. */
function writeSysctl(key: string, value: string): void {
  try {
    writeFileSync(`${ROOT}/${key}`, value);
  } catch (error) {
    throw new SysError("write", `${ROOT}/${key}`, Math.abs((error as { errno?: number }).errno ?? 5));
  }
}

/**
 * IPv6 sysctls of one interface. The directory is opened once: finding it takes longer the more namespaces there are,
 * because all of their directories hash alike. Errors: ENOENT (no such interface or key), EROFS, EPERM.
 */
export function writeIpv6Sysctls(link: string, values: Record<string, string>): void {
  const directory = open(`${ROOT}/ipv6/conf/${link}`, O_PATH | O_DIRECTORY | O_CLOEXEC);
  try {
    for (const [key, value] of Object.entries(values)) {
      const file = openat(directory, key, O_WRONLY | O_CLOEXEC);
      try {
        write(file, Buffer.from(value));
      } finally {
        close(file);
      }
    }
  } finally {
    close(directory);
  }
}

/** Writes only where the value differs, so that a read-only /proc/sys that is right already is no error. */
export function ensureSysctl(key: string, value: string): void {
  if (readSysctl(key) !== value) writeSysctl(key, value);
}

/**
 * Makes the host forward packets. Turning IPv6 forwarding on makes the kernel forget default routes that it
 * learned from router advertisements, except on interfaces whose accept_ra is 2: those that accept them now go on doing so.
 */
export function enableForwarding(ipv6: boolean): void {
  ensureSysctl("ipv4/ip_forward", "1");
  if (!ipv6 || readSysctl("ipv6/conf/all/forwarding") === "1") return;
  for (const name of readdirSync(`${ROOT}/ipv6/conf`)) {
    if (name === "all" || name === "default" || name === "lo") continue;
    const key = `ipv6/conf/${name}/accept_ra`;
    if (existsSync(`${ROOT}/${key}`) && readSysctl(key) === "1") writeSysctl(key, "2");
  }
  writeSysctl("ipv6/conf/all/forwarding", "1");
}
