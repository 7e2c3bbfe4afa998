import { describe, expect, test } from "bun:test";
import { generateKeyPairSync, sign, verify } from "node:crypto";
import * as fc from "fast-check";
import { isEd25519ph, isSigned } from "./ed25519ph.ts";

const hex = (text: string): Buffer => Buffer.from(text, "hex");

/** RFC 8032 §7.3, also what Go's crypto/ed25519 gives for it. */
const KNOWN = {
  key: hex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf"),
  message: Buffer.from("abc"),
  signature: hex(
    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41" +
      "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
  ),
};
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

test("the known answer, and nothing near it", () => {
  const { key, message, signature } = KNOWN;
  expect(isEd25519ph(key, message, signature)).toBe(true);
  expect(isEd25519ph(key, Buffer.from("abd"), signature)).toBe(false);
  for (let at = 0; at < signature.length; at += 7) {
    const changed = Buffer.from(signature);
    changed[at] = (changed[at] as number) ^ 1;
    expect(isEd25519ph(key, message, changed)).toBe(false);
  }
  expect(isEd25519ph(key, message, signature.subarray(1))).toBe(false);
  expect(isEd25519ph(key.subarray(1), message, signature)).toBe(false);
  expect(isEd25519ph(Buffer.alloc(32, 0xff), message, signature)).toBe(false);
  // The plain kind over the same bytes is another signature.
  const plain = { domain: new Uint8Array(), message, signature };
  expect(isSigned(key, plain)).toBe(false);
});

test("the same signature with the order added to its number is refused", () => {
  const { key, message, signature } = KNOWN;
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString("hex")}`) + ORDER;
  const tail = hex(s.toString(16).padStart(64, "0")).reverse();
  expect(isEd25519ph(key, message, Buffer.concat([signature.subarray(0, 32), tail]))).toBe(false);
});

describe("without the domain it agrees with node:crypto", () => {
  const pair = generateKeyPairSync("ed25519");
  const raw = pair.publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  const change = fc.option(
    fc.tuple(fc.constantFrom("key", "message", "signature"), fc.nat(31), fc.integer({ min: 1, max: 255 })),
  );

  test("on right and on changed signatures", () => {
    const prefix = Buffer.from("302a300506032b6570032100", "hex");
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 80 }), change, (message, changed) => {
        const parts = {
          key: Buffer.from(raw),
          message: Buffer.from(message),
          signature: sign(undefined, message, pair.privateKey),
        };
        if (changed !== null) {
          const part = parts[changed[0] as keyof typeof parts];
          part[changed[1]] = (part[changed[1]] as number) ^ changed[2];
        }
        const ours = isSigned(parts.key, { domain: new Uint8Array(), ...parts });
        const key = { key: Buffer.concat([prefix, parts.key]), format: "der", type: "spki" } as const;
        expect(ours).toBe(isRight(() => verify(undefined, parts.message, key, parts.signature)));
        expect(ours).toBe(changed === null);
      }),
      { numRuns: 60 },
    );
  });

  function isRight(check: () => boolean): boolean {
    try {
      return check();
    } catch {
      // A key that is no point.
      return false;
    }
  }
});
