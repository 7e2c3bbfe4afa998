/**
 * How people name an image or a document of the store, turned into look-ups; and the one name space both share: a name is
 * in `image_names` or in `manifest_names`, never in both. Pure but for the queries it is given.
 */
import { fail } from "../core/error.ts";
import { hexLength, isDigest } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import {
  formatReference,
  isFullyQualified,
  parseReference,
  repositoryName,
  withDefaultTag,
} from "../image/reference.ts";
import type { Db } from "../sys/db.ts";

/** The form names are kept in: "docker.io/library/alpine:3.20". Errors: invalid-argument, also for a name with a digest. */
export function normalName(name: string): string {
  const reference = parseReference(name);
  if (reference.digest !== undefined) {
    throw fail("invalid-argument", `image name "${name}" has a digest`, {
      reason: "name-with-digest",
      hint: "a name given to an image is a repository and a tag",
    });
  }
  return formatReference(withDefaultTag(reference));
}

/** "repo@digest" in full form, split. Errors: invalid-argument. */
function splitRepoDigest(text: string): { repo: string; digest: Digest } {
  const reference = parseReference(text);
  if (reference.digest === undefined) {
    throw fail("invalid-argument", `"${text}" has no digest`, { reason: "digest-missing" });
  }
  return { repo: repositoryName(reference), digest: reference.digest };
}

/** Gives the name to an image; inside a transaction of the caller. */
export function setImageName(db: Db, name: string, id: Digest): void {
  db.run("DELETE FROM manifest_names WHERE name = ?", name);
  db.run(
    "INSERT INTO image_names (name, image_id) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id",
    name,
    id,
  );
}

/** Gives the name to a document; inside a transaction of the caller. */
export function setManifestName(db: Db, name: string, digest: Digest): void {
  db.run("DELETE FROM image_names WHERE name = ?", name);
  db.run(
    "INSERT INTO manifest_names (name, digest) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
    name,
    digest,
  );
}

/** `owner` is the id of an image or the digest of a document; inside a transaction of the caller. Errors: invalid-argument. */
export function addRepoDigest(db: Db, owner: Digest, text: string): void {
  const { repo, digest } = splitRepoDigest(text);
  db.run("INSERT OR IGNORE INTO repo_digests (repo, digest, image_id) VALUES (?, ?, ?)", repo, digest, owner);
}

/** What a text turned out to be: by a name (`name` is its full form) or by an id or a digest. */
export interface Found {
  /** An image's id or a document's digest. */
  id: Digest;
  kind: "image" | "manifest";
  name?: string;
}

/**
 * In this order: exact name (docker.io, then localhost for a short one), "repo@digest", id or unique beginning of
 * an id, digest of a manifest. Images come before documents, except by name. Errors: conflict for an ambiguous id.
 */
export function findImage(db: Db, text: string): Found | undefined {
  if (isDigest(text)) return imageByDigest(db, text) ?? manifestByDigest(db, text);
  return byReference(db, text, [imageByRepoDigest, manifestByRepoDigest]) ?? byIdPrefix(db, text);
}

/** As {@link findImage}, and never an image. */
export function findManifest(db: Db, text: string): Found | undefined {
  if (isDigest(text)) return manifestByDigest(db, text);
  const found = byReference(db, text, [manifestByRepoDigest]);
  // A name that is an image's is no beginning of a digest either.
  if (found !== undefined) return found.kind === "manifest" ? found : undefined;
  const prefixed = byIdPrefix(db, text);
  return prefixed?.kind === "manifest" ? prefixed : undefined;
}

type ByRepoDigest = (db: Db, repo: string, digest: Digest) => Found | undefined;

function byReference(db: Db, text: string, byDigest: ByRepoDigest[]): Found | undefined {
  let reference;
  try {
    reference = parseReference(text);
  } catch {
    // No name; it may still be the beginning of an id.
    return undefined;
  }
  const { digest } = reference;
  if (digest === undefined) return byName(db, text, formatReference(withDefaultTag(reference)));
  for (const find of byDigest) {
    const found = find(db, repositoryName(reference), digest);
    if (found !== undefined) return found;
  }
  return undefined;
}

