/**
 * Whiteouts as layers write them (OCI image-spec 1.1, layer.md): an entry ".wh.NAME" deletes NAME of lower
 * layers, ".wh..wh..opq" all of its directory in lower layers. Other names that begin with ".wh..wh." are aufs' own.
 */
import { fail } from "../core/error.ts";

const PREFIX = Buffer.from(".wh.");
const META = Buffer.from(".wh..wh.");
const OPAQUE = Buffer.from(".wh..wh..opq");
const DOT = 0x2e;

export const WHITEOUT_PREFIX: Uint8Array = PREFIX;
export const OPAQUE_NAME: Uint8Array = OPAQUE;

function startsWith(name: Uint8Array, prefix: Uint8Array): boolean {
  if (name.length < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (name[i] !== prefix[i]) return false;
  return true;
}

/** True for a name that a layer could not carry as a plain file. */
export function isWhiteoutName(name: Uint8Array): boolean {
  return name[0] === DOT && startsWith(name, PREFIX);
}

/**
 * What the last of these components asks for: "opaque", "skip", the name to hide, or undefined for a plain entry.
 * Errors: invalid-argument for names that hide nothing sensible, and for entries below a whiteout.
 */
export function whiteoutOf(parts: Uint8Array[]): "opaque" | "skip" | Uint8Array | undefined {
  const name = parts.at(-1) as Uint8Array;
  const above = parts.length > 1 ? parts.slice(0, -1).find(isWhiteoutName) : undefined;
  if (above !== undefined) {
    if (startsWith(above, META)) return "skip";
    throw odd(above, "has entries below it");
  }
  if (!isWhiteoutName(name)) return undefined;
  if (startsWith(name, META))
    return name.length === OPAQUE.length && startsWith(name, OPAQUE) ? "opaque" : "skip";
  const hidden = name.subarray(PREFIX.length);
  const isDots = hidden.length <= 2 && hidden.every((byte) => byte === DOT);
  if (isDots) throw odd(name, "hides nothing");
  return hidden;
}

function odd(name: Uint8Array, what: string): Error {
  return fail("invalid-argument", `whiteout "${Buffer.from(name).toString()}" ${what}`, {
    reason: "whiteout",
  });
}
