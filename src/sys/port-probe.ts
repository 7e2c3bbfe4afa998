/** Is a local port free? Answered by binding it for a moment: no list of sockets sees other namespaces' users of it. */
import { SysError } from "./errno.ts";
import { call, tryCall } from "./libc.ts";

export type ProbeResult = "free" | "in-use" | "no-such-address" | "unsupported";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPPROTO = { tcp: 6, udp: 17, sctp: 132 } as const;
const EADDRINUSE = 98;
const EADDRNOTAVAIL = 99;
const EACCES = 13;

/** `address` is 4 or 16 bytes, all zeros for any. "unsupported": the kernel has no such protocol or family. Errors: SysError. */
export function probePort(protocol: keyof typeof IPPROTO, address: Uint8Array, port: number): ProbeResult {
  const v6 = address.length === 16;
  const type = protocol === "udp" ? SOCK_DGRAM : SOCK_STREAM;
  const fd = tryCall("socket", v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, IPPROTO[protocol]);
  if (fd < 0) return "unsupported";
  try {
    const one = new Uint8Array([1, 0, 0, 0]);
    // Connections of an earlier listener in TIME_WAIT do not matter; for UDP the option would hide a real user.
    if (protocol !== "udp") call("setsockopt", "SO_REUSEADDR", fd, SOL_SOCKET, SO_REUSEADDR, one, 4);
    if (v6) call("setsockopt", "IPV6_V6ONLY", fd, IPPROTO_IPV6, IPV6_V6ONLY, one, 4);
    const name = socketAddress(address, port);
    const result = -tryCall("bind", fd, name, name.length);
    if (result === EADDRINUSE) return "in-use";
    if (result === EADDRNOTAVAIL) return "no-such-address";
    // A port below net.ipv4.ip_unprivileged_port_start that we may not bind ourselves says nothing about others.
    if (result > 0 && result !== EACCES) throw new SysError("bind", `${protocol} port ${port}`, result);
    return "free";
  } finally {
    tryCall("close", fd);
  }
}

/** struct sockaddr_in or sockaddr_in6. */
function socketAddress(address: Uint8Array, port: number): Uint8Array {
  const v6 = address.length === 16;
  const bytes = new Uint8Array(v6 ? 28 : 16);
  bytes[0] = v6 ? AF_INET6 : AF_INET;
  bytes[2] = port >> 8;
  bytes[3] = port & 0xff;
  bytes.set(address, v6 ? 8 : 4);
  return bytes;
}