function byName(db: Db, text: string, name: string): Found | undefined {
  const local = isFullyQualified(text)
    ? name
    : formatReference(withDefaultTag(parseReference(`localhost/${text}`)));
  const rows = db.all<Found & { name: string }>(
    `SELECT name, image_id AS id, 'image' AS kind FROM image_names WHERE name IN (?1, ?2)
     UNION ALL SELECT name, digest, 'manifest' FROM manifest_names WHERE name IN (?1, ?2)`,
    name,
    local,
  );
  return rows.find((candidate) => candidate.name === name) ?? rows[0];
}

function imageByRepoDigest(db: Db, repo: string, digest: Digest): Found | undefined {
  const row =
    db.get<{ id: string }>(
      `SELECT i.id FROM repo_digests r JOIN images i ON i.id = r.image_id
       WHERE r.repo = ? AND r.digest = ? ORDER BY i.stored DESC LIMIT 1`,
      repo,
      digest,
    ) ??
    // Loaded from an archive, say: the name is of this repository and the manifest has this digest.
    db.get<{ id: string }>(
      `SELECT i.id FROM images i JOIN image_names n ON n.image_id = i.id
       WHERE i.manifest_digest = ? AND n.name > ? AND n.name < ? LIMIT 1`,
      digest,
      `${repo}:`,
      `${repo};`,
    );
  return row === undefined ? undefined : { id: row.id, kind: "image" };
}

function manifestByRepoDigest(db: Db, repo: string, digest: Digest): Found | undefined {
  const row = db.get(
    `SELECT 1 FROM manifests m WHERE m.digest = ?1 AND (
       EXISTS (SELECT 1 FROM repo_digests r WHERE r.repo = ?2 AND r.digest = m.digest)
       OR EXISTS (SELECT 1 FROM manifest_names n WHERE n.digest = m.digest AND n.name > ?3 AND n.name < ?4))`,
    digest,
    repo,
    `${repo}:`,
    `${repo};`,
  );
  return row === undefined ? undefined : { id: digest, kind: "manifest" };
}

function imageByDigest(db: Db, digest: Digest): Found | undefined {
  const row =
    db.get<{ id: string }>("SELECT id FROM images WHERE id = ?", digest) ??
    db.get<{ id: string }>(
      "SELECT id FROM images WHERE manifest_digest = ? ORDER BY stored DESC LIMIT 1",
      digest,
    );
  return row === undefined ? undefined : { id: row.id, kind: "image" };
}

function manifestByDigest(db: Db, digest: Digest): Found | undefined {
  const row = db.get("SELECT 1 FROM manifests WHERE digest = ?", digest);
  return row === undefined ? undefined : { id: digest, kind: "manifest" };
}

function byIdPrefix(db: Db, text: string): Found | undefined {
  const match = /^(?:(sha256|sha512):)?([0-9a-f]+)$/.exec(text);
  if (match === null) return undefined;
  const algorithm = match[1] === "sha512" ? "sha512" : "sha256";
  const hex = match[2] as string;
  if (hex.length > hexLength(algorithm)) return undefined;
  const rows = db.all<Found>(
    `SELECT id, 'image' AS kind FROM images WHERE id >= ?1 AND id < ?2
     UNION ALL SELECT digest, 'manifest' FROM manifests WHERE digest >= ?1 AND digest < ?2 LIMIT 2`,
    `${algorithm}:${hex}`,
    // "g" follows the last hexadecimal digit.
    `${algorithm}:${hex}g`,
  );
  if (rows.length > 1) {
    throw fail("conflict", `image id "${text}" is ambiguous: more than one image begins with it`, {
      reason: "ambiguous-id",
      hint: "write more digits of the id",
    });
  }
  return rows[0];
}
