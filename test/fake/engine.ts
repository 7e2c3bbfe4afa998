/** A real engine on a store of its own, gone with the scope; and images to put into registries and archives. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { TarWriter } from "../../src/archive/tar-writer.ts";
import { createCtx } from "../../src/core/ctx.ts";
import { type Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/open.ts";
import { digestOf } from "../../src/image/digest.ts";
import type { Descriptor } from "../../src/image/image.ts";
import { tempDir } from "./temp-dir.ts";

export interface EngineFixture extends Disposable {
  engine: Engine;
  /** Scratch directory beside the store. */
  path: string;
  file(name: string, content: string | Uint8Array): string;
}

const MAIN = join(import.meta.dir, "../../src/cli/main.ts");

export function engineFixture(part: string): EngineFixture {
  const directory = tempDir(part);
  const file = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(directory.path, name), content);
    return join(directory.path, name);
  };
  const program = [process.execPath, MAIN];
  const engine = openEngine(createCtx(), {
    root: join(directory.path, "root"),
    run: join(directory.path, "run"),
    registriesConf: file("registries.conf", ""),
    authFile: join(directory.path, "no-auth.json"),
    globalArgv: program,
    programArgv: program,
  });
  return {
    engine,
    path: directory.path,
    file,
    [Symbol.dispose]: () => {
      engine.close();
      directory[Symbol.dispose]();
    },
  };
}

/** A tar of regular files. */
export function tarOf(files: Record<string, string | Uint8Array>): Uint8Array {
  const tar = new TarWriter();
  const parts: Uint8Array[] = [];
  for (const [name, content] of Object.entries(files)) {
    const bytes = Buffer.from(content as string);
    parts.push(tar.header({ name: Buffer.from(name), type: "file", mode: 0o644, size: bytes.length }));
    parts.push(bytes, tar.padding(bytes.length));
  }
  return Buffer.concat([...parts, tar.end()]);
}

export interface MadeImage {
  manifest: Uint8Array;
  manifestDigest: string;
  mediaType: string;
  config: Uint8Array;
  configDigest: string;
  layers: Uint8Array[];
  /** All of them by digest. */
  blobs: Map<string, Uint8Array>;
}

export type LayerFormat = "gzip" | "zstd" | "none";

const SUFFIX = {
  oci: { gzip: "+gzip", zstd: "+zstd", none: "" },
  docker: { gzip: ".gzip", zstd: ".zstd", none: "" },
};

const TYPES = {
  oci: {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar",
  },
  docker: {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar",
  },
};

/** An image of these layers (tars), with the manifest indented so that nobody's JSON writer gives the same bytes. */
export function makeImage(
  tars: Uint8Array[],
  options: { family?: "oci" | "docker"; formats?: LayerFormat[]; config?: object } = {},
): MadeImage {
  const family = options.family ?? "oci";
  const types = TYPES[family];
  const formats = tars.map((_, i) => options.formats?.[i] ?? "gzip");
  const layers = tars.map((tar, i) => compressed(tar, formats[i] as LayerFormat));
  const config = Buffer.from(
    `${JSON.stringify({
      created: "2026-01-02T03:04:05Z",
      architecture: "amd64",
      os: "linux",
      config: { Cmd: ["/bin/true"] },
      rootfs: { type: "layers", diff_ids: tars.map((tar) => digestOf(tar)) },
      ...options.config,
    })}\n`,
  );
  const layerType = (i: number) => types.layer + SUFFIX[family][formats[i] as LayerFormat];
  const document = {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: describe(types.config, config),
    layers: layers.map((layer, i) => describe(layerType(i), layer)),
    annotations: { "org.example.unknown": "kept" },
  };
  const manifest = Buffer.from(JSON.stringify(document, null, 5));
  const blobs = new Map([...layers, config, manifest].map((bytes) => [digestOf(bytes), bytes]));
  return {
    manifest,
    manifestDigest: digestOf(manifest),
    mediaType: types.manifest,
    config,
    configDigest: digestOf(config),
    layers,
    blobs,
  };
}

function compressed(tar: Uint8Array, format: LayerFormat): Uint8Array {
  if (format === "gzip") return gzipSync(tar);
  return format === "zstd" ? zstdCompressSync(tar) : tar;
}

export function describe(mediaType: string, bytes: Uint8Array): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

export async function* streamOf(bytes: Uint8Array, step = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += step) {
    await Promise.resolve();
    yield bytes.slice(at, at + step);
  }
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part.slice());
  return Buffer.concat(parts);
}
