/**
 * Names a store gives to what the whole host sees: bridges, the nft table, veth ends. Stores on one host
 * must not meet, so every store but the default one carries a hash of its root directory. Pure.
 */
import { parseMac } from "../sys/netlink-route.ts";
import { fail } from "../core/error.ts";
import { type Ip, ipBytes } from "./address.ts";

export interface StoreNames {
  /** Table of family inet. */
  table: string;
  /** The default network's bridge. */
  bridge: string;
  /** Six hexadecimal digits, "" for the default store. */
  suffix: string;
}

const DEFAULT_ROOT = "/var/lib/berth";

export function storeNames(root: string): StoreNames {
  if (root === DEFAULT_ROOT) return { table: "berth", bridge: "berth0", suffix: "" };
  const suffix = new Bun.CryptoHasher("sha256").update(root).digest("hex").slice(0, 6);
  return { table: `berth-${suffix}`, bridge: `berth-${suffix}`, suffix };
}

/**
 * The host's end of a veth pair: "bv", six digits of the container's id, one of the interface's position, four of its address.
 * The address makes the name of a restarted container's end another one: the old end may still wait for the kernel to clear it away.
 */
export function hostVethName(containerId: string, position: number, address: Ip): string {
  const low = (address.value & 0xffffn).toString(16).padStart(4, "0");
  const id = /^[0-9a-f]{6}/.exec(containerId)?.[0] ?? hexOf(containerId);
  return `bv${id}${(position & 15).toString(16)}${low}`;
}

function hexOf(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 6);
}

/**
 * A locally administered MAC that follows from the address, so that a neighbour's cached entry of an
 * address is still right when the address has a new owner.
 */
export function macOf(address: Ip): Uint8Array {
  const tail = ipBytes(address).slice(-4);
  return new Uint8Array([0x02, address.family === 4 ? 0xbe : 0xb6, ...tail]);
}

/** Errors: invalid-argument. */
export function macFrom(text: string): Uint8Array {
  const mac = parseMac(text);
  if (mac !== undefined) return mac;
  throw fail("invalid-argument", `invalid MAC address "${text}"`, {
    hint: 'write it like "02:be:0a:57:00:02"',
  });
}

export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
