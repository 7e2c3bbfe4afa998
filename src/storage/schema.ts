/**
 * Tables of the store. A row is written only after the file or directory it speaks of is durable,
 * and goes before the file does, so that at any instant every row has its file; files without a row are leftovers.
 */
export const storageSchema = `
CREATE TABLE IF NOT EXISTS blobs (
  digest  TEXT PRIMARY KEY,
  size    INTEGER NOT NULL,
  created TEXT NOT NULL
) WITHOUT ROWID;

-- What a manifest's blob needs: its config and layers.
CREATE TABLE IF NOT EXISTS blob_refs (
  parent TEXT NOT NULL,
  child  TEXT NOT NULL,
  PRIMARY KEY (parent, child)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS layers (
  chain_id   TEXT PRIMARY KEY,
  diff_id    TEXT NOT NULL,
  parent     TEXT,
  -- What it was unpacked from. NULL: it was made here and its tar can be made again, tar_size bytes long.
  blob       TEXT,
  media_type TEXT,
  tar_size   INTEGER,
  size       INTEGER NOT NULL,
  -- Allocated bytes as du counts them; NULL until somebody has counted.
  disk       INTEGER,
  -- 1: nothing of the layers below it shows.
  opaque     INTEGER NOT NULL DEFAULT 0,
  created    TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS images (
  id              TEXT PRIMARY KEY,
  manifest_digest TEXT NOT NULL,
  chain_id        TEXT,
  -- The config's bytes once more, so that run needs no file of the content store.
  config          BLOB NOT NULL,
  created         TEXT NOT NULL,
  stored          TEXT NOT NULL,
  size            INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS images_manifest ON images (manifest_digest);

CREATE TABLE IF NOT EXISTS image_names (
  name     TEXT PRIMARY KEY,
  image_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS image_names_image ON image_names (image_id);

CREATE TABLE IF NOT EXISTS repo_digests (
  repo     TEXT NOT NULL,
  digest   TEXT NOT NULL,
  -- Of an image; or the digest of a document. With another digest than its own the row says where something that it lists can be had.
  image_id TEXT NOT NULL,
  PRIMARY KEY (repo, digest, image_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS repo_digests_image ON repo_digests (image_id);

-- Documents that are no image of their own: indexes (manifest lists) and artifacts. Their bytes are blobs, what they list is in blob_refs.
CREATE TABLE IF NOT EXISTS manifests (
  digest        TEXT PRIMARY KEY,
  media_type    TEXT NOT NULL,
  -- "index" or "artifact".
  kind          TEXT NOT NULL,
  artifact_type TEXT,
  subject       TEXT,
  stored        TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS manifests_subject ON manifests (subject);

-- One name space with image_names: a name is in one of the two.
CREATE TABLE IF NOT EXISTS manifest_names (
  name   TEXT PRIMARY KEY,
  digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS manifest_names_digest ON manifest_names (digest);

-- Blobs of which a part is there, at ingest/ALGORITHM-HEX.part, for the next attempt to go on with.
CREATE TABLE IF NOT EXISTS partials (
  digest  TEXT PRIMARY KEY,
  -- Bytes of the whole.
  size    INTEGER NOT NULL,
  updated TEXT NOT NULL
) WITHOUT ROWID;

-- What a layer's tar becomes in a compression ("gzip:6"): a hint that outlives the blob.
CREATE TABLE IF NOT EXISTS layer_variants (
  diff_id     TEXT NOT NULL,
  compression TEXT NOT NULL,
  digest      TEXT NOT NULL,
  size        INTEGER NOT NULL,
  PRIMARY KEY (diff_id, compression)
) WITHOUT ROWID;

-- Repositories ("quay.io/x/y") that have been seen to have a blob: a hint for mounting it from there.
CREATE TABLE IF NOT EXISTS blob_origins (
  digest TEXT NOT NULL,
  repo   TEXT NOT NULL,
  PRIMARY KEY (digest, repo)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS leases (
  id         TEXT PRIMARY KEY,
  kind       TEXT NOT NULL,
  -- Relative to the store's root; '' where the lease only protects content.
  path       TEXT NOT NULL,
  pid        INTEGER NOT NULL,
  start_time INTEGER NOT NULL,
  boot_id    TEXT NOT NULL,
  created    TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS lease_refs (
  lease  TEXT NOT NULL,
  kind   TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (lease, kind, digest)
) WITHOUT ROWID;
`;
