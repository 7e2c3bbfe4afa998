/** Images: names, configs and what they need, in SQLite. Contract in storage.ts. */
import { fail } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import { now } from "../core/time.ts";
import { chainIds } from "../image/chain.ts";
import { parseConfig } from "../image/config.ts";
import type { Digest, ImageConfig, Manifest } from "../image/image.ts";
import { isIndex, parseManifest } from "../image/manifest.ts";
import { layerElsewhere } from "./additional.ts";
import type { Db } from "../sys/db.ts";
import type { BlobDeps } from "./blob-writer.ts";
import { deleteFiles, forgetUnreachable } from "./gc.ts";
import { ioError } from "./files.ts";
import { addRepoDigest, findImage, normalName, setImageName } from "./image-names.ts";
import { insertRefs, putSmallBlobs, verifyBytes } from "./small-blobs.ts";
import type {
  ContentStore,
  ImageRecord,
  ImageStore,
  PutImageRequest,
  RemoveImageOptions,
} from "./storage.ts";

export interface ImageDeps extends BlobDeps {
  content: ContentStore;
  /** Root of this store where it is an additional one. */
  readOnlyRoot?: string | undefined;
}

interface ImageRow {
  id: string;
  manifest_digest: string;
  chain_id: string | null;
  config: Uint8Array;
  created: string;
  size: number;
  /** JSON arrays. */
  names: string;
  repo_digests: string;
}

const NO_DATE = "0001-01-01T00:00:00Z";

const SELECT = `SELECT i.id, i.manifest_digest, i.chain_id, i.config, i.created, i.size,
  (SELECT json_group_array(name) FROM image_names WHERE image_id = i.id) AS names,
  (SELECT json_group_array(repo || '@' || digest) FROM repo_digests WHERE image_id = i.id) AS repo_digests
  FROM images i`;

export function createImages(deps: ImageDeps): ImageStore {
  const { db } = deps;
  const get = (id: Digest): ImageRecord | undefined => {
    const row = db.get<ImageRow>(`${SELECT} WHERE i.id = ?`, id);
    return row === undefined ? undefined : toRecord(row, deps);
  };
  const find = (name: string): ImageRecord | undefined => {
    const found = findImage(db, name);
    if (found?.kind !== "manifest") return found === undefined ? undefined : get(found.id);
    const { entryImage } = require("./index-entry.ts") as typeof import("./index-entry.ts");
    const id = entryImage(deps, found.id);
    const row = id === undefined ? undefined : db.get<ImageRow>(`${SELECT} WHERE i.id = ?`, id);
    return row === undefined ? undefined : toRecord(withNamesOf(db, row, found.id), deps);
  };
  const must = (id: Digest): void => {
    if (db.get("SELECT 1 FROM images WHERE id = ?", id) === undefined) throw notKnown(id);
  };

  return {
    get,
    find,
    resolve: (name) => {
      const record = find(name);
      if (record === undefined) throw notKnown(name);
      return record;
    },
    list: () => db.all<ImageRow>(`${SELECT} ORDER BY i.created DESC, i.id`).map((row) => toRecord(row, deps)),
    put: (request) => {
      const id = put(deps, request);
      return get(id) as ImageRecord;
    },
    tag: (id, name) => {
      const full = normalName(name);
      db.tx(() => {
        must(id);
        setImageName(db, full, id);
      });
    },
    untag: (name) => {
      return db.tx(() => {
        const found = findImage(db, name);
        const full = found?.kind === "image" ? found.name : undefined;
        if (full === undefined) throw notKnown(name);
        db.run("DELETE FROM image_names WHERE name = ?", full);
        return full;
      });
    },
    addRepoDigest: (id, repoDigest) =>
      db.tx(() => {
        must(id);
        addRepoDigest(db, id, repoDigest);
      }),
    remove: (name, options) => remove(deps, name, options),
  };
}

/** The image as a part of the index that it was found by: that has names for it, and digests at registries. */
function withNamesOf(db: Db, row: ImageRow, index: Digest): ImageRow {
  const more = db.get<{ names: string; repo_digests: string }>(
    `SELECT (SELECT json_group_array(name) FROM manifest_names WHERE digest = ?1) AS names,
       (SELECT json_group_array(repo || '@' || digest) FROM repo_digests WHERE image_id = ?1 AND digest = ?1) AS repo_digests`,
    index,
  ) as { names: string; repo_digests: string };
  const both = (own: string, others: string): string =>
    JSON.stringify([...new Set([...(JSON.parse(own) as string[]), ...(JSON.parse(others) as string[])])]);
  return {
    ...row,
    names: both(row.names, more.names),
    repo_digests: both(row.repo_digests, more.repo_digests),
  };
}

function notKnown(name: string): Error {
  return fail("not-found", `${name}: image not known`, { reason: "image-not-known", data: { image: name } });
}

function toRecord(row: ImageRow, { content, readOnlyRoot }: ImageDeps): ImageRecord {
  let config: ImageConfig | undefined;
  let manifest: Manifest | undefined;
  return {
    id: row.id,
    manifestDigest: row.manifest_digest,
    get manifest() {
      return (manifest ??= imageManifest(content.read(row.manifest_digest)));
    },
    get config() {
      return (config ??= parseConfig(row.config));
    },
    ...(row.chain_id === null ? {} : { chainId: row.chain_id }),
    names: JSON.parse(row.names) as string[],
    repoDigests: JSON.parse(row.repo_digests) as string[],
    created: row.created,
    size: row.size,
    ...(readOnlyRoot === undefined ? {} : { additionalStore: readOnlyRoot }),
  };
}

