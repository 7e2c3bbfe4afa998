/**
 * Our nftables table. Its rules are the same however many containers there are: a published port is one element of a map, and
 * a network is one element in each of a few sets. The text of the whole table follows from the records alone.
 *
 * - `raw`: nobody behind a bridge reaches the host's 127.0.0.0/8, which route_localnet on the bridge would allow.
 * - `prerouting`, `output`: DNAT for what is addressed to the host itself. Packets from outside to 127.0.0.1 never count as published.
 *   Neither does ::1, which the kernel could not translate: left alone, it refuses connections at once and clients try 127.0.0.1.
 * - `postrouting`: masquerade on the way out; for a container that reaches its own network through the host's address
 *   (hairpin: the answer must come back through the bridge); for the host's own 127.0.0.1. Clients from outside keep their address.
 * - `forward`: into a bridge only what answers, what was published, or what comes from the same bridge.
 *   An accept here does not overrule another table's drop (docker's and firewalld's policies): nftables has no such thing.
 */
import {
  addElements,
  deleteElements,
  deleteTable,
  hasChain,
  type MapElement,
  openNetfilter,
} from "../sys/netlink-netfilter.ts";
import { loadRuleset } from "../sys/nft-command.ts";
import { hasCode } from "../sys/errno.ts";
import { formatIp, type Ip, ipBytes, ipFromBytes, parseIp } from "./address.ts";
import type { NetworkRecord, PortMapping, Protocol } from "./network.ts";

const LAYOUT = 1;
const PROTOCOL: Record<Protocol, number> = { tcp: 6, udp: 17, sctp: 132 };

export interface Published {
  ports: readonly PortMapping[];
  /** The container's addresses, at most one of each family. */
  addresses: readonly Ip[];
}

export interface Ruleset {
  table: string;
  networks: readonly NetworkRecord[];
  /** What is published at the moment; called only when the table has to be written. */
  published: () => MapElement[];
}

/** True when the table is there and is the one for these networks. */
export function hasTable(ruleset: Ruleset): boolean {
  using socket = openNetfilter();
  return hasChain(socket, ruleset.table, layoutChain(ruleset.networks));
}

/**
 * Writes the table where it is missing or stale, in one transaction with all published ports. Call it inside `db.tx`, so
 * that no port comes or goes meanwhile. Errors: unimplemented (nft missing).
 */
export function ensureTable(ruleset: Ruleset): void {
  if (!hasTable(ruleset)) writeTable(ruleset);
}

export function writeTable(ruleset: Ruleset): void {
  loadRuleset(tableText(ruleset.table, ruleset.networks, ruleset.published()));
}

/** Returns false when the table has vanished (a firewall flush): write it anew then. */
export function publish(table: string, elements: MapElement[]): boolean {
  if (elements.length === 0) return true;
  using socket = openNetfilter();
  try {
    addElements(socket, table, elements);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT", "EBUSY", "EEXIST")) return false;
    throw error;
  }
}

export function unpublish(table: string, elements: MapElement[]): void {
  if (elements.length === 0) return;
  using socket = openNetfilter();
  deleteElements(socket, table, elements);
}

export function dropTable(table: string): void {
  using socket = openNetfilter();
  deleteTable(socket, table);
}

/** One element for each port and address family. */
export function elementsOf(published: Published): MapElement[] {
  return published.ports.flatMap((mapping) =>
    published.addresses.flatMap((address) => {
      const host = mapping.hostIp === "" ? undefined : (parseIp(mapping.hostIp) as Ip);
      if (host !== undefined && host.family !== address.family) return [];
      return Array.from({ length: mapping.range }, (_, i) => element(mapping, host, address, i));
    }),
  );
}

function element(mapping: PortMapping, host: Ip | undefined, address: Ip, offset: number): MapElement {
  const anywhere = host === undefined || host.value === 0n;
  const hostField = anywhere ? [] : ipBytes(host);
  return {
    map: `ports${address.family}${anywhere ? "" : "on"}`,
    key: new Uint8Array([
      ...hostField,
      PROTOCOL[mapping.protocol],
      0,
      0,
      0,
      ...portField(mapping.hostPort + offset),
    ]),
    value: new Uint8Array([...ipBytes(address), ...portField(mapping.containerPort + offset)]),
  };
}

