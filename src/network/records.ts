/** Network records in the state database, and how the default network gets its first one. */
import { fail } from "../core/error.ts";
import { newId } from "../core/id.ts";
import { now } from "../core/time.ts";
import type { Db } from "../sys/db.ts";
import { hasIpv6 } from "../sys/net-sysctl.ts";
import { linkByName, listAddresses, listRoutes, openRoute } from "../sys/netlink-route.ts";
import { addressAt, formatIp, ipFromBytes, parseSubnet, type Subnet, subnetOf } from "./address.ts";
import { reserveGateways } from "./ipam.ts";
import type { StoreNames } from "./names.ts";
import { DEFAULT_NETWORK, type NetworkRecord } from "./network.ts";
import { chooseIpv4Subnet, chooseIpv6Subnet } from "./subnet.ts";

const ALIASES: readonly string[] = ["default", "podman"];

export function listRecords(db: Db): NetworkRecord[] {
  return db
    .all<{ record: string }>("SELECT record FROM networks ORDER BY name")
    .map((row) => JSON.parse(row.record) as NetworkRecord);
}

/** By name, "default" and "podman" being the default one's. Makes the default network's record. Errors: not-found. */
export function findRecord(db: Db, names: StoreNames, name: string): NetworkRecord {
  const real = ALIASES.includes(name) ? DEFAULT_NETWORK : name;
  const row = db.get<{ record: string }>("SELECT record FROM networks WHERE name = ?", real);
  if (row !== undefined) return JSON.parse(row.record) as NetworkRecord;
  if (real !== DEFAULT_NETWORK) throw fail("not-found", `no such network "${name}"`);
  return db.tx(() => {
    // Another process may have been faster.
    const found = db.get<{ record: string }>("SELECT record FROM networks WHERE name = ?", real);
    if (found !== undefined) return JSON.parse(found.record) as NetworkRecord;
    return insertRecord(db, defaultRecord(names, takenSubnets(db, names.bridge)));
  });
}

export function insertRecord(db: Db, record: NetworkRecord): NetworkRecord {
  db.run(
    "INSERT INTO networks VALUES (?, ?, ?, ?)",
    record.name,
    record.id,
    record.bridge,
    JSON.stringify(record),
  );
  reserveGateways(db, record);
  return record;
}

/** Deletes the record, its gateway's leases and cursors. */
export function deleteRecord(db: Db, name: string): void {
  db.run("DELETE FROM network_leases WHERE network = ?", name);
  db.run("DELETE FROM network_cursors WHERE network = ?", name);
  db.run("DELETE FROM networks WHERE name = ?", name);
}

/** A MAC for the bridge that never changes: from the network's id. */
export function bridgeMac(record: NetworkRecord): Uint8Array {
  const digest = new Bun.CryptoHasher("sha256").update(record.id).digest();
  return new Uint8Array([0x02, 0xbe, ...digest.subarray(0, 4)]);
}

function defaultRecord(names: StoreNames, taken: Subnet[]): NetworkRecord {
  const subnets = [chooseIpv4Subnet(taken, names.suffix), ...(hasIpv6() ? [chooseIpv6Subnet()] : [])];
  return {
    name: DEFAULT_NETWORK,
    id: newId(),
    driver: "bridge",
    bridge: names.bridge,
    subnets: subnets.map((subnet) => ({ subnet, gateway: gatewayOf(subnet) })),
    internal: false,
    labels: {},
    created: now(),
  };
}

/** The first usable address. */
function gatewayOf(subnet: string): string {
  return formatIp(addressAt(parseSubnet(subnet) as Subnet, 1n));
}

/**
 * IPv4 subnets that something else uses: routes, addresses and the records of this store. Default routes do not
 * count, nor does our own bridge, which may have outlived an earlier store.
 */
function takenSubnets(db: Db, bridge: string): Subnet[] {
  using socket = openRoute();
  const own = linkByName(socket, bridge)?.index;
  const routes = listRoutes(socket).flatMap((route) =>
    route.family === 4 && route.destination !== undefined && route.index !== own
      ? [subnetOf(ipFromBytes(route.destination), route.prefix)]
      : [],
  );
  const addresses = listAddresses(socket)
    .filter((a) => a.address.length === 4 && a.index !== own)
    .map((a) => subnetOf(ipFromBytes(a.address), a.prefix));
  const records = listRecords(db).flatMap((r) => r.subnets.map((s) => parseSubnet(s.subnet) as Subnet));
  // Routes that cover half of the Internet are VPNs' way of saying "default".
  return [...routes, ...addresses, ...records].filter((s) => s.prefix > 1);
}
