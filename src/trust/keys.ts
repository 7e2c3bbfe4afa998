/** Public keys of a policy, and what they have signed. */
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { fail, ioText } from "../core/error.ts";
import { isEd25519ph } from "./ed25519ph.ts";
import type { Material } from "./trust.ts";

const MAX_KEY_BYTES = 1024 * 1024;

/** For messages: the file, or that it stands in the policy. */
export function materialName(material: Material): string {
  return "path" in material ? `"${material.path}"` : "a key in the policy";
}

/** Errors: those of reading, invalid-argument for a relative path or something too large; they name the file. */
export function readMaterial(material: Material): string {
  if ("data" in material) return Buffer.from(material.data).toString("latin1");
  const { path } = material;
  if (!path.startsWith("/")) {
    // Otherwise the directory that berth happens to be called in would say whom to trust.
    throw unusable(path, "its path is not absolute");
  }
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw unusable(path, "it is not a file");
    if (stat.size > MAX_KEY_BYTES) throw unusable(path, "it is too large");
    return readFileSync(path, "latin1");
  } catch (error) {
    throw error instanceof Error && "code" in error ? unusable(path, ioText(error), error) : error;
  }
}

function unusable(what: string, problem: string, cause?: unknown): Error {
  return fail("invalid-argument", `cannot use "${what}", which the policy names: ${problem}`, {
    reason: "policy-key",
    ...(cause === undefined ? {} : { cause }),
  });
}

const CURVES = new Set(["prime256v1", "secp384r1", "secp521r1"]);
const MIN_RSA_BITS = 2048;

/** EC on the P-256, P-384 or P-521 curve, RSA of 2048 bits and more, Ed25519; PEM, public. Errors: invalid-argument that names the key. */
export function publicKeyOf(material: Material): KeyObject {
  const pem = readMaterial(material);
  const what = "path" in material ? material.path : "keyData";
  // A private key or a certificate has a public key in it too, but stands there by mistake.
  if (!/^\s*-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(pem))
    throw unusable(what, "it is no public key in PEM");
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (error) {
    throw unusable(what, "it is no public key in PEM", error);
  }
  const problem = keyProblem(key);
  if (problem !== undefined) throw unusable(what, problem);
  return key;
}

/** What makes a key one that nobody should trust; certificates' keys are held to the same. */
export function keyProblem({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | undefined {
  if (asymmetricKeyType === "ed25519") return undefined;
  if (asymmetricKeyType === "ec") {
    const curve = asymmetricKeyDetails?.namedCurve ?? "";
    return CURVES.has(curve) ? undefined : `its curve "${curve}" is not supported`;
  }
  if (asymmetricKeyType === "rsa") {
    const bits = asymmetricKeyDetails?.modulusLength ?? 0;
    return bits >= MIN_RSA_BITS ? undefined : `it is RSA of ${bits} bits, fewer than ${MIN_RSA_BITS}`;
  }
  return `keys of type "${asymmetricKeyType}" are not supported`;
}

/** The hash that goes with a curve; cosign takes SHA-256 for all where it signs simple signing payloads. */
const CURVE_HASH: Record<string, string> = { secp384r1: "sha384", secp521r1: "sha512" };

/** ECDSA signatures in DER, RSA in PKCS #1 v1.5, Ed25519 over the bytes themselves (podman) or over their SHA-512 (cosign). */
export function isSignedBy(key: KeyObject, bytes: Uint8Array, signature: Uint8Array): boolean {
  if (keyProblem(key) !== undefined) return false;
  const isPlain = isVerified(key, bytes, signature);
  return isPlain || (key.asymmetricKeyType === "ed25519" && isEd25519ph(rawEd25519(key), bytes, signature));
}

function isVerified(key: KeyObject, bytes: Uint8Array, signature: Uint8Array): boolean {
  return hashesOf(key).some((hash) => {
    try {
      return verify(hash, bytes, key, signature);
    } catch {
      // Malformed signatures throw.
      return false;
    }
  });
}

function hashesOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): (string | undefined)[] {
  if (asymmetricKeyType === "ed25519") return [undefined];
  const own = CURVE_HASH[asymmetricKeyDetails?.namedCurve ?? ""];
  return own === undefined ? ["sha256"] : ["sha256", own];
}

/** SubjectPublicKeyInfo, DER. */
export function spkiOf(key: KeyObject): Buffer<ArrayBuffer> {
  return Buffer.from(key.export({ type: "spki", format: "der" }));
}

/** The 32 bytes that end its SPKI. */
function rawEd25519(key: KeyObject): Buffer {
  return spkiOf(key).subarray(-32);
}

/** How a transparency log is called that signs with this key: `origin` is the name in its notes, which only logs with Ed25519 keys mix in. */
export function logIds(key: KeyObject, origin: string | undefined): Buffer[] {
  const spki = spkiOf(key);
  const ids = [createHash("sha256").update(spki).digest()];
  if (key.asymmetricKeyType === "ed25519" && origin !== undefined) {
    // c2sp.org/signed-note: name, newline, algorithm 1, the raw key.
    ids.push(createHash("sha256").update(`${origin}\n\u0001`).update(rawEd25519(key)).digest());
  }
  return ids;
}
