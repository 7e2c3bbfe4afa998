/**
 * Digests of bytes and streams: "sha256:…" in lower-case hexadecimal. The grammar of digests that come from
 * outside is image/digest.ts; here they are only computed and compared.
 */
import { fail } from "../core/error.ts";

export type Algorithm = "sha256" | "sha512";
export type DigestText = `${Algorithm}:${string}`;

export interface Digester {
  update(bytes: Uint8Array): void;
  /** Once, after the last update. */
  digest(): DigestText;
}

export function createDigester(algorithm: Algorithm = "sha256"): Digester {
  const hasher = new Bun.CryptoHasher(algorithm);
  return {
    update: (bytes) => void hasher.update(bytes),
    digest: () => `${algorithm}:${hasher.digest("hex")}`,
  };
}

export function digestOf(bytes: Uint8Array | string, algorithm: Algorithm = "sha256"): DigestText {
  return `${algorithm}:${new Bun.CryptoHasher(algorithm).update(bytes).digest("hex")}`;
}

/** The algorithm of a digest that has passed parseDigest. Errors: unimplemented for any other. */
function algorithmOf(digest: string): Algorithm {
  const name = digest.slice(0, digest.indexOf(":"));
  if (name === "sha256" || name === "sha512") return name;
  throw fail("unimplemented", `digest algorithm of "${digest}" is not supported`, {
    reason: "digest-algorithm",
  });
}

/**
 * Passes the stream through and throws after its last chunk unless size and digest are as expected. The size
 * comes first: a stream that is too long is given up at the first byte too many, not hashed to its end.
 * Errors: data-loss.
 */
export async function* verifyStream(
  source: AsyncIterable<Uint8Array>,
  expected: { digest: string; size?: number | undefined },
): AsyncGenerator<Uint8Array, void, undefined> {
  const digester = createDigester(algorithmOf(expected.digest));
  const size = expected.size ?? Infinity;
  let total = 0;
  for await (const chunk of source) {
    total += chunk.length;
    if (total > size) throw mismatch(expected.digest, `more than ${size} bytes`, `${size} bytes`);
    digester.update(chunk);
    yield chunk;
  }
  if (expected.size !== undefined && total !== size) {
    throw mismatch(expected.digest, `${total} bytes`, `${size} bytes`);
  }
  const actual = digester.digest();
  if (actual !== expected.digest) throw mismatch(expected.digest, actual, expected.digest);
}

function mismatch(digest: string, actual: string, wanted: string): Error {
  return fail("data-loss", `blob "${digest}" does not match: got ${actual}, expected ${wanted}`, {
    reason: wanted.endsWith("bytes") ? "size-mismatch" : "digest-mismatch",
  });
}
