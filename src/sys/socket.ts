/** Unix and netlink sockets: the SocketCalls of `sys.ts`. */
import * as k from "./const.ts";
import { SysError } from "./errno.ts";
import { close, open } from "./files.ts";
import { addressOf, call, tryCall } from "./libc.ts";
import type { Fd } from "./sys.ts";

const AF_UNIX = 1;
const AF_NETLINK = 16;
const TYPE = { stream: 1, raw: 3, seqpacket: 5 } as const;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_CTRUNC = 0x8;
const EMSGSIZE = 90;
const HOW = { read: 0, write: 1, both: 2 } as const;

/** Bytes of sun_path, without the NUL. */
const PATH_LIMIT = 107;

/** One message of the attach protocol is 8193 bytes; a terminal's is a path. */
const MESSAGE = 64 * 1024;

function socket(family: number, type: keyof typeof TYPE, protocol = 0): Fd {
  return call("socket", type, family, TYPE[type] | k.O_CLOEXEC, protocol);
}

function unixAddress(path: string): Uint8Array {
  const name = Buffer.from(path);
  const address = new Uint8Array(2 + name.length + 1);
  address[0] = AF_UNIX;
  address.set(name, 2);
  return address;
}

/** Runs `body` with an address for `path`: sun_path is short, so a long one goes through its directory's descriptor. */
function withAddress(path: string, body: (address: Uint8Array) => void): void {
  if (Buffer.byteLength(path) <= PATH_LIMIT) return body(unixAddress(path));
  const slash = path.lastIndexOf("/");
  const dir = open(path.slice(0, slash) || "/", k.O_PATH | k.O_DIRECTORY);
  try {
    const short = `/proc/self/fd/${dir}${path.slice(slash)}`;
    if (Buffer.byteLength(short) > PATH_LIMIT) throw new SysError("socket", path, k.ENAMETOOLONG);
    body(unixAddress(short));
  } finally {
    close(dir);
  }
}

