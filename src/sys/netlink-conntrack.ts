/**
 * Connection tracking over nfnetlink (Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h), as far as
 * publishing UDP needs it: a flow that the kernel has seen keeps its translation, or its lack of one, for as long as the
 * client goes on sending, whatever the rules say by then.
 */
import { hasCode } from "./errno.ts";
import { type NetlinkRequest, type NetlinkSocket, type NetlinkWriter, parseAttributes } from "./netlink.ts";

const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_FILTER = 25;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V6_SRC = 3;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_DST_PORT = 3;
const CTA_FILTER_ORIG_FLAGS = 1;
const FILTER_PROTO_NUM = 1 << 3;
/** IPS_SRC_NAT and IPS_DST_NAT, in the last of the four bytes in network order. */
const TRANSLATED = 0x30;
const NLA_F_NESTED = 0x8000;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_UDP = 17;

export interface UdpFlow {
  family: 4 | 6;
  /** What identifies the flow to the kernel: the first packet's addresses and ports, as an attribute's content. */
  tuple: Uint8Array;
  /** The port that the first packet was sent to. */
  port: number;
  /** Where answers come from: the container's address, for a published port. */
  answers: Uint8Array;
  translated: boolean;
}

/** The namespace's UDP flows. None where the kernel cannot select them (before Linux 5.8). Errors: NetlinkError. */
export function listUdpFlows(socket: NetlinkSocket, family: 4 | 6): UdpFlow[] {
  try {
    return socket.dump(listRequest(family)).flatMap((body) => parseFlow(family, body));
  } catch (error) {
    if (hasCode(error, "EOPNOTSUPP", "ENOTSUP", "EINVAL")) return [];
    throw error;
  }
}

/** One flow that has gone meanwhile is no error. */
export function forgetFlows(socket: NetlinkSocket, flows: readonly UdpFlow[]): void {
  for (const flow of flows) {
    try {
      socket.run(deleteRequest(flow));
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
    }
  }
}

function listRequest(family: 4 | 6): NetlinkRequest {
  return {
    operation: "list flows",
    object: "udp",
    type: conntrack(IPCTNL_MSG_CT_GET),
    flags: 0,
    body: (w) => {
      writeFamily(w, family);
      w.nested(CTA_TUPLE_ORIG, () => w.nested(CTA_TUPLE_PROTO, () => w.u8(CTA_PROTO_NUM, IPPROTO_UDP)));
      w.nested(CTA_FILTER, () => w.u32(CTA_FILTER_ORIG_FLAGS, FILTER_PROTO_NUM));
    },
  };
}

function deleteRequest(flow: UdpFlow): NetlinkRequest {
  return {
    operation: "forget flow",
    object: `udp port ${flow.port}`,
    type: conntrack(IPCTNL_MSG_CT_DELETE),
    flags: 0,
    body: (w) => {
      writeFamily(w, flow.family);
      w.attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, flow.tuple);
    },
  };
}

function writeFamily(w: NetlinkWriter, family: 4 | 6): void {
  w.raw([family === 4 ? AF_INET : AF_INET6, 0, 0, 0]);
}

function parseFlow(family: 4 | 6, body: Uint8Array): UdpFlow[] {
  const attributes = parseAttributes(body.subarray(4));
  const tuple = attributes.get(CTA_TUPLE_ORIG);
  const port = inTuple(tuple, CTA_TUPLE_PROTO)?.get(CTA_PROTO_DST_PORT);
  const source = family === 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC;
  const answers = inTuple(attributes.get(CTA_TUPLE_REPLY), CTA_TUPLE_IP)?.get(source);
  if (tuple === undefined || port?.length !== 2 || answers === undefined) return [];
  const translated = ((attributes.get(CTA_STATUS)?.[3] ?? 0) & TRANSLATED) !== 0;
  return [{ family, tuple, port: ((port[0] as number) << 8) | (port[1] as number), answers, translated }];
}

function inTuple(tuple: Uint8Array | undefined, part: number): Map<number, Uint8Array> | undefined {
  const found = tuple === undefined ? undefined : parseAttributes(tuple).get(part);
  return found === undefined ? undefined : parseAttributes(found);
}

function conntrack(message: number): number {
  return (NFNL_SUBSYS_CTNETLINK << 8) | message;
}
