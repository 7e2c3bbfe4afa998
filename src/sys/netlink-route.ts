/**
 * rtnetlink(7): links, addresses and routes. Each function that changes something returns a request,
 * so that several go to the kernel in one `NetlinkSocket.run`; each that asks takes the socket.
 *
 * Interface names are 1 to 15 bytes without "/" and white space; addresses are 4 or 16 bytes.
 */
import {
  NetlinkSocket,
  type NetlinkRequest,
  type NetlinkWriter,
  NETLINK_ROUTE,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  parseAttributes,
  readString,
  readU32,
  u32,
} from "./netlink.ts";
import { SysError } from "./errno.ts";

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_AF_SPEC = 26;
const IFLA_NET_NS_FD = 28;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const IFLA_BRPORT_MODE = 4;
const VETH_INFO_PEER = 1;
const IFLA_INET_CONF = 1;
const IFLA_INET6_CONF = 2;
const IFLA_INET6_ADDR_GEN_MODE = 8;
/** Places in the arrays of 32-bit values of those two (linux/ip.h counts from one, linux/ipv6.h from zero). */
const IPV4_FORWARDING = 0;
const IPV6_DISABLE = 26;
const IN6_ADDR_GEN_MODE_EUI64 = 0;
const IN6_ADDR_GEN_MODE_NONE = 1;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const IFA_F_PERMANENT = 0x80;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_TABLE = 15;
const RT_TABLE_MAIN = 254;
const RTPROT_STATIC = 4;
const RTN_UNICAST = 1;

const IFF_UP = 1;
const AF_INET = 2;
const AF_INET6 = 10;

export interface Link {
  index: number;
  name: string;
  mtu: number;
  up: boolean;
  /** Index of the bridge it is a port of. */
  master: number | undefined;
  /** "bridge", "veth"; undefined for hardware. */
  kind: string | undefined;
  alias: string | undefined;
  /** Its per-interface switches: net.ipv4.conf.NAME.forwarding; IPv6 there at all and not disabled. */
  forwards: boolean;
  ipv6: boolean;
}

export interface LinkAddress {
  index: number;
  address: Uint8Array;
  prefix: number;
}

export interface Route {
  /** 4 or 6. */
  family: 4 | 6;
  /** Undefined for a default route. */
  destination: Uint8Array | undefined;
  prefix: number;
  /** Undefined for routes without one device (unreachable, multipath). */
  index: number | undefined;
  table: number;
}

export function openRoute(): NetlinkSocket {
  return new NetlinkSocket(NETLINK_ROUTE);
}

/** Errors: EINVAL (SysError) for a name that the kernel would refuse or cut off. */
export function checkLinkName(name: string): void {
  const size = Buffer.byteLength(name);
  if (size === 0 || size > 15 || name === "." || name === ".." || /[\s/:\0]/.test(name)) {
    throw new SysError("link name", name, 22);
  }
}

/** Six bytes of "02:be:0a:57:00:02"; undefined when it is not an address an interface may have (multicast, all zeros). */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(text)) return undefined;
  const bytes = Uint8Array.from(text.split(/[:-]/), (pair) => Number.parseInt(pair, 16));
  const multicast = ((bytes[0] as number) & 1) === 1;
  return multicast || bytes.every((b) => b === 0) ? undefined : bytes;
}

// links

export function createBridge(bridge: {
  name: string;
  mac: Uint8Array;
  mtu: number | undefined;
}): NetlinkRequest {
  checkLinkName(bridge.name);
  return {
    operation: "create bridge",
    object: bridge.name,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: (w) => {
      w.raw(ifinfo(0, false));
      w.string(IFLA_IFNAME, bridge.name);
      // Without an address of its own a bridge takes its lowest port's and changes it as ports come and go.
      w.attribute(IFLA_ADDRESS, bridge.mac);
      if (bridge.mtu !== undefined) w.u32(IFLA_MTU, bridge.mtu);
      w.nested(IFLA_LINKINFO, () => w.string(IFLA_INFO_KIND, "bridge"));
    },
  };
}

export interface VethPair {
  name: string;
  /** Index of the bridge the host's end becomes a port of. */
  master: number;
  mtu: number;
  /** The other end: made in the namespace of this descriptor, down. */
  peer: { name: string; mac: Uint8Array; netnsFd: number };
}

