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
import { artifact, imageKinds, type Kind, type KindName, writeLayout } from "../../test/fake/image-kinds.ts";
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
  within = ctx,
): ReturnType<typeof copyImage> {
  return copyImage(within, fixture.engine, {
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

const layoutOf = (kind: Kind, ref = "v1"): string =>
  `oci:${writeLayout(join(fixture.path, `l${next++}`), kind, ref)}:${ref}`;

/** Copies along the places in turn and looks at each. */
async function along(kind: Kind, source: string, places: string[]): Promise<void> {
  let from = source;
  for (const to of places) {
    const { digest, changes } = await copy(from, to);
    expect({ to, digest, changes }).toEqual({ to, digest: kind.top.digest, changes: [] });
    same(await everything(to), kind);
    from = to;
  }
}

describe("byte for byte", () => {
  // Every pair of places for an image, an index and an artifact; every kind along all places in a row.
  describe.each(["oci", "index", "artifact"] as const)("%s", (name) => {
    test.each(transports)("from %s to every other", async (transport) => {
      if (!holds(transport, name)) return;
      const kind = kinds[name];
      const source = fresh(transport);
      await copy(layoutOf(kind), source);
      for (const to of transports.filter((one) => holds(one, name))) await along(kind, source, [fresh(to)]);
    });
  });

  test.each(names)("%s along all places", async (name) => {
    const order: TransportName[] = ["oci-archive", "docker", "dir", "berth", "docker-archive", "oci"];
    await along(kinds[name], layoutOf(kinds[name]), order.filter((one) => holds(one, name)).map(fresh));
  });
});

interface Listed {
  mediaType: string;
  manifests?: { digest: string; mediaType: string }[];
  layers: { mediaType: string; digest: string }[];
  config: { mediaType: string };
}

async function document(place: string): Promise<Listed> {
  const [top] = (await everything(place)).values();
  return JSON.parse(Buffer.from(top as Uint8Array).toString()) as Listed;
}

const change = { preserveDigests: false };

describe("what has to change changes, and is told", () => {
  test("the family of media types, there and back", async () => {
    const docker = fresh("dir");
    const there = await copy(layoutOf(kinds.oci), docker, { ...change, format: "docker" });
    expect(there.changes).toEqual([
      expect.stringContaining("application/vnd.docker.distribution.manifest.v2+json"),
    ]);
    const { mediaType, config, layers } = await document(docker);
    expect([mediaType, config.mediaType, layers[0]?.mediaType]).toEqual([
      "application/vnd.docker.distribution.manifest.v2+json",
      "application/vnd.docker.container.image.v1+json",
      "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ]);
    const back = fresh("dir");
    await copy(docker, back, { ...change, format: "oci" });
    expect((await document(back)).layers[0]?.mediaType).toBe("application/vnd.oci.image.layer.v1.tar+gzip");
  });

  test("Docker's manifests in a layout, unless digests are to be kept", async () => {
    const layout = fresh("oci");
    const { changes } = await copy(layoutOf(kinds.docker), layout, change);
    expect(changes).toHaveLength(1);
    expect((await document(layout)).mediaType).toBe("application/vnd.oci.image.manifest.v1+json");
  });

  test("zstd layers where Docker's family is wanted", async () => {
    const to = fresh("dir");
    const { changes } = await copy(layoutOf(kinds.zstd), to, { ...change, format: "docker" });
    expect(changes.filter((text) => text.includes("gzip"))).toHaveLength(1);
    const { layers } = await document(to);
    expect(layers.map((layer) => layer.mediaType)).toEqual([
      "application/vnd.docker.image.rootfs.diff.tar.gzip",
      "application/vnd.docker.image.rootfs.diff.tar",
    ]);
  });

  test.each([
    ["zstd", { format: "zstd" }, "tar+zstd"],
    ["a level", { format: "gzip", level: 1 }, "tar+gzip"],
    ["no compression", { format: "none" }, "v1.tar"],
  ] as const)("compression: %s", async (_name, compression, suffix) => {
    const to = fresh("oci");
    await copy(layoutOf(kinds.zstd), to, { ...change, compression });
    const { layers } = await document(to);
    for (const layer of layers) expect(layer.mediaType).toEndWith(suffix);
    // The same tars: the store takes them for the layers the config names.
    await copy(to, fresh("berth"));
  });

  test("only what is not compressed", async () => {
    const to = fresh("oci");
    await copy(layoutOf(kinds.zstd), to, { ...change, compressPlain: { format: "gzip" } });
    expect((await document(to)).layers.map((layer) => layer.mediaType.replace(/.*tar/, ""))).toEqual([
      "+zstd",
      "+gzip",
    ]);
  });

  test("an index with its images, all of them", async () => {
    const to = fresh("dir");
    await copy(layoutOf(kinds.index), to, { ...change, compression: { format: "zstd" } });
    const found = await everything(to);
    const { manifests } = await document(to);
    expect(manifests?.map(({ digest }) => found.has(digest))).toEqual([true, true, true]);
    expect(manifests?.[2]).toMatchObject({
      annotations: { "vnd.docker.reference.type": "attestation-manifest" },
    });
  });

  test("nothing with --preserve-digests; and an artifact has no other format", async () => {
    const to = fresh("oci");
    for (const more of [{ format: "docker" as const }, { compression: { format: "zstd" as const } }]) {
      expect(await failure(copy(layoutOf(kinds.oci), to, more))).toMatchObject({
        reason: "digest-would-change",
      });
    }
    const error = await failure(copy(layoutOf(kinds.artifact), to, { ...change, format: "docker" }));
    expect(error).toMatchObject({ reason: "artifact-format" });
    expect(await Bun.file(to.slice(4).replace(/:v1$/, "/index.json")).exists()).toBe(false);
    // What was only made to be sent is gone.
    expect(fixture.engine.db.all("SELECT 1 FROM lease_refs")).toEqual([]);
  });

  test("layers whose form the store does not have any more are told", async () => {
    const one = layoutOf(kinds.twice);
    await copy(one, fresh("berth"));
    const zstd = fresh("oci");
    await copy(one, zstd, { ...change, compression: { format: "zstd" } });
    const stored = fresh("berth");
    await copy(zstd, stored);
    expect((await copy(stored, fresh("dir"), change)).changes).toHaveLength(1);
    expect(await failure(copy(stored, fresh("dir")))).toMatchObject({ reason: "digest-would-change" });
    // A plain layer is its own tar: it is made again.
    const plain = fresh("oci");
    await copy(one, plain, { ...change, compression: { format: "none" } });
    const known = fresh("berth");
    const { digest } = await copy(plain, known);
    expect((await copy(known, fresh("dir"))).digest).toBe(digest);
  });
});

describe("of an index", () => {
  test("one platform", async () => {
    const to = fresh("oci");
    await copy(layoutOf(kinds.nested), to, {
      multiArch: "system",
      platform: { os: "linux", architecture: "arm64" },
    });
    const arm = [...kinds.index.blobs].find(([, bytes]) =>
      Buffer.from(bytes).includes('"architecture":"arm64"'),
    );
    expect([...(await everything(to)).keys()]).toContain(arm?.[0] as string);
    const error = await failure(
      copy(layoutOf(kinds.nested), fresh("oci"), {
        multiArch: "system",
        platform: { os: "linux", architecture: "s390x" },
      }),
    );
    expect(error).toMatchObject({ kind: "not-found", reason: "no-matching-platform" });
  });

  test("a place for one image says so, and nothing is there", async () => {
    const path = join(fixture.path, "index.tar");
    expect(await failure(copy(layoutOf(kinds.index), `docker-archive:${path}`))).toMatchObject({
      kind: "invalid-argument",
      reason: "destination-format",
    });
    expect(await Bun.file(path).exists()).toBe(false);
  });
});

describe("what is attached", () => {
  const signed = (kind: Kind, text: string): Kind => artifact({ subject: kind.top }, text);

  test.each(transports.filter((one) => ["docker", "oci", "oci-archive"].includes(one)))(
    "goes along to %s",
    async (to) => {
      if (!holds(to, "oci")) return;
      const source = layoutOf(kinds.oci);
      const signature = signed(kinds.oci, "signature");
      const layout = source.replace(/:v1$/, "");
      await copy(layoutOf(signature), `${layout}:sig`);
      await copy(layoutOf(signed(signature, "of the signature")), `${layout}:sigsig`);
      await copy(layoutOf(kinds.artifact), `${layout}:unrelated`);
      const first = fresh(to);
      await copy(source, first, { referrers: true });
      // And from there on.
      const second = fresh("oci");
      await copy(first, second, { referrers: true });
      const { manifests } = JSON.parse(
        await Bun.file(`${second.slice(4).replace(/:v1$/, "")}/index.json`).text(),
      ) as Listed;
      expect(manifests).toHaveLength(3);
      expect(manifests?.map(({ digest }) => digest)).toContain(signature.top.digest);
    },
  );

  test("by cosign's tags, between registries", async () => {
    if (registry === undefined) return;
    const [from, to] = [fresh("docker"), fresh("docker")];
    const tag = `${kinds.oci.top.digest.replace(":", "-")}.sig`;
    await copy(layoutOf(kinds.oci), from);
    await copy(layoutOf(kinds.artifact), from.replace(/:v1$/, `:${tag}`));
    await copy(from, to);
    expect(await failure(everything(to.replace(/:v1$/, `:${tag}`)))).toMatchObject({ kind: "not-found" });
    await copy(from, to, { referrers: true });
    same(await everything(to.replace(/:v1$/, `:${tag}`)), kinds.artifact);
  });

  test("stays behind where its subject has become another, or there is no room", async () => {
    const warnings: string[] = [];
    const log = { ...ctx.log, warn: (text: string) => void warnings.push(text) };
    const source = layoutOf(kinds.oci);
    await copy(layoutOf(signed(kinds.oci, "s")), `${source.replace(/:v1$/, "")}:sig`);
    await copy(
      source,
      fresh("oci"),
      { ...change, compression: { format: "zstd" }, referrers: true },
      { ...ctx, log },
    );
    await copy(source, fresh("dir"), { referrers: true }, { ...ctx, log });
    expect(warnings).toHaveLength(2);
  });
});

describe("what is there is not sent", () => {
  test("nothing the second time; and mounted within a registry", async () => {
    if (registry === undefined) return;
    const seen = async (from: string, to: string): Promise<Set<string>> => {
      const last = new Map<string, string>();
      await copy(from, to, {}, createCtx({ progress: ({ id, status }) => void last.set(id, status) }));
      return new Set(last.values());
    };
    const [one, two] = [fresh("docker"), fresh("docker")];
    expect(await seen(layoutOf(kinds.oci), one)).toEqual(new Set(["done"]));
    expect(await seen(layoutOf(kinds.oci), one)).toEqual(new Set(["exists"]));
    expect(await seen(one, two)).toEqual(new Set(["exists"]));
    const layout = fresh("oci");
    expect(await seen(one, layout)).toEqual(new Set(["done"]));
    expect(await seen(one, layout)).toEqual(new Set(["exists"]));
  });
});
