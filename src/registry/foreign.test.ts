// Layers that lie elsewhere: whatever address breaks off, the next one goes on.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { makeCertificate } from "../../test/fake/docker-registry.ts";
import { FakeRegistry } from "../../test/fake/registry.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { parseReference } from "../image/reference.ts";
import { openRegistry } from "./client.ts";

test("addresses in order, each from where the last one stopped, and from an offset", async () => {
  using temporary = tempDir("foreign");
  await makeCertificate(temporary.path);
  const [key = "", cert = ""] = ["key", "crt"].map((end) =>
    readFileSync(`${temporary.path}/server.${end}`, "utf8"),
  );
  using registry = new FakeRegistry();
  using gone = new FakeRegistry({ key, cert });
  using first = new FakeRegistry({ key, cert });
  using second = new FakeRegistry({ key, cert });
  const bytes = crypto.getRandomValues(new Uint8Array(300_000));
  const { digest, size } = second.addBlob(bytes);
  first.fault = () => {
    let sent = 0;
    const body = new ReadableStream({
      async pull(controller) {
        if (sent === 200_000) {
          await Bun.sleep(100);
          return controller.error(new Error("cut"));
        }
        controller.enqueue(bytes.slice(sent, (sent += 100_000)));
      },
    });
    return new Response(body);
  };
  const urls = [gone, first, second].map(({ host }) => `https://${host}/v2/x/blobs/${digest}`);
  const mediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
  const read = async (offset: number): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    const reference = parseReference(`${registry.host}/x:1`);
    const options = { certDir: `${temporary.path}/ca`, retry: { retries: 1, baseMs: 5, stallMs: 3000 } };
    const blob = openRegistry(reference, options).blob(
      createCtx(),
      { mediaType, digest, size, urls } as never,
      offset,
    );
    for await (const part of blob) parts.push(part.slice());
    return Buffer.concat(parts);
  };
  expect((await read(0)).equals(bytes)).toBe(true);
  const [asked] = second.seen;
  expect(asked?.headers.get("range")).toMatch(/^bytes=[12]00000-$/);
  first.fault = () => new Response(null, { status: 404 });
  expect((await read(250_000)).equals(bytes.subarray(250_000))).toBe(true);
});
