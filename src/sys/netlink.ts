/**
 * AF_NETLINK: the message codec and a request/response socket (netlink(7), Linux include/uapi/linux/netlink.h).
 *
 * The kernel handles a request inside sendto(2), so every answer is already queued when it returns:
 * reads never block, and a request without an answer is an error, not a wait. Several requests may
 * go out in one system call; they are carried out in order, each with its own acknowledgement, and a
 * failure of one does not stop those behind it (only nfnetlink batches are atomic).
 *
 * Integers are in host order, which is little-endian on every machine berth runs on; what the kernel
 * wants in network order is written with the `be` functions.
 */
import { call, tryCall } from "./libc.ts";
import { SysError } from "./errno.ts";
import { sendFds, socketpair } from "./socket.ts";

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

const HEADER_SIZE = 16;
const RECEIVE_SIZE = 64 * 1024;
const DUMP_ATTEMPTS = 8;

/** A refused request: `call` is what was tried ("create link"), `path` the object's name, `extack` the kernel's own words. */
export class NetlinkError extends SysError {
  readonly extack: string | undefined;

  constructor(request: { operation: string; object: string }, errno: number, extack: string | undefined) {
    super(request.operation, request.object, errno);
    this.name = "NetlinkError";
    this.extack = extack;
    if (extack !== undefined) this.message += ` (${extack})`;
  }
}

/** One message to be sent. `operation` and `object` are for the error's text. */
export interface NetlinkRequest {
  operation: string;
  object: string;
  type: number;
  /** Without NLM_F_REQUEST, which every message gets. */
  flags: number;
  body(writer: NetlinkWriter): void;
}

const align = (size: number): number => (size + 3) & ~3;

/** Builds messages one behind the other in a growing buffer; attributes are padded to four bytes. */
export class NetlinkWriter {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  #end = 0;

  /** What was written so far; valid until the next write. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#end);
  }

  get length(): number {
    return this.#end;
  }

  /** A whole message: nlmsghdr, then what the request's body writes. */
  message(request: NetlinkRequest, sequence: number): void {
    const start = this.#reserve(HEADER_SIZE);
    request.body(this);
    this.#view.setUint32(start, this.#end - start, true);
    this.#view.setUint16(start + 4, request.type, true);
    this.#view.setUint16(start + 6, request.flags | NLM_F_REQUEST, true);
    this.#view.setUint32(start + 8, sequence, true);
  }

  /** A fixed header of the family (ifinfomsg, rtmsg, …), padded. */
  raw(bytes: Uint8Array | readonly number[]): void {
    const start = this.#reserve(align(bytes.length));
    this.#bytes.set(bytes, start);
  }

  attribute(type: number, value: Uint8Array | readonly number[]): void {
    const start = this.#reserve(4 + align(value.length));
    this.#view.setUint16(start, 4 + value.length, true);
    this.#view.setUint16(start + 2, type, true);
    this.#bytes.set(value, start + 4);
  }

  u8(type: number, value: number): void {
    this.attribute(type, [value]);
  }

  u32(type: number, value: number): void {
    this.attribute(type, u32(value));
  }

  be32(type: number, value: number): void {
    this.attribute(type, u32(value).reverse());
  }

  /** A NUL-terminated string. */
  string(type: number, value: string): void {
    this.attribute(type, Buffer.from(`${value}\0`));
  }

  /** An attribute made of attributes. Errors: EMSGSIZE (as SysError) when its 16-bit length does not suffice. */
  nested(type: number, body: () => void): void {
    const start = this.#reserve(4);
    body();
    const size = this.#end - start;
    if (size > 0xffff) throw new SysError("netlink attribute", String(type), 90);
    this.#view.setUint16(start, size, true);
    this.#view.setUint16(start + 2, type | NLA_F_NESTED, true);
  }

  /** Returns the offset of `size` fresh zero bytes. */
  #reserve(size: number): number {
    const start = this.#end;
    this.#end += size;
    if (this.#end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#end, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return start;
  }
}

/** Four bytes, host order. */
export function u32(value: number): Uint8Array {
  return new Uint8Array([value, value >>> 8, value >>> 16, value >>> 24]);
}

