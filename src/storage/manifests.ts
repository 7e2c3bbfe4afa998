/** Documents that are no image of their own, in SQLite: indexes (manifest lists) and artifacts. Contract in storage.ts. */
import { fail } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import { now } from "../core/time.ts";
import { isDigest } from "../image/digest.ts";
import type { Descriptor, Digest, Index, Manifest } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, MAX_STORED_NESTING, parseManifest } from "../image/manifest.ts";
import type { Db } from "../sys/db.ts";
import type { BlobDeps } from "./blob-writer.ts";
import { ioError } from "./files.ts";
import { deleteFiles, forgetUnreachable } from "./gc.ts";
import { addRepoDigest, findManifest, normalName, setManifestName } from "./image-names.ts";
import { insertRefs, putSmallBlobs, verifyBytes } from "./small-blobs.ts";
import type {
  ContentStore,
  ManifestRecord,
  ManifestStore,
  PutManifestRequest,
  RemovedManifest,
} from "./storage.ts";

export interface ManifestDeps extends BlobDeps {
  content: ContentStore;
}

interface ManifestRow {
  digest: string;
  media_type: string;
  kind: "index" | "artifact";
  artifact_type: string | null;
  subject: string | null;
  stored: string;
  /** JSON arrays. */
  names: string;
  repo_digests: string;
}

const SELECT = `SELECT m.*,
  (SELECT json_group_array(name) FROM manifest_names WHERE digest = m.digest) AS names,
  (SELECT json_group_array(repo || '@' || digest) FROM repo_digests WHERE image_id = m.digest AND digest = m.digest) AS repo_digests
  FROM manifests m`;

export function createManifests(deps: ManifestDeps): ManifestStore {
  const { db } = deps;
  const record = (row: ManifestRow): ManifestRecord => toRecord(row, deps.content);
  const get = (digest: Digest): ManifestRecord | undefined => {
    const row = db.get<ManifestRow>(`${SELECT} WHERE m.digest = ?`, digest);
    return row === undefined ? undefined : record(row);
  };
  const find = (name: string): ManifestRecord | undefined => {
    const found = findManifest(db, name);
    return found === undefined ? undefined : get(found.id);
  };
  const must = (digest: Digest): void => {
    if (db.get("SELECT 1 FROM manifests WHERE digest = ?", digest) === undefined) throw notKnown(digest);
  };

  return {
    get,
    find,
    resolve: (name) => {
      const found = find(name);
      if (found === undefined) throw notKnown(name);
      return found;
    },
    list: (kind) => rows(db, kind).map(record),
    put: (request) => {
      put(deps, request);
      return get(request.digest) as ManifestRecord;
    },
    tag: (digest, name) => {
      const full = normalName(name);
      db.tx(() => {
        must(digest);
        setManifestName(db, full, digest);
      });
    },
    untag: (name) => untag(deps, name),
    addRepoDigest: (digest, repoDigest) =>
      db.tx(() => {
        must(digest);
        addRepoDigest(db, digest, repoDigest);
      }),
    remove: (digest, withImage = () => false) => {
      return collecting(deps, () => {
        must(digest);
        return forget(db, digest, withImage);
      });
    },
    members: (digest) => memberIds(db, digest),
    allMembers: () => new Set(ids(db, MEMBERS("SELECT digest FROM manifests"))),
    sources: (digest) => sources(db, digest),
  };
}

function rows(db: Db, kind: ManifestRecord["kind"] | undefined): ManifestRow[] {
  const order = "ORDER BY m.stored DESC, m.digest";
  return kind === undefined
    ? db.all<ManifestRow>(`${SELECT} ${order}`)
    : db.all<ManifestRow>(`${SELECT} WHERE m.kind = ? ${order}`, kind);
}

function ids(db: Db, sql: string, ...values: string[]): Digest[] {
  return db.all<{ id: string }>(sql, ...values).map((row) => row.id);
}

function sources(db: Db, digest: Digest): string[] {
  const sql = "SELECT DISTINCT repo FROM repo_digests WHERE digest = ? ORDER BY repo";
  return db.all<{ repo: string }>(sql, digest).map((row) => row.repo);
}

function notKnown(name: string): Error {
  return fail("not-found", `${name}: manifest list not known`, {
    reason: "manifest-not-known",
    data: { image: name },
  });
}

function toRecord(row: ManifestRow, content: ContentStore): ManifestRecord {
  let document: Manifest | Index | undefined;
  return {
    digest: row.digest,
    mediaType: row.media_type,
    kind: row.kind,
    ...(row.artifact_type === null ? {} : { artifactType: row.artifact_type }),
    ...(row.subject === null ? {} : { subject: row.subject }),
    names: JSON.parse(row.names) as string[],
    repoDigests: JSON.parse(row.repo_digests) as string[],
    stored: row.stored,
    get document() {
      return (document ??= parseManifest(content.read(row.digest, MAX_MANIFEST_BYTES), row.media_type));
    },
  };
}

function put(deps: ManifestDeps, request: PutManifestRequest): void {
  const { bytes, digest, mediaType } = request;
  if (!isDigest(digest)) throw fail("invalid-argument", `"${String(digest)}" is not a digest`);
  const document = parseManifest(bytes, mediaType);
  verifyBytes("manifest", bytes, { digest });
  const names = (request.names ?? []).map(normalName);
  try {
    putSmallBlobs(deps, new Map([[digest, bytes]]), () => {
      insertDocument(deps, digest, document);
      for (const name of names) setManifestName(deps.db, name, digest);
      for (const text of request.repoDigests ?? []) addRepoDigest(deps.db, digest, text);
    });
    failpoint("storage.manifest.put");
  } catch (error) {
    throw ioError(error, `cannot store manifest "${digest}"`);
  }
}

