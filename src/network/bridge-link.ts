/** The bridge of a network on the host: made at its first use after boot, then only looked up. */
import { fail } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import { hasCode } from "../sys/errno.ts";
import { enableForwarding, ensureSysctl, hasIpv6 } from "../sys/net-sysctl.ts";
import type { NetlinkSocket } from "../sys/netlink.ts";
import {
  addAddress,
  createBridge,
  deleteLink,
  type Link,
  linkByIndex,
  linkByName,
  listRoutes,
  setLink,
} from "../sys/netlink-route.ts";
import {
  type Ip,
  ipBytes,
  ipFromBytes,
  overlaps,
  parseIp,
  parseSubnet,
  type Subnet,
  subnetOf,
} from "./address.ts";
import type { NetworkRecord } from "./network.ts";
import { bridgeMac } from "./records.ts";

const RT_TABLE_MAIN = 254;

/** The bridge, if it is there and was finished: going up is the last step of {@link raiseBridge}. Errors: conflict (a link of another kind has its name). */
export function findBridge(route: NetlinkSocket, network: NetworkRecord): Link | undefined {
  const link = linkByName(route, network.bridge);
  if (link !== undefined && link.kind !== "bridge") {
    throw fail("conflict", `the interface "${network.bridge}" is not a bridge`, {
      hint: `rename or delete it: network "${network.name}" needs the name`,
    });
  }
  return link?.up === true ? link : undefined;
}

/**
 * Makes the bridge, or finishes a half-made one; idempotent. Call it inside `db.tx`, so that one process does it.
 * Errors: conflict (something else routes its subnet), NetlinkError, SysError (sysctls).
 */
export function raiseBridge(route: NetlinkSocket, network: NetworkRecord): Link {
  const found = linkByName(route, network.bridge);
  refuseOverlap(route, network, found?.index);
  const made = found === undefined;
  if (made)
    route.run(createBridge({ name: network.bridge, mac: bridgeMac(network), mtu: mtuOf(route, network) }));
  failpoint("network.bridge.made");
  try {
    return finishBridge(route, network);
  } catch (error) {
    if (made) route.run(deleteLink(network.bridge));
    throw error;
  }
}

/** Idempotent. */
export function deleteBridge(route: NetlinkSocket, network: NetworkRecord): void {
  try {
    route.run(deleteLink(network.bridge));
  } catch (error) {
    if (!hasCode(error, "ENODEV")) throw error;
  }
}

function finishBridge(route: NetlinkSocket, network: NetworkRecord): Link {
  const ipv6 = hasIpv6();
  // Lets 127.0.0.1 lead to a container; the table's `raw` chain keeps containers from using it the other way.
  ensureSysctl(`ipv4/conf/${network.bridge}/route_localnet`, "1");
  if (ipv6) {
    ensureSysctl(`ipv6/conf/${network.bridge}/disable_ipv6`, "0");
    // A container must not be able to tell the host its routes (CVE-2020-13401).
    ensureSysctl(`ipv6/conf/${network.bridge}/accept_ra`, "0");
    // Its link-local address is what the host asks for neighbours with: waiting for it would lose the first packets.
    ensureSysctl(`ipv6/conf/${network.bridge}/accept_dad`, "0");
  }
  const gateways = network.subnets.flatMap(({ subnet, gateway }) => {
    const address = parseIp(gateway) as Ip;
    return address.family === 6 && !ipv6 ? [] : [{ address, prefix: (parseSubnet(subnet) as Subnet).prefix }];
  });
  enableForwarding(ipv6);
  const { index } = linkByName(route, network.bridge) as Link;
  route.run(
    ...gateways.map((g) => addAddress(index, ipBytes(g.address), g.prefix)),
    setLink(network.bridge, { up: true }),
  );
  return linkByName(route, network.bridge) as Link;
}

function refuseOverlap(route: NetlinkSocket, network: NetworkRecord, own: number | undefined): void {
  const subnets = network.subnets.map((s) => parseSubnet(s.subnet) as Subnet);
  for (const { destination, prefix, index, table } of listRoutes(route)) {
    if (destination === undefined || table !== RT_TABLE_MAIN || index === own || prefix <= 1) continue;
    const routed = subnetOf(ipFromBytes(destination), prefix);
    // A route to a larger subnet is the way to the rest of it.
    const clash = subnets.find((s) => overlaps(s, routed) && prefix >= s.prefix);
    if (clash === undefined) continue;
    const device = index === undefined ? undefined : linkByIndex(route, index)?.name;
    throw fail(
      "conflict",
      `the subnet of network "${network.name}" is already routed to "${device ?? "?"}"`,
      {
        reason: "subnet-in-use",
        hint: "remove that route, or the network, and try again",
        data: { subnets: network.subnets.map((s) => s.subnet), device },
      },
    );
  }
}

/** As asked for, else that of the interface with the default route: a tunnel's smaller one must reach the containers. */
function mtuOf(route: NetlinkSocket, network: NetworkRecord): number | undefined {
  if (network.mtu !== undefined) return network.mtu;
  const way = listRoutes(route).find(
    (r) => r.destination === undefined && r.table === RT_TABLE_MAIN && r.index !== undefined,
  );
  const link = way?.index === undefined ? undefined : linkByIndex(route, way.index);
  // A loopback's 65536 or jumbo frames would not survive the way out through other interfaces.
  return link === undefined || link.mtu > 1500 ? undefined : link.mtu;
}