export function readU32(bytes: Uint8Array, offset = 0): number {
  return viewOf(bytes).getUint32(offset, true);
}

/** Text up to the first NUL. */
export function readString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end === -1 ? bytes : bytes.subarray(0, end)).toString();
}

/** Attributes by type; a type that occurs twice keeps its last value. Stops at the first malformed one. */
export function parseAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = viewOf(bytes);
  for (let at = 0; at + 4 <= bytes.length;) {
    const size = view.getUint16(at, true);
    if (size < 4 || at + size > bytes.length) break;
    found.set(view.getUint16(at + 2, true) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + size));
    at += align(size);
  }
  return found;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** One received message: `body` begins behind nlmsghdr. */
export interface NetlinkMessage {
  type: number;
  flags: number;
  sequence: number;
  body: Uint8Array;
}

/** Splits one datagram into its messages. Stops at the first malformed one. */
export function parseMessages(bytes: Uint8Array): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  const view = viewOf(bytes);
  for (let at = 0; at + HEADER_SIZE <= bytes.length;) {
    const size = view.getUint32(at, true);
    if (size < HEADER_SIZE || at + size > bytes.length) break;
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: bytes.subarray(at + HEADER_SIZE, at + size),
    });
    at += align(size);
  }
  return messages;
}

/** The errno (0: success) and the kernel's words in an NLMSG_ERROR. */
function parseAcknowledgement(message: NetlinkMessage): { errno: number; extack: string | undefined } {
  const errno = -viewOf(message.body).getInt32(0, true);
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno, extack: undefined };
  const echoed = (message.flags & NLM_F_CAPPED) !== 0 ? HEADER_SIZE : align(readU32(message.body, 4));
  const text = parseAttributes(message.body.subarray(4 + echoed)).get(NLMSGERR_ATTR_MSG);
  return { errno, extack: text === undefined ? undefined : readString(text) };
}

/**
 * A netlink socket of the network namespace the thread is in when it is opened; it stays there.
 * Close it with `using` or `close`.
 */
