/** Indexes among images: how one is listed. */
import type { ImageConfig } from "../image/image.ts";
import type { ImageRecord, ManifestRecord } from "../storage/storage.ts";
import { entryImage } from "../storage/index-entry.ts";
import type { Engine } from "./engine.ts";
import type { ImageSummary } from "./images.ts";

type Listed = Omit<ImageSummary, "name">;

/** The images with the store's indexes; without those that have no name but a place in an index, unless `all`. */
export function withIndexes(
  engine: Engine,
  images: ImageRecord[],
  { all, used }: { all: boolean; used: Map<string, number> },
): Listed[] {
  const indexes = engine.manifests.list("index").filter((index) => isTop(engine, index));
  const listed = images.map((record): Listed => ({ record, containers: used.get(record.id) ?? 0 }));
  if (indexes.length === 0) return listed;
  const members = all ? new Set<string>() : engine.manifests.allMembers();
  const shown = listed.filter(({ record }) => record.names.length > 0 || !members.has(record.id));
  return [...shown, ...indexes.map((index) => summaryOf(engine, index, used))];
}

/** Not merely within another. */
function isTop(engine: Engine, { names, repoDigests, digest }: ManifestRecord): boolean {
  if (names.length > 0 || repoDigests.length > 0) return true;
  const sql = "SELECT 1 FROM blob_refs r JOIN manifests m ON m.digest = r.parent WHERE r.child = ?";
  return engine.db.get(sql, digest) === undefined;
}

function summaryOf(engine: Engine, index: ManifestRecord, used: Map<string, number>): Listed {
  const members = engine.manifests.members(index.digest).flatMap((id) => engine.images.get(id) ?? []);
  const containers = members.reduce((sum, { id }) => sum + (used.get(id) ?? 0), 0);
  return { record: asImage(engine, index, members), containers, index };
}

/** What an image of the index's names would say. Made when that for this host was; as big as what it alone has. */
function asImage(engine: Engine, index: ManifestRecord, members: ImageRecord[]): ImageRecord {
  const own = members.filter(({ names }) => names.length === 0);
  const id = entryImage(engine.store, index.digest);
  const created = members.find((image) => image.id === id)?.created ?? index.stored;
  const config: ImageConfig = {
    created,
    architecture: "",
    os: "",
    config: {},
    rootfs: { type: "layers", diff_ids: [] },
    history: [],
  };
  return {
    id: index.digest,
    manifestDigest: index.digest,
    // Nobody asks an entry of a list for its layers.
    manifest: {
      schemaVersion: 2,
      mediaType: index.mediaType,
      config: { mediaType: "", digest: index.digest, size: 0 },
      layers: [],
    },
    config,
    names: index.names,
    repoDigests: index.repoDigests,
    created,
    size: blobBytes(engine, index, members) + own.reduce((sum, { size }) => sum + size, 0),
  };
}

/** Of the documents, and of the layers that no image here has unpacked. */
function blobBytes(engine: Engine, { digest }: ManifestRecord, members: ImageRecord[]): number {
  const row = engine.db.get<{ bytes: number }>(
    `WITH RECURSIVE needed(id) AS (
       SELECT ?1 UNION SELECT r.child FROM needed CROSS JOIN blob_refs r ON r.parent = needed.id
     ) SELECT coalesce(sum(b.size), 0) AS bytes FROM needed CROSS JOIN blobs b ON b.digest = needed.id
       WHERE b.digest NOT IN (SELECT l.child FROM json_each(?2) i CROSS JOIN blob_refs l ON l.parent = i.value)`,
    digest,
    JSON.stringify(members.map(({ manifestDigest }) => manifestDigest)),
  );
  return row?.bytes ?? 0;
}
