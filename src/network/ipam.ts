/**
 * Address leases: which container has which address of a network. The next free address behind
 * the last one given is taken, so that an address that was just let go rests while others are free.
 *
 * Everything here is to be called inside `db.tx`: the write lock makes sure that no address is given twice.
 */
import { fail } from "../core/error.ts";
import type { Db } from "../sys/db.ts";
import {
  addressAt,
  formatIp,
  type Ip,
  parseIp,
  parseSubnet,
  sizeOf,
  slotOf,
  type Subnet,
} from "./address.ts";
import type { NetworkRecord } from "./network.ts";

export interface Lease {
  address: Ip;
  prefix: number;
  gateway: string;
}

/** The last slot that is searched for in large subnets: what a JavaScript number and a bitmap of the mind can hold. */
const LAST_SLOT = 0x7fff_ffffn;

/** Takes the gateways' addresses out of what can be leased. Once, when a network is made. */
export function reserveGateways(db: Db, network: NetworkRecord): void {
  for (const { subnet: text, gateway } of network.subnets) {
    const subnet = parseSubnet(text) as Subnet;
    const address = parseIp(gateway) as Ip;
    const slot = slotOf(subnet, address) as bigint;
    insertLease(db, { network: network.name, address, slot, container: "" });
    db.run("INSERT INTO network_cursors VALUES (?, ?, ?)", network.name, address.family, 1);
  }
}

/**
 * One address of each subnet. An IPv6 address gets the number of the IPv4 one where that is free.
 * Errors: invalid-argument (static address outside of the subnets), in-use (static address taken),
 * resource-exhausted (no address left).
 */
export function leaseAddresses(
  db: Db,
  request: { network: NetworkRecord; container: string; staticIp: string | undefined; ipv6: boolean },
): Lease[] {
  const wanted =
    request.staticIp === undefined ? undefined : staticAddress(request.network, request.staticIp);
  const leases: Lease[] = [];
  let twin: bigint | undefined;
  for (const { subnet: text, gateway } of request.network.subnets) {
    const subnet = parseSubnet(text) as Subnet;
    const family = subnet.base.family;
    if (family === 6 && !request.ipv6) continue;
    const fixed = wanted === undefined ? undefined : slotOf(subnet, wanted);
    const slot = fixed ?? nextSlot(db, { network: request.network.name, subnet, twin });
    const address = addressAt(subnet, slot);
    const taken = insertLease(db, {
      network: request.network.name,
      address,
      slot,
      container: request.container,
    });
    if (!taken) throw addressTaken(db, request.network.name, address);
    leases.push({ address, prefix: subnet.prefix, gateway });
    twin = slot;
  }
  return leases;
}

/** Addresses of one container in one network, in the order of its subnets. */
export function leasesOf(db: Db, network: NetworkRecord, container: string): Lease[] {
  const rows = db.all<{ family: number; address: string }>(
    "SELECT family, address FROM network_leases WHERE container = ? AND network = ?",
    container,
    network.name,
  );
  return network.subnets.flatMap(({ subnet: text, gateway }) => {
    const subnet = parseSubnet(text) as Subnet;
    const row = rows.find((r) => r.family === subnet.base.family);
    return row === undefined ? [] : [{ address: parseIp(row.address) as Ip, prefix: subnet.prefix, gateway }];
  });
}

function staticAddress(network: NetworkRecord, text: string): Ip {
  const address = parseIp(text);
  if (address === undefined) throw fail("invalid-argument", `invalid IP address "${text}"`);
  const fits = network.subnets.some(({ subnet: s }) => {
    const subnet = parseSubnet(s) as Subnet;
    const slot = slotOf(subnet, address);
    return slot !== undefined && slot > 0n && slot < sizeOf(subnet) - (address.family === 4 ? 1n : 0n);
  });
  if (fits) return address;
  throw fail("invalid-argument", `the address "${text}" is not in a subnet of network "${network.name}"`, {
    hint: `its subnets are ${network.subnets.map((s) => s.subnet).join(" and ")}`,
  });
}

function addressTaken(db: Db, network: string, address: Ip): Error {
  const text = formatIp(address);
  const holder = db.get<{ container: string; name: string | null }>(
    `SELECT l.container, a.container_name AS name FROM network_leases l
     LEFT JOIN network_attachments a ON a.container = l.container AND a.network = l.network
     WHERE l.network = ? AND l.address = ?`,
    network,
    text,
  );
  const who = holder?.container === "" ? "the gateway" : `container "${holder?.name ?? holder?.container}"`;
  return fail("in-use", `the address "${text}" of network "${network}" is held by ${who}`, {
    reason: "address-in-use",
    data: { address: text, container: holder?.container },
  });
}

/** Returns false when somebody has it. */
function insertLease(
  db: Db,
  lease: { network: string; address: Ip; slot: bigint; container: string },
): boolean {
  const { changes } = db.run(
    "INSERT OR IGNORE INTO network_leases VALUES (?, ?, ?, ?, ?)",
    lease.network,
    lease.address.family,
    BigInt.asIntN(64, lease.slot),
    formatIp(lease.address),
    lease.container,
  );
  return changes === 1;
}

/** The next free slot behind the cursor, which moves there; `twin` is tried first. */
function nextSlot(db: Db, search: { network: string; subnet: Subnet; twin: bigint | undefined }): bigint {
  const { network, subnet, twin } = search;
  const family = subnet.base.family;
  const all = sizeOf(subnet);
  // The first address names the subnet; the last one is IPv4's broadcast.
  const end = family === 4 ? all - 1n : all;
  const last = Number(end - 1n > LAST_SLOT ? LAST_SLOT : end - 1n);
  const free = (slot: number): boolean =>
    db.get(
      "SELECT 1 FROM network_leases WHERE network = ? AND family = ? AND slot = ?",
      network,
      family,
      slot,
    ) === undefined;
  if (twin !== undefined && twin <= BigInt(last) && free(Number(twin))) return twin;
  const cursor = db.get<{ slot: number }>(
    "SELECT slot FROM network_cursors WHERE network = ? AND family = ?",
    network,
    family,
  );
  const from = cursor?.slot ?? 0;
  const slot =
    firstGap(db, { network, family, from, last, free }) ??
    firstGap(db, { network, family, from: 0, last, free });
  if (slot === undefined) {
    throw fail("resource-exhausted", `no address is left in network "${network}"`, {
      reason: "addresses-exhausted",
      hint: "remove containers that are no longer used, or make a network with a larger subnet",
    });
  }
  db.run("UPDATE network_cursors SET slot = ? WHERE network = ? AND family = ?", slot, network, family);
  return BigInt(slot);
}

/** The first free slot in from+1..last. */
function firstGap(
  db: Db,
  range: { network: string; family: number; from: number; last: number; free: (slot: number) => boolean },
): number | undefined {
  const { network, family, from, last, free } = range;
  if (from + 1 <= last && free(from + 1)) return from + 1;
  return db.get<{ slot: number }>(
    `SELECT slot + 1 AS slot FROM network_leases l
     WHERE network = ?1 AND family = ?2 AND slot > ?3 AND slot < ?4 AND NOT EXISTS
       (SELECT 1 FROM network_leases m WHERE m.network = ?1 AND m.family = ?2 AND m.slot = l.slot + 1)
     ORDER BY slot LIMIT 1`,
    network,
    family,
    from,
    last,
  )?.slot;
}