/** Both ends in one request: the host's end up and in its bridge, the peer at once in the other namespace under its final name. */
export function createVeth(pair: VethPair): NetlinkRequest {
  checkLinkName(pair.name);
  checkLinkName(pair.peer.name);
  const peer = (w: NetlinkWriter): void => {
    w.raw(ifinfo(0, false));
    w.string(IFLA_IFNAME, pair.peer.name);
    w.attribute(IFLA_ADDRESS, pair.peer.mac);
    w.u32(IFLA_MTU, pair.mtu);
    w.u32(IFLA_NET_NS_FD, pair.peer.netnsFd);
  };
  return {
    operation: "create veth",
    object: pair.name,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: (w) => {
      w.raw(ifinfo(0, true));
      w.string(IFLA_IFNAME, pair.name);
      w.u32(IFLA_MTU, pair.mtu);
      w.u32(IFLA_MASTER, pair.master);
      w.nested(IFLA_LINKINFO, () => {
        w.string(IFLA_INFO_KIND, "veth");
        w.nested(IFLA_INFO_DATA, () => w.nested(VETH_INFO_PEER, () => peer(w)));
      });
    },
  };
}

export interface LinkChange {
  up?: boolean;
  /** 0 takes the link out of its bridge. */
  master?: number;
  mtu?: number;
  alias?: string;
  /** False: no link-local address from now on. Errors: EAFNOSUPPORT where the kernel has no IPv6. */
  linkLocal?: boolean;
  /** For a bridge's port: frames may leave through the port they came from. */
  hairpin?: boolean;
}

/** Changes what is given. */
export function setLink(name: string, change: LinkChange): NetlinkRequest {
  checkLinkName(name);
  return {
    operation: "change link",
    object: name,
    // Only "new link" for one that exists looks at what concerns a bridge's port.
    type: change.hairpin === undefined ? RTM_SETLINK : RTM_NEWLINK,
    flags: 0,
    body: (w) => {
      w.raw(ifinfo(0, change.up ?? false, change.up === undefined ? 0 : IFF_UP));
      w.string(IFLA_IFNAME, name);
      if (change.mtu !== undefined) w.u32(IFLA_MTU, change.mtu);
      if (change.master !== undefined) w.u32(IFLA_MASTER, change.master);
      if (change.alias !== undefined) w.string(IFLA_IFALIAS, change.alias);
      if (change.hairpin !== undefined) writeHairpin(w, change.hairpin);
      if (change.linkLocal !== undefined) {
        const mode = change.linkLocal ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE;
        w.nested(IFLA_AF_SPEC, () => w.nested(AF_INET6, () => w.u8(IFLA_INET6_ADDR_GEN_MODE, mode)));
      }
    },
  };
}

function writeHairpin(w: NetlinkWriter, on: boolean): void {
  w.nested(IFLA_LINKINFO, () => {
    w.string(IFLA_INFO_SLAVE_KIND, "bridge");
    w.nested(IFLA_INFO_SLAVE_DATA, () => w.u8(IFLA_BRPORT_MODE, on ? 1 : 0));
  });
}

/** Deleting one end of a veth pair deletes both. Errors: ENODEV. */
export function deleteLink(name: string): NetlinkRequest {
  checkLinkName(name);
  return {
    operation: "delete link",
    object: name,
    type: RTM_DELLINK,
    flags: 0,
    body: (w) => {
      w.raw(ifinfo(0, false));
      w.string(IFLA_IFNAME, name);
    },
  };
}

/**
 * Undefined when there is none. Asking has an effect (since Linux 6.3): what the kernel still has to do after the link's
 * carrier came, which it does in a worker and which lets packets be sent at all, is done before it answers.
 */
export function linkByName(socket: NetlinkSocket, name: string): Link | undefined {
  checkLinkName(name);
  const body = socket.get({
    operation: "get link",
    object: name,
    type: RTM_GETLINK,
    flags: 0,
    body: (w) => {
      w.raw(ifinfo(0, false));
      w.string(IFLA_IFNAME, name);
    },
  });
  return body === undefined ? undefined : parseLink(body);
}

export function linkByIndex(socket: NetlinkSocket, index: number): Link | undefined {
  const body = socket.get({
    operation: "get link",
    object: String(index),
    type: RTM_GETLINK,
    flags: 0,
    body: (w) => w.raw(ifinfo(index, false)),
  });
  return body === undefined ? undefined : parseLink(body);
}

export function listLinks(socket: NetlinkSocket): Link[] {
  const query = { operation: "list links", object: "", type: RTM_GETLINK, flags: 0 };
  return socket.dump({ ...query, body: (w) => w.raw(ifinfo(0, false)) }).map(parseLink);
}

// addresses and routes

