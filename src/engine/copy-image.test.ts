// Every kind of image from any place to any other, byte for byte.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  type DockerRegistry,
  haveDockerRegistry,
  startDockerRegistry,
} from "../../test/fake/docker-registry.ts";
import { collect, engineFixture, type EngineFixture } from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { imageKinds, type Kind, type KindName, writeLayout } from "../../test/fake/image-kinds.ts";
import { createCtx } from "../core/ctx.ts";
import { digestAlgorithm, digestOf } from "../image/digest.ts";
import { isIndex, parseManifest } from "../image/manifest.ts";
import { copyImage, type CopyImageRequest } from "./copy-image.ts";
import { openReader } from "./transfer/open.ts";
import { parsePlace } from "./transfer/place.ts";
import type { ImageReader, TransportName } from "./transfer/transfer.ts";

const ctx = createCtx();
const retry = { retries: 1, baseMs: 5, stallMs: 5000 };
const kinds = imageKinds();
const names = Object.keys(kinds) as KindName[];

let fixture: EngineFixture;
let registry: DockerRegistry | undefined;
beforeAll(async () => {
  fixture = engineFixture("copy");
  if (haveDockerRegistry) registry = await startDockerRegistry();
});
afterAll(async () => {
  await registry?.[Symbol.asyncDispose]();
  fixture[Symbol.dispose]();
});
if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");

function copy(
  source: string,
  destination: string,
  more: Partial<CopyImageRequest> = {},
): ReturnType<typeof copyImage> {
  return copyImage(ctx, fixture.engine, {
    source: parsePlace(source),
    destination: parsePlace(destination),
    multiArch: "all",
    preserveDigests: true,
    referrers: false,
    names: [],
    sourceRegistry: { retry },
    destinationRegistry: { retry },
    ...more,
  });
}

/** Every document and blob below it, each checked against its digest. */
async function everything(place: string): Promise<Map<string, Uint8Array>> {
  using lease = fixture.engine.leases.take("pull");
  const request = { place: parsePlace(place), registry: { retry }, compress: false, lease };
  await using reader = await openReader(ctx, fixture.engine, request);
  const found = new Map<string, Uint8Array>();
  await take(reader, undefined, found);
  for (const [digest, bytes] of found) expect(digestOf(bytes, digestAlgorithm(digest))).toBe(digest);
  return found;
}

async function take(
  reader: ImageReader,
  digest: string | undefined,
  found: Map<string, Uint8Array>,
): Promise<void> {
  const { bytes, descriptor } = await reader.manifest(ctx, digest);
  found.set(descriptor.digest, bytes);
  const document = parseManifest(bytes, descriptor.mediaType);
  if (isIndex(document)) for (const entry of document.manifests) await take(reader, entry.digest, found);
  else
    for (const blob of [document.config, ...document.layers])
      found.set(blob.digest, await collect(reader.blob(ctx, blob)));
}

let next = 0;
/** A fresh place of this transport. */
function fresh(transport: TransportName): string {
  const id = `p${next++}`;
  const path = join(fixture.path, id);
  if (transport === "docker") return `docker://${registry?.host}/${id}:v1`;
  if (transport === "berth") return `berth:localhost/${id}:v1`;
  if (transport === "dir") return `dir:${path}`;
  return transport === "docker-archive"
    ? `docker-archive:${path}.tar:localhost/${id}:v1`
    : `${transport}:${path}:v1`;
}

const transports: TransportName[] = ["docker", "oci", "oci-archive", "docker-archive", "dir", "berth"];
/** Docker's archives hold one image; the registry 2.8 knows no sha512, and `dir:` does not say which digest its manifest has. */
function holds(transport: TransportName, kind: KindName): boolean {
  if (transport === "dir") return kind !== "sha512";
  if (transport === "docker") return registry !== undefined && kind !== "sha512";
  return transport !== "docker-archive" || !["index", "nested", "artifact"].includes(kind);
}

function same(found: Map<string, Uint8Array>, kind: Kind): void {
  expect([...found.keys()].toSorted()).toEqual([...kind.blobs.keys()].toSorted());
  for (const [digest, bytes] of kind.blobs)
    expect(Buffer.compare(found.get(digest) as Uint8Array, bytes)).toBe(0);
}

describe("byte for byte", () => {
  describe.each(names)("%s", (name) => {
    const kind = kinds[name];
    test.each(transports.filter((one) => holds(one, name) || one === "docker"))(
      "from %s to every other",
      async (from) => {
        if (!holds(from, name)) return;
        const layout = writeLayout(join(fixture.path, `l${next++}`), kind);
        const source = fresh(from);
        await copy(`oci:${layout}:v1`, source);
        for (const to of transports.filter((one) => holds(one, name))) {
          const destination = fresh(to);
          const { digest, changes } = await copy(source, destination);
          expect({ to, digest, changes }).toEqual({ to, digest: kind.top.digest, changes: [] });
          same(await everything(destination), kind);
        }
      },
    );
  });
});

test("a place that cannot hold it says so, and nothing is there", async () => {
  const layout = writeLayout(join(fixture.path, "l-index"), kinds.index);
  const path = join(fixture.path, "index.tar");
  expect(await failure(copy(`oci:${layout}:v1`, `docker-archive:${path}`))).toMatchObject({
    kind: "invalid-argument",
    reason: "destination-format",
  });
  expect(await Bun.file(path).exists()).toBe(false);
});