/** Gives back a new descriptor that `prepare` has set up, or closes it. */
function prepared(fd: Fd, prepare: (fd: Fd) => void): Fd {
  try {
    prepare(fd);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

export function connectSeqpacket(path: string): Fd {
  return prepared(socket(AF_UNIX, "seqpacket"), (fd) =>
    withAddress(path, (address) => void call("connect", path, fd, address, address.byteLength)),
  );
}

export function socketpair(type: "stream" | "seqpacket"): [Fd, Fd] {
  const pair = new Int32Array(2);
  call("socketpair", "socketpair", AF_UNIX, TYPE[type] | k.O_CLOEXEC, 0, pair);
  return [pair[0] as number, pair[1] as number];
}

export function listenUnix(path: string): Fd {
  return prepared(socket(AF_UNIX, "stream"), (fd) => {
    // Before bind: the file is made with the socket's own mode, so there is no moment with a wider one.
    call("fchmod", path, fd, 0o600);
    withAddress(path, (address) => void call("bind", path, fd, address, address.byteLength));
    call("listen", path, fd, 64);
  });
}

export function accept(listener: Fd): Fd {
  return call("accept4", `fd ${listener}`, listener, 0, 0, k.O_CLOEXEC);
}

export function shutdown(fd: Fd, how: "read" | "write" | "both"): void {
  call("shutdown", `fd ${fd}`, fd, HOW[how]);
}

/** The result of a call that may say "not now". */
function orBlocked(name: "recvfrom" | "sendto", fd: Fd, result: number): number | undefined {
  if (result >= 0) return result;
  if (result === -k.EAGAIN) return undefined;
  throw new SysError(name, `fd ${fd}`, -result);
}

export function receive(fd: Fd, into: Uint8Array): number | undefined {
  for (;;) {
    const result = tryCall("recvfrom", fd, into, into.byteLength, 0, 0, 0);
    if (result !== -k.EINTR) return orBlocked("recvfrom", fd, result);
  }
}

export function send(fd: Fd, bytes: Uint8Array): number | undefined {
  for (;;) {
    const result = tryCall("sendto", fd, bytes, bytes.byteLength, MSG_NOSIGNAL, 0, 0);
    if (result !== -k.EINTR) return orBlocked("sendto", fd, result);
  }
}

/** struct msghdr with one iovec; the parts it points to live as long as this object. */
class Message {
  readonly header = new BigUint64Array(7);
  readonly #iovec = new BigUint64Array(2);
  readonly data: Uint8Array;
  readonly control: Uint8Array;

  constructor(data: Uint8Array, control: Uint8Array) {
    this.data = data;
    this.control = control;
    this.#iovec.set([BigInt(addressOf(data)), BigInt(data.byteLength)]);
    this.header[2] = BigInt(addressOf(this.#iovec));
    this.header[3] = 1n;
    this.header[4] = BigInt(addressOf(control));
    this.header[5] = BigInt(control.byteLength);
  }

  get controlLength(): number {
    return Number(this.header[5]);
  }

  get flags(): number {
    return Number((this.header[6] as bigint) & 0xffffffffn);
  }
}

/** struct cmsghdr: length u64 (with this header), level i32, type i32; data and next header on 8-byte bounds. */
const CONTROL_HEADER = 16;

function controlFor(count: number): DataView {
  return new DataView(new ArrayBuffer(CONTROL_HEADER + Math.ceil(count / 2) * 8));
}

function passedFds(control: DataView, length: number): Fd[] {
  const fds: Fd[] = [];
  for (let at = 0; at + CONTROL_HEADER <= length;) {
    const size = Number(control.getBigUint64(at, true));
    if (size < CONTROL_HEADER) break;
    const rights =
      control.getInt32(at + 8, true) === SOL_SOCKET && control.getInt32(at + 12, true) === SCM_RIGHTS;
    for (let fd = at + CONTROL_HEADER; rights && fd + 4 <= at + size; fd += 4) {
      fds.push(control.getInt32(fd, true));
    }
    at += Math.ceil(size / 8) * 8;
  }
  return fds;
}

export function receiveFds(fd: Fd, maxFds: number): { data: Uint8Array; fds: Fd[] } {
  const control = controlFor(maxFds);
  const message = new Message(new Uint8Array(MESSAGE), new Uint8Array(control.buffer));
  const length = call("recvmsg", `fd ${fd}`, fd, message.header, MSG_CMSG_CLOEXEC);
  const fds = passedFds(control, message.controlLength);
  if ((message.flags & MSG_CTRUNC) !== 0) {
    for (const extra of fds) close(extra);
    throw new SysError("recvmsg", `fd ${fd}`, k.EOVERFLOW);
  }
  return { data: message.data.slice(0, length), fds };
}

export function sendFds(fd: Fd, data: Uint8Array, fds: Fd[]): void {
  const control = controlFor(fds.length);
  control.setBigUint64(0, BigInt(CONTROL_HEADER + fds.length * 4), true);
  control.setInt32(8, SOL_SOCKET, true);
  control.setInt32(12, SCM_RIGHTS, true);
  fds.forEach((passed, index) => control.setInt32(CONTROL_HEADER + index * 4, passed, true));
  const message = new Message(data, new Uint8Array(control.buffer));
  const sent = call("sendmsg", `fd ${fd}`, fd, message.header, MSG_NOSIGNAL);
  // Reading the message here also keeps alive what its header only points to.
  if (sent < message.data.byteLength) throw new SysError("sendmsg", `fd ${fd}`, EMSGSIZE);
}

export function setNonBlocking(fd: Fd): void {
  const F_GETFL = 3;
  const F_SETFL = 4;
  const flags = call("fcntl", `fd ${fd}`, fd, F_GETFL);
  call("fcntl", `fd ${fd}`, fd, F_SETFL, flags | k.O_NONBLOCK);
}

export function netlink(protocol: number): Fd {
  return prepared(socket(AF_NETLINK, "raw", protocol), (fd) => {
    const address = new Uint8Array(12);
    address[0] = AF_NETLINK;
    call("bind", `netlink ${protocol}`, fd, address, address.byteLength);
  });
}