/** Adds an address, or leaves it be if it is there. IPv6 ones are usable at once: nobody else can have an address we lease. */
export function addAddress(index: number, address: Uint8Array, prefix: number): NetlinkRequest {
  const v6 = address.length === 16;
  return {
    operation: "add address",
    object: `${Buffer.from(address).toString("hex")}/${prefix}`,
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: (w) => {
      const flags = v6 ? IFA_F_NODAD | IFA_F_PERMANENT : IFA_F_PERMANENT;
      w.raw([v6 ? AF_INET6 : AF_INET, prefix, flags, 0, ...u32(index)]);
      w.attribute(IFA_LOCAL, address);
      w.attribute(IFA_ADDRESS, address);
      if (!v6 && prefix < 31) w.attribute(IFA_BROADCAST, broadcastOf(address, prefix));
      w.u32(IFA_FLAGS, flags);
    },
  };
}

export function listAddresses(socket: NetlinkSocket): LinkAddress[] {
  const query = { operation: "list addresses", object: "", type: RTM_GETADDR, flags: 0 };
  return socket.dump({ ...query, body: (w) => w.raw([0, 0, 0, 0, 0, 0, 0, 0]) }).flatMap((body) => {
    const attributes = parseAttributes(body.subarray(8));
    const address = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
    if (address === undefined) return [];
    return [{ index: readU32(body, 4), address, prefix: body[1] as number }];
  });
}

/** A default route through `gateway`. */
export function addDefaultRoute(index: number, gateway: Uint8Array): NetlinkRequest {
  return {
    operation: "add default route",
    object: Buffer.from(gateway).toString("hex"),
    type: RTM_NEWROUTE,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: (w) => {
      const family = gateway.length === 16 ? AF_INET6 : AF_INET;
      w.raw([family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0]);
      w.attribute(RTA_GATEWAY, gateway);
      w.u32(RTA_OIF, index);
    },
  };
}

/** Routes of every table and family. */
export function listRoutes(socket: NetlinkSocket): Route[] {
  const query = { operation: "list routes", object: "", type: RTM_GETROUTE, flags: 0 };
  return socket.dump({ ...query, body: (w) => w.raw(new Uint8Array(12)) }).flatMap((body) => {
    const family = body[0];
    if (family !== AF_INET && family !== AF_INET6) return [];
    const attributes = parseAttributes(body.subarray(12));
    const table = attributes.get(RTA_TABLE);
    const device = attributes.get(RTA_OIF);
    return [
      {
        family: family === AF_INET ? (4 as const) : (6 as const),
        destination: attributes.get(RTA_DST),
        prefix: body[1] as number,
        index: device === undefined ? undefined : readU32(device),
        table: table === undefined ? (body[4] as number) : readU32(table),
      },
    ];
  });
}

/** The address with all host bits set. */
function broadcastOf(address: Uint8Array, prefix: number): Uint8Array {
  const number = new DataView(new ArrayBuffer(4));
  address.forEach((byte, at) => number.setUint8(at, byte));
  number.setUint32(0, number.getUint32(0) | (0xffff_ffff >>> prefix));
  return new Uint8Array(number.buffer);
}

/** struct ifinfomsg: family, padding, type, index, flags, change mask. */
function ifinfo(index: number, up: boolean, change = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(u32(index), 4);
  bytes.set(u32(up ? IFF_UP : 0), 8);
  bytes.set(u32(up ? IFF_UP : change), 12);
  return bytes;
}

function parseLink(body: Uint8Array): Link {
  const attributes = parseAttributes(body.subarray(16));
  const number = (type: number): number | undefined => {
    const value = attributes.get(type);
    return value === undefined ? undefined : readU32(value);
  };
  const text = (from: Map<number, Uint8Array>, type: number): string | undefined => {
    const value = from.get(type);
    return value === undefined ? undefined : readString(value);
  };
  const info = attributes.get(IFLA_LINKINFO);
  const families = parseAttributes(attributes.get(IFLA_AF_SPEC) ?? new Uint8Array());
  return {
    index: readU32(body, 4),
    name: text(attributes, IFLA_IFNAME) ?? "",
    mtu: number(IFLA_MTU) ?? 0,
    up: (readU32(body, 8) & IFF_UP) !== 0,
    master: number(IFLA_MASTER),
    kind: info === undefined ? undefined : text(parseAttributes(info), IFLA_INFO_KIND),
    alias: text(attributes, IFLA_IFALIAS),
    forwards: setting(families.get(AF_INET), IFLA_INET_CONF, IPV4_FORWARDING) === 1,
    ipv6: setting(families.get(AF_INET6), IFLA_INET6_CONF, IPV6_DISABLE) === 0,
  };
}

/** One value of a family's array of settings; undefined where the kernel does not tell. */
function setting(family: Uint8Array | undefined, array: number, place: number): number | undefined {
  const values = family === undefined ? undefined : parseAttributes(family).get(array);
  return values === undefined || values.length < 4 * place + 4 ? undefined : readU32(values, 4 * place);
}