/** Network order, padded to four bytes. */
function portField(port: number): number[] {
  return [port >> 8, port & 0xff, 0, 0];
}

/** The text form of an element: "tcp . 8080 : 10.87.0.2 . 80". */
function elementText(item: MapElement): string {
  const view = new DataView(item.key.buffer, item.key.byteOffset, item.key.length);
  const hostSize = item.key.length - 8;
  const host = hostSize === 0 ? "" : `${formatIp(ipFromBytes(item.key.subarray(0, hostSize)))} . `;
  const target = ipFromBytes(item.value.subarray(0, -4));
  const targetPort = new DataView(item.value.buffer, item.value.byteOffset).getUint16(item.value.length - 4);
  const key = `${host}${view.getUint8(hostSize)} . ${view.getUint16(hostSize + 4)}`;
  return `${key} : ${formatIp(target)} . ${targetPort}`;
}

/** A chain without rules whose name says which layout and networks the table was written for. */
function layoutChain(networks: readonly NetworkRecord[]): string {
  const facts = networks.map((n) => [n.bridge, n.internal, ...n.subnets.map((s) => s.subnet)].join(" "));
  const digest = new Bun.CryptoHasher("sha256").update(facts.toSorted().join("\n")).digest("hex");
  return `layout-${LAYOUT}-${digest.slice(0, 12)}`;
}

function tableText(
  table: string,
  networks: readonly NetworkRecord[],
  elements: readonly MapElement[],
): string {
  const members = Map.groupBy(elements, (e) => e.map);
  const map = (name: string, type: string): string =>
    `  map ${name} {\n    type ${type}\n${list((members.get(name) ?? []).map(elementText))}  }\n`;
  const subnets = (family: 4 | 6): { subnet: string; bridge: string }[] =>
    networks
      .filter((n) => !n.internal)
      .flatMap((n) => n.subnets.map((s) => ({ subnet: s.subnet, bridge: n.bridge })))
      .filter((s) => s.subnet.includes(":") === (family === 6));
  const set = (name: string, type: string, items: string[]): string =>
    `  set ${name} {\n    type ${type}\n${list(items)}  }\n`;
  const interval = (type: string): string => `${type}\n    flags interval`;
  const bridges = networks.map((n) => `"${n.bridge}"`);
  return [
    // `delete` needs a table to delete.
    `table inet ${table}\ndelete table inet ${table}\ntable inet ${table} {\n`,
    `  chain ${layoutChain(networks)} {\n  }\n`,
    set("bridges", "ifname", bridges),
    set(
      "own",
      "ifname . ifname",
      bridges.map((b) => `${b} . ${b}`),
    ),
    set(
      "subnets4",
      interval("ipv4_addr"),
      subnets(4).map((s) => s.subnet),
    ),
    set(
      "subnets6",
      interval("ipv6_addr"),
      subnets(6).map((s) => s.subnet),
    ),
    set(
      "hairpin4",
      interval("ipv4_addr . ifname"),
      subnets(4).map((s) => `${s.subnet} . "${s.bridge}"`),
    ),
    set(
      "hairpin6",
      interval("ipv6_addr . ifname"),
      subnets(6).map((s) => `${s.subnet} . "${s.bridge}"`),
    ),
    map("ports4", "inet_proto . inet_service : ipv4_addr . inet_service"),
    map("ports4on", "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"),
    map("ports6", "inet_proto . inet_service : ipv6_addr . inet_service"),
    map("ports6on", "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service"),
    RULES,
    "}\n",
  ].join("");
}

function list(items: string[]): string {
  return items.length === 0 ? "" : `    elements = { ${items.join(", ")} }\n`;
}

const RULES = `
  chain raw {
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
  }
  chain publish {
    meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @ports4on
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4
    meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6on
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 127.0.0.0/8 return
    fib daddr type local jump publish
  }
  chain output {
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 return
    fib daddr type local jump publish
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    ip saddr . oifname @hairpin4 ct status dnat masquerade
    ip6 saddr . oifname @hairpin6 ct status dnat masquerade
    ip saddr @subnets4 oifname != @bridges masquerade
    ip6 saddr @subnets6 oifname != @bridges masquerade
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname != @bridges accept
    ct state established,related accept
    ct status dnat accept
    iifname . oifname @own accept
    drop
  }
`;
