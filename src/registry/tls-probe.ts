/**
 * Whether a server on this host speaks TLS, at the price of one small packet each way. Asking with a whole request over TLS first would load
 * all certificate authorities only to be told that there is none to check, which takes longer than everything else a small pull does.
 */
import type { Ctx } from "../core/ctx.ts";

const TIMEOUT_MS = 2000;
const ALERT = 0x15;
const HANDSHAKE = 0x16;

/** A ClientHello (RFC 5246 §7.4.1.2) that offers what any server knows; it may be refused, which is an answer too. */
function clientHello(): Uint8Array {
  const suites = [0x13, 0x01, 0xc0, 0x2b, 0xc0, 0x2f, 0x00, 0x9c, 0x00, 0x2f];
  const random = crypto.getRandomValues(new Uint8Array(32));
  const body = [0x03, 0x03, ...random, 0, 0, suites.length, ...suites, 1, 0];
  const message = [0x01, 0, 0, body.length, ...body];
  return Uint8Array.from([HANDSHAKE, 0x03, 0x01, 0, message.length, ...message]);
}

/** `host` with its port. Undefined if it cannot be told: no connection, no answer, or canceled. */
export async function speaksTls(ctx: Ctx, host: string): Promise<boolean | undefined> {
  const { hostname, port } = new URL(`https://${host}`);
  const { promise, resolve } = Promise.withResolvers<boolean | undefined>();
  const giveUp = (): void => resolve(undefined);
  const timer = setTimeout(giveUp, TIMEOUT_MS);
  ctx.signal.addEventListener("abort", giveUp, { once: true });
  const socket = Bun.connect({
    hostname: hostname.replace(/^\[|\]$/g, ""),
    port: port === "" ? 443 : Number(port),
    socket: {
      open: (it) => void it.write(clientHello()),
      data: (_, bytes) => resolve(bytes[0] === HANDSHAKE || bytes[0] === ALERT),
      close: giveUp,
      error: giveUp,
      connectError: giveUp,
    },
  });
  socket.catch(giveUp);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    ctx.signal.removeEventListener("abort", giveUp);
    socket.then(
      (it) => it.terminate(),
      () => {},
    );
  }
}
