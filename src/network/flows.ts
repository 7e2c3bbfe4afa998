/** UDP flows around publishing: clients that go on sending must meet the rules of now, not of when they began. */
import { type UdpFlow, forgetFlows, listUdpFlows } from "../sys/netlink-conntrack.ts";
import { openNetfilter } from "../sys/netlink-netfilter.ts";
import { type Ip, ipBytes } from "./address.ts";
import type { Published } from "./nft.ts";

/** After publishing: flows to the ports that went to the host itself so far. Does nothing, at no cost, without UDP ports. */
export function forgetOlderFlows(published: Published): void {
  const udp = published.ports.filter((p) => p.protocol === "udp");
  const within = (flow: UdpFlow): boolean =>
    udp.some((p) => flow.port >= p.hostPort && flow.port < p.hostPort + p.range);
  if (udp.length > 0) forget(published.addresses, (flow) => !flow.translated && within(flow));
}

/** After unpublishing: flows that lead to the container. Does nothing, at no cost, without UDP ports. */
export function forgetFlowsTo(published: Published): void {
  if (!published.ports.some((p) => p.protocol === "udp")) return;
  const own = published.addresses.map((address) => Buffer.from(ipBytes(address)));
  forget(
    published.addresses,
    (flow) => flow.translated && own.some((address) => address.equals(flow.answers)),
  );
}

function forget(addresses: readonly Ip[], which: (flow: UdpFlow) => boolean): void {
  using socket = openNetfilter();
  for (const { family } of addresses) forgetFlows(socket, listUdpFlows(socket, family).filter(which));
}
