/**
 * Verification of Ed25519ph (RFC 8032, §5.1: the SHA-512 of the message is signed, in a domain of its own). Cosign signs so with Ed25519 keys;
 * node:crypto only knows the plain kind. Everything here is public, so it need not run in constant time.
 */
import { createHash } from "node:crypto";

const P = 2n ** 255n - 19n;
/** Order of the base point. */
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
/** -121665/121666 */
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;
const ROOT_OF_MINUS_ONE = 19681161376707505956807079304988542015446066515923890162744021073123829784752n;
const SIGN = 2n ** 255n;

const DOMAIN = Buffer.from("SigEd25519 no Ed25519 collisions\u0001\u0000", "latin1");

/** Extended homogeneous coordinates (§5.1.4): x = X/Z, y = Y/Z, x·y = T/Z. */
interface Point {
  x: bigint;
  y: bigint;
  z: bigint;
  t: bigint;
}

const BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202n;
const BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960n;
/** §5.1: y is 4/5, x even. */
const BASE: Point = { x: BASE_X, y: BASE_Y, z: 1n, t: (BASE_X * BASE_Y) % P };

/** `publicKey` and `signature` as RFC 8032 encodes them: 32 and 64 bytes. False for anything malformed. */
export function isEd25519ph(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  return isSigned(publicKey, { domain: DOMAIN, message: sha512(message), signature });
}

/** Without a domain this is plain Ed25519, which tests compare with node:crypto. */
export function isSigned(
  publicKey: Uint8Array,
  { domain, message, signature }: { domain: Uint8Array; message: Uint8Array; signature: Uint8Array },
): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  const [r, s] = [signature.subarray(0, 32), number(signature.subarray(32))];
  const key = decode(publicKey);
  if (key === undefined || s >= L) return false;
  const k = number(sha512(domain, r, publicKey, message)) % L;
  const minusKey = { ...key, x: mod(-key.x), t: mod(-key.t) };
  return encode(add(multiply(BASE, s), multiply(minusKey, k))).equals(r);
}

function sha512(...parts: Uint8Array[]): Buffer {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function mod(value: bigint): bigint {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = mod(base), left = exponent; left > 0n; left >>= 1n, square = mod(square * square)) {
    if ((left & 1n) === 1n) result = mod(result * square);
  }
  return result;
}

/** Little-endian. */
function number(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
}

/** §5.1.3. Undefined for what is not a point, or not its one encoding. */
function decode(bytes: Uint8Array): Point | undefined {
  const value = number(bytes);
  const y = value % SIGN;
  const isOdd = value >= SIGN;
  if (y >= P) return undefined;
  const u = mod(y * y - 1n);
  const v = mod(D * y * y + 1n);
  let x = mod(u * power(v, 3n) * power(u * power(v, 7n), (P - 5n) / 8n));
  const square = mod(v * x * x);
  if (square === mod(-u)) x = mod(x * ROOT_OF_MINUS_ONE);
  else if (square !== u) return undefined;
  if (x === 0n && isOdd) return undefined;
  if (((x & 1n) === 1n) !== isOdd) x = P - x;
  return { x, y, z: 1n, t: mod(x * y) };
}

function encode({ x, y, z }: Point): Buffer {
  const inverse = power(z, P - 2n);
  const sign = (mod(x * inverse) & 1n) === 1n ? SIGN : 0n;
  const hex = (mod(y * inverse) + sign).toString(16).padStart(64, "0");
  return Buffer.from(hex, "hex").reverse();
}

/** §5.1.4; complete, so it doubles too. */
function add(p: Point, q: Point): Point {
  const a = mod((p.y - p.x) * (q.y - q.x));
  const b = mod((p.y + p.x) * (q.y + q.x));
  const c = mod(2n * p.t * q.t * D);
  const d = mod(2n * p.z * q.z);
  const [e, f, g, h] = [b - a, d - c, d + c, b + a];
  return { x: mod(e * f), y: mod(g * h), z: mod(f * g), t: mod(e * h) };
}

function multiply(point: Point, factor: bigint): Point {
  let sum: Point = { x: 0n, y: 1n, z: 1n, t: 0n };
  for (let doubled = point, left = factor; left > 0n; left >>= 1n, doubled = add(doubled, doubled)) {
    if ((left & 1n) === 1n) sum = add(sum, doubled);
  }
  return sum;
}
