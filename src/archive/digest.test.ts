import { expect, test } from "bun:test";
import { EngineError } from "../core/error.ts";
import { createDigester, digestOf, verifyStream } from "./digest.ts";

const HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

async function* stream(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

async function outcome(source: AsyncIterable<Uint8Array>): Promise<string> {
  let text = "";
  try {
    for await (const chunk of source) text += Buffer.from(chunk).toString();
    return text;
  } catch (error) {
    return error instanceof EngineError ? `${text} ${error.kind} ${error.reason}` : String(error);
  }
}

test("known digests", () => {
  expect(digestOf("hello")).toBe(HELLO);
  const digester = createDigester("sha512");
  digester.update(Buffer.from("hel"));
  digester.update(Buffer.from("lo"));
  expect(digester.digest()).toBe(digestOf(Buffer.from("hello"), "sha512"));
  expect(digester.digest.length).toBe(0);
});

test("a stream is verified, size before digest", async () => {
  const expected = { digest: HELLO, size: 5 };
  expect(await outcome(verifyStream(stream("hel", "lo"), expected))).toBe("hello");
  expect(await outcome(verifyStream(stream("hel", "lo"), { digest: HELLO }))).toBe("hello");
  expect(await outcome(verifyStream(stream("hel", "lo!"), expected))).toBe("hel data-loss size-mismatch");
  expect(await outcome(verifyStream(stream("hell"), expected))).toBe("hell data-loss size-mismatch");
  expect(await outcome(verifyStream(stream("jello"), expected))).toBe("jello data-loss digest-mismatch");
  expect(await outcome(verifyStream(stream("x"), { digest: "md5:00" }))).toBe(
    " unimplemented digest-algorithm",
  );
});
