/**
 * Images for bench/images.ts: the same bytes on every machine, with trees that look like real ones (many small files, a few big
 * ones, links, deep directories). Made once, kept as blobs under /tmp, uploaded to whatever registry is asked.
 */
import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { gzip, zstd } from "../src/archive/compress.ts";
import { TarWriter } from "../src/archive/tar-writer.ts";
import { createCtx } from "../src/core/ctx.ts";
import { parseReference } from "../src/image/reference.ts";
import { openRegistry } from "../src/registry/client.ts";

export interface ImageShape {
  name: string;
  layers: { files: number; megabytes: number }[];
  compression: "gzip" | "zstd";
}

export interface Blob {
  digest: string;
  size: number;
  mediaType: string;
  path: string;
}

export interface BenchImage {
  shape: ImageShape;
  layers: Blob[];
  config: Blob;
  manifest: Buffer;
  /** Bytes of all tars. */
  unpacked: number;
}

const CACHE = "/tmp/berth-bench-images";
const MTIME = 1_600_000_000n;

/** xorshift32: cheap, and the same everywhere. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 1;
  }

  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** Between 0 and 1, both excluded. */
  part(): number {
    return (this.next() + 0.5) / 2 ** 32;
  }
}

const WORDS = 1400;

/** What a file holds: words of a vocabulary, as text and machine code repeat themselves, with noise between them; deflates to about 36 %. */
class Content {
  readonly #random: Random;
  readonly #words: Uint8Array[];

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#words = Array.from({ length: WORDS }, () =>
      Uint8Array.from({ length: 3 + (this.#random.next() % 14) }, () => 32 + (this.#random.next() % 95)),
    );
  }

  fill(into: Uint8Array): void {
    for (let at = 0; at < into.length;) {
      const pick = this.#random.next();
      if ((pick & 0xff) < 23) {
        into[at++] = pick >>> 8;
        if (at < into.length) into[at++] = pick >>> 16;
        if (at < into.length) into[at++] = pick >>> 24;
        continue;
      }
      // Small numbers are likelier, as in any language.
      const share = ((pick >>> 8) & 0xffff) / 65536;
      const word = this.#words[Math.floor(share * share * WORDS)] as Uint8Array;
      into.set(at + word.length <= into.length ? word : word.subarray(0, into.length - at), at);
      at += word.length;
    }
  }
}

/** Sizes that are mostly small and sum up to about `total`. */
function sizes(random: Random, count: number, total: number): number[] {
  const raw = Array.from({ length: count }, () => {
    const normal = Math.sqrt(-2 * Math.log(random.part())) * Math.cos(2 * Math.PI * random.part());
    return Math.exp(normal * 1.8);
  });
  const sum = raw.reduce((all, one) => all + one, 0);
  return raw.map((one) => Math.min(Math.round((one / sum) * total), 64 << 20));
}

async function* layerTar(
  seed: number,
  { files, megabytes }: { files: number; megabytes: number },
): AsyncGenerator<Uint8Array> {
  const tar = new TarWriter();
  const random = new Random(seed * 7919 + 1);
  const content = new Content(seed * 104729 + 1);
  const common = { uid: 0, gid: 0, mtimeNs: MTIME * 1_000_000_000n };
  const name = (path: string): Uint8Array => Buffer.from(path);
  const directory = (path: string): Uint8Array =>
    tar.header({ ...common, name: name(path), type: "directory", mode: 0o755 });
  yield directory("usr");
  yield directory("usr/share");
  let dir = "";
  const all = sizes(random, files, megabytes * 1e6);
  for (const [i, size] of all.entries()) {
    if (i % 12 === 0) {
      dir = `usr/share/package-${seed}-${Math.floor(i / 48)}`;
      if (i % 48 === 0) yield directory(dir);
      else yield directory((dir = `${dir}/part-${(i / 12) % 4}`));
    }
    const path = `${dir}/file-${i}.${i % 3 === 0 ? "so" : "txt"}`;
    yield tar.header({ ...common, name: name(path), type: "file", mode: i % 9 === 0 ? 0o755 : 0o644, size });
    for (let left = size; left > 0;) {
      const chunk = new Uint8Array(Math.min(left, 1 << 20));
      content.fill(chunk);
      yield chunk;
      left -= chunk.length;
    }
    yield tar.padding(size);
    const link = { ...common, name: name(`${path}.link`), mode: 0o777, linkName: name(`file-${i}.so`) };
    if (i % 21 === 0) yield tar.header({ ...link, type: "symlink" });
    else if (i % 50 === 0) yield tar.header({ ...link, type: "hardlink", linkName: name(path) });
  }
  yield tar.end();
}

async function* hashed(source: AsyncIterable<Uint8Array>, hash: Hash, count: (n: number) => void) {
  for await (const chunk of source) {
    hash.update(chunk);
    count(chunk.length);
    yield chunk;
  }
}

interface MadeLayer {
  blob: Blob;
  diffId: string;
  unpacked: number;
}

async function makeLayer(dir: string, shape: ImageShape, index: number): Promise<MadeLayer> {
  const path = join(dir, `layer-${index}`);
  const record = `${path}.json`;
  if (existsSync(record)) return JSON.parse(readFileSync(record, "utf8")) as MadeLayer;
  const [diff, outer] = [createHash("sha256"), createHash("sha256")];
  let unpacked = 0;
  // Layers of different shapes must not be the same ones.
  const seed = index + 1 + 1000 * shape.layers.length;
  const source = hashed(layerTar(seed, shape.layers[index] as ImageShape["layers"][number]), diff, (n) => {
    unpacked += n;
  });
  const fd = openSync(path, "w");
  for await (const chunk of shape.compression === "gzip" ? gzip(source) : zstd(source)) {
    outer.update(chunk);
    for (let done = 0; done < chunk.length;) done += writeSync(fd, chunk, done);
  }
  closeSync(fd);
  const mediaType = `application/vnd.oci.image.layer.v1.tar+${shape.compression}`;
  const digest = `sha256:${outer.digest("hex")}`;
  const made = {
    blob: { digest, size: statSync(path).size, mediaType, path },
    diffId: `sha256:${diff.digest("hex")}`,
    unpacked,
  };
  await Bun.write(record, JSON.stringify(made));
  return made;
}

/** The image's blobs as files; made at the first call on this machine, which takes its time. */
export async function makeImage(shape: ImageShape): Promise<BenchImage> {
  const dir = join(CACHE, shape.name);
  mkdirSync(dir, { recursive: true });
  const made: MadeLayer[] = [];
  for (const index of shape.layers.keys()) made.push(await makeLayer(dir, shape, index));
  const config = {
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: made.map((layer) => layer.diffId) },
  };
  const bytes = Buffer.from(JSON.stringify(config));
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const path = join(dir, "config");
  await Bun.write(`${path}.new`, bytes);
  renameSync(`${path}.new`, path);
  const mediaType = "application/vnd.oci.image.config.v1+json";
  const describe = (blob: Blob) => ({ digest: blob.digest, size: blob.size, mediaType: blob.mediaType });
  const configBlob = { digest, size: bytes.length, mediaType, path };
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: describe(configBlob),
      layers: made.map(({ blob }) => describe(blob)),
    }),
  );
  const unpacked = made.reduce((sum, layer) => sum + layer.unpacked, 0);
  return { shape, layers: made.map(({ blob }) => blob), config: configBlob, manifest, unpacked };
}

/** Puts the image into the registry as HOST/bench/NAME:1 and returns that name. */
export async function upload(host: string, image: BenchImage): Promise<string> {
  const name = `${host}/bench/${image.shape.name}:1`;
  const ctx = createCtx();
  const client = openRegistry(parseReference(name));
  for (const { path, ...blob } of [...image.layers, image.config]) {
    await client.pushBlob(ctx, blob as never, () => Bun.file(path).stream() as never);
  }
  await client.pushManifest(ctx, "1", "application/vnd.oci.image.manifest.v1+json", image.manifest);
  return name;
}