/** The row of a document and what it keeps alive; and so for the documents it lists, as far as they are here. */
function insertDocument(deps: ManifestDeps, digest: Digest, document: Manifest | Index, depth = 0): void {
  const index = isIndex(document);
  if (depth === 0 || index) insertRow(deps.db, digest, document);
  insertRefs(deps.db, digest, index ? document.manifests : [document.config, ...document.layers]);
  if (!index || depth === MAX_STORED_NESTING) return;
  for (const entry of document.manifests) {
    const listed = listedDocument(deps, entry);
    if (listed !== undefined) insertDocument(deps, entry.digest, listed, depth + 1);
  }
}

function insertRow(db: Db, digest: Digest, document: Manifest | Index): void {
  const artifactType =
    document.artifactType ?? (isIndex(document) ? undefined : document.config.mediaType || undefined);
  db.run(
    `INSERT INTO manifests (digest, media_type, kind, artifact_type, subject, stored) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (digest) DO UPDATE SET stored = excluded.stored`,
    digest,
    document.mediaType,
    isIndex(document) ? "index" : "artifact",
    artifactType ?? null,
    document.subject?.digest ?? null,
    now(),
  );
}

/** Undefined for what is not here, is not what the index says it is, or is known already. */
function listedDocument({ db, content }: ManifestDeps, entry: Descriptor): Manifest | Index | undefined {
  const row = db.get<{ size: number }>("SELECT size FROM blobs WHERE digest = ?", entry.digest);
  if (row === undefined || row.size !== entry.size || row.size > MAX_MANIFEST_BYTES) return undefined;
  if (db.get("SELECT 1 FROM blob_refs WHERE parent = ? LIMIT 1", entry.digest) !== undefined)
    return undefined;
  try {
    return parseManifest(content.read(entry.digest), entry.mediaType);
  } catch {
    // Damaged, or no manifest: whoever wants to use it is told.
    return undefined;
  }
}

function untag(deps: ManifestDeps, name: string): string {
  const found = findManifest(deps.db, name);
  const full = found?.name;
  if (found === undefined || full === undefined) throw notKnown(name);
  collecting(deps, () => {
    deps.db.run("DELETE FROM manifest_names WHERE name = ?", full);
    return { untagged: [full], images: [] };
  });
  return full;
}

/** Runs `body` in a durable transaction, and takes away what nothing needs after it. */
function collecting(
  deps: ManifestDeps,
  body: () => Pick<RemovedManifest, "untagged" | "images">,
): RemovedManifest {
  // Says to the next command, should this one be killed, that files without rows may be left.
  using _lease = deps.leases.take("gc");
  const { removed, freed } = deps.db.durable(() => {
    const outcome = body();
    return { removed: outcome, freed: forgetUnreachable(deps.db) };
  });
  failpoint("storage.manifest.forgotten");
  deleteFiles(deps, freed);
  return { ...removed, layers: freed.layers };
}

/** Names and what it is known as; the row goes with its blob, unless another document lists it. */
function forget(
  db: Db,
  digest: Digest,
  withImage: (id: Digest) => boolean,
): Pick<RemovedManifest, "untagged" | "images"> {
  const members = memberIds(db, digest);
  const untagged = db
    .all<{ name: string }>("SELECT name FROM manifest_names WHERE digest = ? ORDER BY name", digest)
    .map((row) => row.name);
  db.run("DELETE FROM manifest_names WHERE digest = ?", digest);
  db.run("DELETE FROM repo_digests WHERE image_id = ?", digest);
  // What it is attached to would keep it otherwise.
  db.run(
    "DELETE FROM manifests WHERE digest = ? AND subject IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob_refs WHERE child = digest)",
    digest,
  );
  const kept = new Set(ids(db, MEMBERS(KEPT_INDEXES)));
  const nameless = members.filter(
    (id) => !kept.has(id) && db.get("SELECT 1 FROM image_names WHERE image_id = ? LIMIT 1", id) === undefined,
  );
  const images = nameless.filter(withImage);
  for (const id of images) {
    db.run("DELETE FROM repo_digests WHERE image_id = ?", id);
    db.run("DELETE FROM images WHERE id = ?", id);
  }
  return { untagged, images };
}

/** Documents that stay: named, known at a registry, or within such a one. */
const KEPT_INDEXES = `WITH RECURSIVE kept(id) AS (
  SELECT digest FROM manifest_names
  UNION SELECT digest FROM repo_digests WHERE image_id = digest
  UNION SELECT m.digest FROM kept JOIN blob_refs r ON r.parent = kept.id JOIN manifests m ON m.digest = r.child
) SELECT id AS digest FROM kept`;

/** Ids of the images that the selected documents list: an index's manifest's config. */
const MEMBERS = (documents: string): string =>
  `SELECT DISTINCT i.id FROM (${documents}) d
   JOIN blob_refs listed ON listed.parent = d.digest
   JOIN blob_refs needed ON needed.parent = listed.child
   JOIN images i ON i.id = needed.child`;

function memberIds(db: Db, digest: Digest): Digest[] {
  const within = `WITH RECURSIVE within(id) AS (
    SELECT ? UNION SELECT m.digest FROM within JOIN blob_refs r ON r.parent = within.id JOIN manifests m ON m.digest = r.child
  ) SELECT id AS digest FROM within`;
  return ids(db, MEMBERS(within), digest);
}