export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  readonly #protocol: number;
  #sequence = 1;
  #buffer: Uint8Array | undefined;

  constructor(protocol: number) {
    this.#protocol = protocol;
    this.#fd = call("socket", "netlink", AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    this.#option(SOL_NETLINK, NETLINK_CAP_ACK, 1);
    this.#option(SOL_NETLINK, NETLINK_EXT_ACK, 1);
  }

  /** Sends all requests at once and checks every acknowledgement. Errors: {@link NetlinkError} for the first that failed. */
  run(...requests: NetlinkRequest[]): void {
    const acked = requests.map((r) => ({ ...r, flags: r.flags | NLM_F_ACK }));
    this.#finish(acked, requests.length);
  }

  /** An nfnetlink transaction: the boundaries themselves are not acknowledged. Errors: as `run`; nothing was changed then. */
  batch(begin: NetlinkRequest, requests: NetlinkRequest[], end: NetlinkRequest): void {
    const acked = requests.map((r) => ({ ...r, flags: r.flags | NLM_F_ACK }));
    this.#finish([begin, ...acked, end], requests.length);
  }

  #finish(requests: NetlinkRequest[], acknowledgements: number): void {
    const first = this.#send(requests);
    let missing = acknowledgements;
    let failure: NetlinkError | undefined;
    while (missing > 0) {
      const messages = this.#receive();
      if (messages === undefined) break;
      for (const message of messages) {
        if (message.type !== NLMSG_ERROR) continue;
        missing--;
        failure ??= this.#refusal(message, requests, first);
      }
    }
    if (failure !== undefined) throw failure;
    if (missing > 0)
      throw new NetlinkError(requests[0] as NetlinkRequest, ENODATA, "the kernel did not answer");
  }

  /** The answer's body to a single-object query; undefined when the kernel knows no such object. Errors: {@link NetlinkError}. */
  get(request: NetlinkRequest): Uint8Array | undefined {
    const first = this.#send([request]);
    for (const message of this.#receive() ?? []) {
      if (message.type !== NLMSG_ERROR) return message.body.slice();
      const failure = this.#refusal(message, [request], first);
      if (failure?.code === "ENODEV" || failure?.code === "ENOENT") return undefined;
      if (failure !== undefined) throw failure;
    }
    throw new NetlinkError(request, ENODATA, "the kernel did not answer");
  }

  /** The bodies of a multi-part answer; repeated when the kernel says that its tables changed meanwhile. Errors: {@link NetlinkError}. */
  dump(request: NetlinkRequest): Uint8Array[] {
    for (let attempt = 1; ; attempt++) {
      const { bodies, interrupted } = this.#dumpOnce(request);
      if (!interrupted || attempt === DUMP_ATTEMPTS) return bodies;
    }
  }

  #dumpOnce(request: NetlinkRequest): { bodies: Uint8Array[]; interrupted: boolean } {
    const asked = { ...request, flags: request.flags | NLM_F_DUMP };
    const first = this.#send([asked]);
    const bodies: Uint8Array[] = [];
    let interrupted = false;
    for (;;) {
      const messages = this.#receive();
      if (messages === undefined) throw new NetlinkError(request, ENODATA, "the answer broke off");
      for (const message of messages) {
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
        if (message.type === NLMSG_DONE) return { bodies, interrupted };
        const failure = message.type === NLMSG_ERROR ? this.#refusal(message, [asked], first) : undefined;
        if (failure !== undefined) throw failure;
        bodies.push(message.body.slice());
      }
    }
  }

  close(): void {
    if (this.#protocol === NETLINK_NETFILTER) closeLater(this.#fd);
    else tryCall("close", this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #refusal(message: NetlinkMessage, requests: NetlinkRequest[], first: number): NetlinkError | undefined {
    const { errno, extack } = parseAcknowledgement(message);
    if (errno === 0) return undefined;
    const request = requests[message.sequence - first] ?? (requests[0] as NetlinkRequest);
    return new NetlinkError(request, errno, extack);
  }

  /** Returns the sequence number of the first message. */
  #send(requests: NetlinkRequest[]): number {
    const writer = new NetlinkWriter();
    const first = this.#sequence;
    for (const request of requests) writer.message(request, this.#sequence++);
    const bytes = writer.bytes;
    if (bytes.length > SEND_DEFAULT) this.#option(SOL_SOCKET, SO_SNDBUFFORCE, bytes.length * 2);
    const request = requests[0] as NetlinkRequest;
    const sent = tryCall("sendto", this.#fd, bytes, bytes.length);
    if (sent < 0) throw new NetlinkError(request, -sent, undefined);
    return first;
  }

  /** One datagram's messages, valid until the next call; undefined when nothing is queued. */
  #receive(): NetlinkMessage[] | undefined {
    this.#buffer ??= new Uint8Array(RECEIVE_SIZE);
    for (;;) {
      const size = tryCall("recvfrom", this.#fd, this.#buffer, RECEIVE_SIZE, MSG_DONTWAIT);
      if (size >= 0) return parseMessages(this.#buffer.subarray(0, size));
      if (size === -EAGAIN) return undefined;
      if (size !== -EINTR) throw new SysError("recvfrom", "netlink", -size);
    }
  }

  #option(level: number, name: number, value: number): void {
    const bytes = u32(value);
    tryCall("setsockopt", this.#fd, level, name, bytes, bytes.length);
  }
}

/**
 * Closes a netfilter socket without waiting. Closing one makes the caller wait until the kernel has freed what was
 * deleted from nftables, an RCU grace period: 10 ms, also when the process ends with the socket open. So the
 * descriptor is put into the queue of a unix socket that holds itself the same way; with both ends closed, that is garbage, which
 * a kernel thread collects (since Linux 6.10; before, the closing below waits as a plain close would).
 */
function closeLater(fd: number): void {
  const [near, far] = socketpair("seqpacket");
  try {
    sendFds(near, new Uint8Array(1), [far, fd]);
  } catch {
    // Too many descriptors in flight: the close below waits, and that is all.
  } finally {
    for (const each of [fd, far, near]) tryCall("close", each);
  }
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const MSG_DONTWAIT = 0x40;
const SEND_DEFAULT = 64 * 1024;
const EINTR = 4;
const EAGAIN = 11;
const ENODATA = 61;
