/** Digests: `algorithm:hex` (image-spec, descriptor.md). Every digest from outside passes parseDigest before it may name a file or a URL. */
import { fail } from "../core/error.ts";
import type { Digest } from "./image.ts";

export type DigestAlgorithm = "sha256" | "sha512";

const HEX_LENGTH: Record<DigestAlgorithm, number> = { sha256: 64, sha512: 128 };

/** Beginning of outside text that is safe to show in an error. */
export function excerpt(text: string, limit = 100): string {
  // Control characters would let a hostile document write to the reader's terminal.
  const clean = text.slice(0, limit).replace(/\p{Cc}/gu, "?");
  return text.length > limit ? `${clean}…` : clean;
}

/** Errors: invalid-argument for anything but sha256 or sha512 with exactly as many lower-case hex digits as it has. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  const algorithm = text.slice(0, Math.max(0, text.indexOf(":")));
  const known = algorithm in HEX_LENGTH || !/^[a-z0-9]+([+._-][a-z0-9]+)*$/.test(algorithm);
  throw fail(
    "invalid-argument",
    `invalid digest "${excerpt(text)}"${known ? "" : ": unsupported algorithm"}`,
    {
      reason: "invalid-digest",
      hint: "a digest is sha256: and 64, or sha512: and 128, lower-case hexadecimal digits",
    },
  );
}

export function isDigest(text: string): text is Digest {
  return /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(text);
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith("sha512:") ? "sha512" : "sha256";
}

export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** How many hex digits a digest of this algorithm has. */
export function hexLength(algorithm: DigestAlgorithm): number {
  return HEX_LENGTH[algorithm];
}

/** Digest of bytes in memory. */
export function digestOf(bytes: Uint8Array | string, algorithm: DigestAlgorithm = "sha256"): Digest {
  return `${algorithm}:${new Bun.CryptoHasher(algorithm).update(bytes).digest("hex")}`;
}
