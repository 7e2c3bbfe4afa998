/** One container's veth pair: made, set up inside its namespace, found again. */
import { closeSync, openSync, statfsSync } from "node:fs";
import { fail } from "../core/error.ts";
import { hasCode } from "../sys/errno.ts";
import { filtersBridges, writeIpv6Sysctls } from "../sys/net-sysctl.ts";
import type { NetlinkSocket } from "../sys/netlink.ts";
import {
  addAddress,
  addDefaultRoute,
  checkLinkName,
  createVeth,
  deleteLink,
  type Link,
  linkByName,
  openRoute,
  setLink,
} from "../sys/netlink-route.ts";
import { ipBytes, parseIp, type Ip } from "./address.ts";
import type { AttachmentRow } from "./attachments.ts";
import type { Lease } from "./ipam.ts";

const NSFS_MAGIC = 0x6e736673;

/** Names that mean something else under /proc/sys/net/ipv6/conf, and the loopback's. */
const RESERVED: readonly string[] = ["all", "default", "lo"];

/** Errors: invalid-argument (not a name, or another interface of the container has it). */
export function checkInterfaceName(name: string, others: readonly AttachmentRow[]): void {
  try {
    checkLinkName(name);
  } catch (cause) {
    throw fail("invalid-argument", `invalid interface name "${name}"`, {
      hint: "at most 15 bytes without white space, / and :",
      cause,
    });
  }
  if (RESERVED.includes(name) || others.some((row) => row.interface === name)) {
    throw fail("invalid-argument", `the interface name "${name}" is taken`);
  }
}

/** Makes the pair: the host's end up in its bridge, the other one in the namespace. Errors: not-found (no such namespace), NetlinkError. */
export function connect(
  route: NetlinkSocket,
  row: AttachmentRow,
  request: { bridge: Link; mac: Uint8Array; publishes: boolean },
): void {
  const netnsFd = openNetns(row.netns);
  try {
    clearLeftover(route, row);
    const pair = {
      name: row.host_veth,
      master: request.bridge.index,
      mtu: request.bridge.mtu,
      peer: { name: row.interface, mac: request.mac, netnsFd },
    };
    // A bridge's port needs no address, and without one there is no multicast chatter about it.
    const quiet = request.bridge.ipv6 ? { linkLocal: false } : {};
    const port = request.publishes ? hairpin() : {};
    route.run(createVeth(pair), setLink(row.host_veth, { alias: aliasOf(row), ...quiet, ...port }));
  } finally {
    closeSync(netnsFd);
  }
}

/**
 * To be called when both ends are up. A bridge passes packets to a new port only after a kernel worker has noticed its
 * carrier; while that waits for the lock that some namespace's end is holding, the container's first packets would be lost, a second each.
 */
export function awaitCarrier(route: NetlinkSocket, row: AttachmentRow, bridge: Link): void {
  linkByName(route, row.host_veth);
  linkByName(route, bridge.name);
}

/** Addresses and routes; the calling thread is inside the namespace. The first network's gateways are the way out. */
export function configure(row: AttachmentRow, leases: readonly Lease[]): void {
  using route = openRoute();
  const link = linkByName(route, row.interface);
  if (link === undefined) throw fail("internal", `the interface "${row.interface}" has vanished`);
  if (leases.some((l) => l.address.family === 6)) {
    // Other containers must not be able to tell this one its routes, and a link-local address is needed at once.
    writeIpv6Sysctls(row.interface, { accept_ra: "0", accept_dad: "0" });
  }
  const first = row.position === 0;
  route.run(
    setLink(row.interface, { up: true }),
    ...leases.map((l) => addAddress(link.index, ipBytes(l.address), l.prefix)),
    ...(first ? leases.map((l) => addDefaultRoute(link.index, ipBytes(parseIp(l.gateway) as Ip))) : []),
  );
}

/**
 * Deletes the pair of an earlier life of this container; both ends go, 10 ms. No pair is no error.
 * Errors: conflict (somebody else's interface has the name).
 */
export function clearLeftover(route: NetlinkSocket, row: AttachmentRow): void {
  const link = linkByName(route, row.host_veth);
  if (link === undefined) return;
  if (link.alias !== aliasOf(row)) {
    throw fail(
      "conflict",
      `the interface "${row.host_veth}" exists and is not container "${row.container_name}"'s`,
    );
  }
  try {
    route.run(deleteLink(row.host_veth));
  } catch (error) {
    if (!hasCode(error, "ENODEV")) throw error;
  }
}

/** Puts the host's end back into its bridge. Returns false when it is gone, and the container with it. */
export function reconnect(route: NetlinkSocket, row: AttachmentRow, bridge: Link): boolean {
  try {
    route.run(setLink(row.host_veth, { master: bridge.index, up: true }));
    route.run(setLink(row.host_veth, hairpin()));
    return true;
  } catch (error) {
    if (hasCode(error, "ENODEV")) return false;
    throw error;
  }
}

/** A published port that its own container asks for. Off where it is not needed: it also sends every broadcast back to its sender. */
function hairpin(): { hairpin?: boolean } {
  return filtersBridges() ? { hairpin: true } : {};
}

/** Tells people, and later lives of the container, whose link it is. */
function aliasOf(row: AttachmentRow): string {
  return `berth ${row.container}`;
}

/** False for a path that does not exist, and for the plain file that a reboot leaves of a pin on a disk. */
export function isNamespace(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS_MAGIC;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}

function openNetns(path: string): number {
  try {
    return openSync(path, "r");
  } catch (cause) {
    throw fail("not-found", `no network namespace at "${path}"`, { cause });
  }
}
