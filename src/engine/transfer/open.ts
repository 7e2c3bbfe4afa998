/** Readers and writers by their place. Only what one place needs is loaded. */
import { existsSync, statSync } from "node:fs";
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import type { Reference } from "../../image/image.ts";
import type { RegistryOptions } from "../../registry/registry.ts";
import type { Lease } from "../../storage/storage.ts";
import type { Engine } from "../engine.ts";
import { registryOptions } from "../pull.ts";
import type { ImageReader, ImageWriter, Place } from "./transfer.ts";

export interface OpenReaderRequest {
  place: Place;
  registry: RegistryOptions;
  /** berth: layers made here are compressed. */
  compress: boolean;
  /** Protects what the reader makes in the store; the caller releases it after the reader. */
  lease: Lease;
  /** Told what the reader had to make different. */
  note?: (change: string) => void;
}

/** The caller disposes it. Errors: not-found, invalid-argument, data-loss, those of registries.conf. */
export async function openReader(ctx: Ctx, engine: Engine, request: OpenReaderRequest): Promise<ImageReader> {
  const { place } = request;
  switch (place.transport) {
    case "docker":
      return await registryReader(engine, request);
    case "berth": {
      const { BerthReader } = await import("./berth-reader.ts");
      return new BerthReader(engine, request);
    }
    case "dir": {
      const { DirReader } = await import("./dir-reader.ts");
      return new DirReader(place, await directoryLayout(engine, place));
    }
    case "oci": {
      const { LayoutReader } = await import("./layout-reader.ts");
      const layout = await directoryLayout(engine, place);
      return new LayoutReader(place, layout, () => layout[Symbol.dispose]());
    }
    case "oci-archive":
    case "docker-archive":
      return await archiveReader(ctx, engine, place);
  }
}

async function registryReader(engine: Engine, { place, registry }: OpenReaderRequest): Promise<ImageReader> {
  const [{ openRegistry }, { RegistryReader }] = await Promise.all([
    import("../../registry/client.ts"),
    import("./registry-place.ts"),
  ]);
  return new RegistryReader(
    place,
    openRegistry(place.reference as Reference, registryOptions(engine, registry)),
  );
}

async function directoryLayout(engine: Engine, { path, text }: Place) {
  const stat = statSync(path as string, { throwIfNoEntry: false });
  if (stat === undefined)
    throw fail("not-found", `"${text}": there is no such directory`, { reason: "ENOENT" });
  if (!stat.isDirectory()) {
    throw fail("invalid-argument", `"${text}": it is not a directory`, { reason: "ENOTDIR" });
  }
  const { DirectoryLayout } = await import("../load-layout.ts");
  return new DirectoryLayout(engine.sys, path as string);
}

async function archiveReader(ctx: Ctx, engine: Engine, place: Place): Promise<ImageReader> {
  const { TarFileLayout } = await import("./tar-file-layout.ts");
  if (!existsSync(place.path as string)) {
    throw fail("not-found", `"${place.text}": there is no such file`, { reason: "ENOENT" });
  }
  const layout = await TarFileLayout.open(ctx, engine, place.path as string);
  if (place.transport === "docker-archive") {
    const { DockerArchiveReader } = await import("./docker-archive-reader.ts");
    return await DockerArchiveReader.open(ctx, place, layout);
  }
  const { LayoutReader } = await import("./layout-reader.ts");
  return new LayoutReader(place, layout, () => layout[Symbol.dispose]());
}

export interface OpenWriterRequest {
  place: Place;
  registry: RegistryOptions;
  /** More names for the image, where the place has names: docker-archive and berth. */
  names: Reference[];
  /** The registry's repository the image comes from, if it comes from one. */
  source?: Reference;
}

/** The caller disposes it. Errors: already-exists, invalid-argument, permission-denied, those of registries.conf. */
export async function openWriter(ctx: Ctx, engine: Engine, request: OpenWriterRequest): Promise<ImageWriter> {
  const { place, registry, names } = request;
  if (names.length > 0 && place.transport !== "docker-archive" && place.transport !== "berth") {
    throw fail("invalid-argument", `"${place.text}" takes no additional tags`, { reason: "additional-tag" });
  }
  switch (place.transport) {
    case "docker": {
      const [{ openRegistry }, { RegistryWriter }] = await Promise.all([
        import("../../registry/client.ts"),
        import("./registry-place.ts"),
      ]);
      const options = registryOptions(engine, registry);
      return new RegistryWriter(place, openRegistry(place.reference as Reference, options));
    }
    case "berth": {
      const { BerthWriter } = await import("./berth-writer.ts");
      return new BerthWriter(engine, request);
    }
    case "dir": {
      const { DirWriter } = await import("./dir-writer.ts");
      return await DirWriter.open(ctx, engine.sys, place);
    }
    case "oci": {
      const { OciWriter } = await import("./oci-writer.ts");
      return await OciWriter.open(ctx, engine.sys, place);
    }
    case "oci-archive":
    case "docker-archive": {
      const { ArchiveWriter } = await import("./archive-writer.ts");
      return ArchiveWriter.open(engine.sys, { place, names });
    }
  }
}
