/**
 * Who has which host port: our own rows first, then the host's listeners. To be called inside
 * `db.tx`, before anything is made, so that a taken port costs nothing but the message.
 */
import { fail } from "../core/error.ts";
import type { Db } from "../sys/db.ts";
import { probePort } from "../sys/port-probe.ts";
import { type Ip, ipBytes, isLoopback, parseIp } from "./address.ts";
import type { PortMapping, Protocol } from "./network.ts";

interface PortRow {
  protocol: Protocol;
  first: number;
  last: number;
  host_ip: string;
  container_port: number;
  container: string;
}

export interface ClaimRequest {
  container: string;
  position: number;
  ports: readonly PortMapping[];
  /** False where the kernel has no IPv6: "" then means 0.0.0.0. */
  ipv6: boolean;
}

/** Where free ports are looked for: the range that the kernel itself takes outgoing ports from. */
const FREE_FIRST = 32768;
const FREE_LAST = 60999;

const ANY: Record<4 | 6, Ip> = { 4: { family: 4, value: 0n }, 6: { family: 6, value: 0n } };

/**
 * Writes the rows and returns the mappings with free ports filled in. Errors: in-use (naming the container
 * that has the port, or saying that another program listens on it), invalid-argument (an address the
 * host does not have), unimplemented (::1), resource-exhausted (no free port).
 */
export function claimPorts(db: Db, request: ClaimRequest): PortMapping[] {
  return request.ports.map((mapping) => {
    refuseUnreachable(mapping, request.ipv6);
    const claimed = mapping.hostPort === 0 ? freePort(db, request, mapping) : fixedPort(db, request, mapping);
    db.run(
      "INSERT INTO network_ports VALUES (?, ?, ?, ?, ?, ?, ?)",
      claimed.protocol,
      claimed.hostPort,
      claimed.hostPort + claimed.range - 1,
      claimed.hostIp,
      claimed.containerPort,
      request.container,
      request.position,
    );
    return claimed;
  });
}

/** The claimed ports of one attachment. */
export function portsOf(db: Db, container: string, position: number): PortMapping[] {
  return db
    .all<PortRow>(
      "SELECT * FROM network_ports WHERE container = ? AND position = ? ORDER BY protocol, first",
      container,
      position,
    )
    .map((row) => ({
      hostIp: row.host_ip,
      hostPort: row.first,
      containerPort: row.container_port,
      protocol: row.protocol,
      range: row.last - row.first + 1,
    }));
}

function fixedPort(db: Db, request: ClaimRequest, mapping: PortMapping): PortMapping {
  const { hostPortEnd, ...rest } = mapping;
  const choices = hostPortEnd === undefined ? 1 : hostPortEnd - mapping.hostPort + 1;
  let refusal: Error | undefined;
  for (let i = 0; i < choices; i++) {
    const candidate = { ...rest, hostPort: mapping.hostPort + i };
    refusal = refusalOf(db, request, candidate);
    if (refusal === undefined) return candidate;
  }
  if (hostPortEnd === undefined && refusal !== undefined) throw refusal;
  throw noFreePort(`${mapping.hostPort}-${hostPortEnd}`, refusal);
}

function freePort(db: Db, request: ClaimRequest, mapping: PortMapping): PortMapping {
  const span = FREE_LAST - FREE_FIRST + 2 - mapping.range;
  const start = Math.floor(Math.random() * span);
  let refusal: Error | undefined;
  for (let i = 0; i < span; i++) {
    const candidate = { ...mapping, hostPort: FREE_FIRST + ((start + i) % span) };
    refusal = refusalOf(db, request, candidate);
    if (refusal === undefined) return candidate;
  }
  throw noFreePort(`${FREE_FIRST}-${FREE_LAST}`, refusal);
}

function noFreePort(range: string, cause: unknown): Error {
  return fail("resource-exhausted", `no host port of ${range} is free`, { reason: "ports-exhausted", cause });
}

/** Why this mapping cannot be had; undefined when it can. */
function refusalOf(db: Db, request: ClaimRequest, mapping: PortMapping): Error | undefined {
  const last = mapping.hostPort + mapping.range - 1;
  const holder = db
    .all<PortRow>(
      "SELECT * FROM network_ports WHERE protocol = ? AND first <= ? AND last >= ?",
      mapping.protocol,
      last,
      mapping.hostPort,
    )
    .find((row) => clash(row.host_ip, mapping.hostIp));
  if (holder !== undefined) return heldByContainer(db, mapping, holder);
  for (let port = mapping.hostPort; port <= last; port++) {
    const refusal = probe(mapping, port, request.ipv6);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/** Host addresses that no rule could lead to a container. */
function refuseUnreachable(mapping: PortMapping, ipv6: boolean): void {
  const host = mapping.hostIp === "" ? undefined : parseIp(mapping.hostIp);
  if (host?.family !== 6) return;
  const port = describe(mapping, mapping.hostPort);
  if (isLoopback(host)) {
    throw fail("unimplemented", `port ${port} cannot be published: the kernel does not translate "::1"`, {
      hint: "publish it on 127.0.0.1: what connects to localhost tries that too",
    });
  }
  if (!ipv6) throw fail("invalid-argument", `port ${port} cannot be published: the kernel has no IPv6`);
}

function probe(mapping: PortMapping, port: number, ipv6: boolean): Error | undefined {
  for (const address of addressesOf(mapping.hostIp, ipv6)) {
    const result = probePort(mapping.protocol, ipBytes(address), port);
    if (result === "in-use") {
      return fail("in-use", `port ${describe(mapping, port)} is in use by another program on the host`, {
        reason: "port-in-use",
        hint: `"ss -lp" shows which; publish another port, or 0 for a free one`,
        data: { port, protocol: mapping.protocol },
      });
    }
    if (result === "no-such-address") {
      return fail(
        "invalid-argument",
        `the host has no address "${mapping.hostIp}" to publish port ${port} on`,
      );
    }
  }
  return undefined;
}

function heldByContainer(db: Db, mapping: PortMapping, row: PortRow): Error {
  const holder = db.get<{ container_name: string }>(
    "SELECT container_name FROM network_attachments WHERE container = ?",
    row.container,
  );
  const port = Math.max(row.first, mapping.hostPort);
  const name = holder?.container_name ?? row.container.slice(0, 12);
  return fail("in-use", `port ${describe(mapping, port)} is in use by container "${name}"`, {
    reason: "port-in-use",
    hint: `stop "${name}" or publish another port`,
    data: { port, protocol: mapping.protocol, container: row.container },
  });
}

function describe(mapping: PortMapping, port: number): string {
  const host = mapping.hostIp.includes(":") ? `[${mapping.hostIp}]` : mapping.hostIp;
  return `"${host === "" ? "" : `${host}:`}${port}/${mapping.protocol}"`;
}

function addressesOf(hostIp: string, ipv6: boolean): Ip[] {
  if (hostIp === "") return ipv6 ? [ANY[4], ANY[6]] : [ANY[4]];
  return [parseIp(hostIp) as Ip];
}

/** Two claims on one port clash when an address belongs to both. */
function clash(a: string, b: string): boolean {
  return addressesOf(a, true).some((x) =>
    addressesOf(b, true).some(
      (y) => x.family === y.family && (x.value === y.value || x.value === 0n || y.value === 0n),
    ),
  );
}