function imageManifest(bytes: Uint8Array): Manifest {
  const parsed = parseManifest(bytes);
  if (!isIndex(parsed)) return parsed;
  throw fail("invalid-argument", "an image index where an image manifest was expected", {
    reason: "index-for-manifest",
    hint: "choose one manifest of the index by platform first",
  });
}

/** Parsed and checked against each other: nothing of the request is trusted from here on. */
function verify(request: PutImageRequest): { manifest: Manifest; config: ImageConfig } {
  const manifest = imageManifest(request.manifestBytes);
  const { digest: configDigest, size } = manifest.config;
  verifyBytes("manifest", request.manifestBytes, { digest: request.manifestDigest });
  verifyBytes("image config", request.configBytes, { digest: configDigest, size });
  const config = parseConfig(request.configBytes);
  const layers = config.rootfs.diff_ids.length;
  if (layers !== manifest.layers.length) {
    throw fail(
      "invalid-argument",
      `image config "${configDigest}" names ${layers} layers, its manifest ${manifest.layers.length}`,
      { reason: "layer-count-mismatch" },
    );
  }
  return { manifest, config };
}

function put(deps: ImageDeps, request: PutImageRequest): Digest {
  const { manifest, config } = verify(request);
  const names = (request.names ?? []).map(normalName);
  const id = manifest.config.digest;
  const blobs = new Map([
    [request.manifestDigest, request.manifestBytes],
    [id, request.configBytes],
  ]);
  try {
    putSmallBlobs(deps, blobs, () => {
      insertRefs(deps.db, request.manifestDigest, [manifest.config, ...manifest.layers]);
      insertImage(deps, {
        id,
        manifestDigest: request.manifestDigest,
        bytes: request.configBytes,
        config,
      });
      for (const name of names) setImageName(deps.db, name, id);
      for (const repoDigest of request.repoDigests ?? []) addRepoDigest(deps.db, id, repoDigest);
    });
    failpoint("storage.image.put");
  } catch (error) {
    throw ioError(error, `cannot store image "${id}"`);
  }
  return id;
}

function insertImage(
  { db, additional }: ImageDeps,
  image: { id: Digest; manifestDigest: Digest; bytes: Uint8Array; config: ImageConfig },
): void {
  const chain = chainIds(image.config.rootfs.diff_ids);
  let size = 0;
  for (const layer of chain) {
    const row =
      db.get<{ size: number }>("SELECT size FROM layers WHERE chain_id = ?", layer) ??
      layerElsewhere(additional, layer);
    if (row === undefined) {
      throw fail("not-found", `layer "${layer}" of image "${image.id}" is not in the store`, {
        reason: "layer-unknown",
      });
    }
    size += row.size;
  }
  db.run(
    `INSERT INTO images (id, manifest_digest, chain_id, config, created, stored, size) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET manifest_digest = excluded.manifest_digest, stored = excluded.stored`,
    image.id,
    image.manifestDigest,
    chain.at(-1) ?? null,
    image.bytes,
    image.config.created ?? NO_DATE,
    now(),
    size,
  );
}

interface Removal {
  untagged: string[];
  deleted: Digest[];
  layers: Digest[];
}

function remove(deps: ImageDeps, name: string, options: RemoveImageOptions): Removal {
  const { db } = deps;
  // Says to the next command, should this one be killed, that files without rows may be left.
  using _lease = deps.leases.take("gc");
  const { removal, unreachable } = db.durable(() => {
    const outcome = forget(deps, name, options);
    const gone = outcome.deleted.length === 0 ? undefined : forgetUnreachable(db);
    return { removal: { ...outcome, layers: gone?.layers ?? [] }, unreachable: gone };
  });
  failpoint("storage.image.forgotten");
  if (unreachable !== undefined) deleteFiles(deps, unreachable);
  return removal;
}

/** The rows only. */
function forget(deps: ImageDeps, name: string, { force, allNames, inUse }: RemoveImageOptions): Removal {
  const { db } = deps;
  const found = findImage(db, name);
  if (found?.kind !== "image") throw notKnown(name);
  const { id } = found;
  const names = db
    .all<{ name: string }>("SELECT name FROM image_names WHERE image_id = ? ORDER BY name", id)
    .map((row) => row.name);

  if (found.name !== undefined && names.length > 1) {
    db.run("DELETE FROM image_names WHERE name = ?", found.name);
    return { untagged: [found.name], deleted: [], layers: [] };
  }
  if (names.length > 1 && !force && allNames !== true) throw severalNames(id, name, names);
  const users = inUse(id);
  if (users.length > 0 && !force) throw imageInUse(id, name, users);

  db.run("DELETE FROM image_names WHERE image_id = ?", id);
  if (users.length > 0) return { untagged: names, deleted: [], layers: [] };
  db.run("DELETE FROM repo_digests WHERE image_id = ?", id);
  db.run("DELETE FROM images WHERE id = ?", id);
  return { untagged: names, deleted: [id], layers: [] };
}

function severalNames(id: Digest, name: string, names: string[]): Error {
  return fail(
    "in-use",
    `unable to delete image "${name}" by ID with more than one tag (${names.join(", ")})`,
    {
      reason: "image-has-names",
      hint: "remove it by name, or with --force",
      data: { id, names },
    },
  );
}

function imageInUse(id: Digest, name: string, users: string[]): Error {
  const short = users.map((user) => user.slice(0, 12)).join(", ");
  return fail("in-use", `image "${name}" is in use by container ${short}`, {
    reason: "image-in-use",
    hint: "remove the container first, or use --force",
    data: { id, containers: users },
  });
}
