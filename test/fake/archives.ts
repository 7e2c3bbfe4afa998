/** Archives of images, right and wrong. */
import { type TarHeader, TarWriter } from "../../src/archive/tar-writer.ts";
import { digestHex } from "../../src/image/digest.ts";
import type { MadeImage } from "./engine.ts";

/** A tar of headers and contents as they are given. */
export function rawTar(
  ...members: (Omit<TarHeader, "name"> & { name: string; bytes?: Uint8Array | string })[]
): Uint8Array {
  const tar = new TarWriter();
  const parts = members.flatMap(({ name, bytes = "", ...header }) => {
    const content = Buffer.from(bytes as string);
    return [
      tar.header({ ...header, name: Buffer.from(name), size: content.length }),
      content,
      tar.padding(content.length),
    ];
  });
  return Buffer.concat([...parts, tar.end()]);
}

export const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Docker's archive before version 25. */
export function dockerArchive(
  image: MadeImage,
  tars: Uint8Array[],
  tags: string[] | null,
): Record<string, string | Uint8Array> {
  const config = `${digestHex(image.configDigest)}.json`;
  const files: Record<string, string | Uint8Array> = { [config]: image.config, repositories: "{}" };
  const Layers = tars.map((tar, i) => {
    files[`layer${i}/VERSION`] = "1.0";
    files[`layer${i}/json`] = "{}";
    files[`layer${i}/layer.tar`] = tar;
    return `layer${i}/layer.tar`;
  });
  files["manifest.json"] = JSON.stringify([{ Config: config, RepoTags: tags, Layers }]);
  return files;
}
