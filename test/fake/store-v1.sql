-- The schema of version 1, as the first stores had it: never to be changed.
CREATE TABLE IF NOT EXISTS blobs (
  digest  TEXT PRIMARY KEY,
  size    INTEGER NOT NULL,
  created TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blob_refs (
  parent TEXT NOT NULL,
  child  TEXT NOT NULL,
  PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS layers (
  chain_id   TEXT PRIMARY KEY,
  diff_id    TEXT NOT NULL,
  parent     TEXT,
  blob       TEXT,
  media_type TEXT,
  tar_size   INTEGER,
  size       INTEGER NOT NULL,
  disk       INTEGER,
  opaque     INTEGER NOT NULL DEFAULT 0,
  created    TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
  id              TEXT PRIMARY KEY,
  manifest_digest TEXT NOT NULL,
  chain_id        TEXT,
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
  image_id TEXT NOT NULL,
  PRIMARY KEY (repo, digest, image_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS repo_digests_image ON repo_digests (image_id);
CREATE TABLE IF NOT EXISTS leases (
  id         TEXT PRIMARY KEY,
  kind       TEXT NOT NULL,
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
CREATE TABLE IF NOT EXISTS networks (
  name TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  bridge TEXT NOT NULL UNIQUE,
  record TEXT NOT NULL            
) STRICT;
CREATE TABLE IF NOT EXISTS network_cursors (
  network TEXT NOT NULL REFERENCES networks(name) ON DELETE CASCADE,
  family INTEGER NOT NULL,        
  slot INTEGER NOT NULL,
  PRIMARY KEY (network, family)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS network_leases (
  network TEXT NOT NULL REFERENCES networks(name) ON DELETE CASCADE,
  family INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  address TEXT NOT NULL,
  container TEXT NOT NULL,
  PRIMARY KEY (network, family, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS network_leases_container ON network_leases(container);
CREATE TABLE IF NOT EXISTS network_attachments (
  container TEXT NOT NULL,
  position INTEGER NOT NULL,      
  network TEXT NOT NULL REFERENCES networks(name),
  container_name TEXT NOT NULL,
  netns TEXT NOT NULL,
  interface TEXT NOT NULL,
  host_veth TEXT NOT NULL,
  PRIMARY KEY (container, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS network_attachments_network ON network_attachments(network);
CREATE TABLE IF NOT EXISTS network_ports (
  protocol TEXT NOT NULL,
  first INTEGER NOT NULL,         
  last INTEGER NOT NULL,
  host_ip TEXT NOT NULL,          
  container_port INTEGER NOT NULL,
  container TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (protocol, first, host_ip)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS network_ports_container ON network_ports(container);
CREATE TABLE IF NOT EXISTS containers (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created TEXT NOT NULL,
  image_id TEXT,
  status TEXT NOT NULL,
  spec TEXT NOT NULL,
  state TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS containers_image ON containers (image_id);
CREATE TABLE IF NOT EXISTS sessions (
  id TEXT PRIMARY KEY,
  container TEXT NOT NULL,
  record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_container ON sessions (container);
CREATE TABLE IF NOT EXISTS operations (
  container TEXT PRIMARY KEY,
  verb TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_start INTEGER NOT NULL,
  boot_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ns INTEGER NOT NULL,
  type TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  name TEXT NOT NULL,
  attributes TEXT NOT NULL
);
PRAGMA user_version = 1;
