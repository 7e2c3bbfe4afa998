/** How people name an image of the store, turned into look-ups. Pure but for the queries it is given. */
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
export function splitRepoDigest(text: string): { repo: string; digest: Digest } {
  const reference = parseReference(text);
  if (reference.digest === undefined) {
    throw fail("invalid-argument", `"${text}" has no digest`, { reason: "digest-missing" });
  }
  return { repo: repositoryName(reference), digest: reference.digest };
}

/** What a text turned out to be: by a name (`name` is its full form) or by an id or a digest. */
export interface Found {
  id: Digest;
  name?: string;
}

/**
 * In this order: exact name (docker.io, then localhost for a short one), "repo@digest", id or
 * unique beginning of an id, digest of a manifest. Errors: conflict for an ambiguous id.
 */
export function findImage(db: Db, text: string): Found | undefined {
  return isDigest(text) ? byDigest(db, text) : (byReference(db, text) ?? byIdPrefix(db, text));
}

function byReference(db: Db, text: string): Found | undefined {
  let reference;
  try {
    reference = parseReference(text);
  } catch {
    // No name; it may still be the beginning of an id.
    return undefined;
  }
  if (reference.digest !== undefined) return byRepoDigest(db, repositoryName(reference), reference.digest);
  const name = formatReference(withDefaultTag(reference));
  const local = isFullyQualified(text)
    ? name
    : formatReference(withDefaultTag(parseReference(`localhost/${text}`)));
  const rows = db.all<{ name: string; image_id: string }>(
    "SELECT name, image_id FROM image_names WHERE name IN (?, ?)",
    name,
    local,
  );
  const row = rows.find((candidate) => candidate.name === name) ?? rows[0];
  return row === undefined ? undefined : { id: row.image_id, name: row.name };
}

function byRepoDigest(db: Db, repo: string, digest: Digest): Found | undefined {
  const row = db.get<{ id: string }>(
    `SELECT i.id FROM repo_digests r JOIN images i ON i.id = r.image_id
     WHERE r.repo = ? AND r.digest = ? ORDER BY i.stored DESC LIMIT 1`,
    repo,
    digest,
  );
  if (row !== undefined) return { id: row.id };
  // Loaded from an archive, say: the name is of this repository and the manifest has this digest.
  const named = db.get<{ id: string }>(
    `SELECT i.id FROM images i JOIN image_names n ON n.image_id = i.id
     WHERE i.manifest_digest = ? AND n.name > ? AND n.name < ? LIMIT 1`,
    digest,
    `${repo}:`,
    `${repo};`,
  );
  return named === undefined ? undefined : { id: named.id };
}

function byDigest(db: Db, digest: Digest): Found | undefined {
  const row =
    db.get<{ id: string }>("SELECT id FROM images WHERE id = ?", digest) ??
    db.get<{ id: string }>(
      "SELECT id FROM images WHERE manifest_digest = ? ORDER BY stored DESC LIMIT 1",
      digest,
    );
  return row === undefined ? undefined : { id: row.id };
}

function byIdPrefix(db: Db, text: string): Found | undefined {
  const match = /^(?:(sha256|sha512):)?([0-9a-f]+)$/.exec(text);
  if (match === null) return undefined;
  const algorithm = match[1] === "sha512" ? "sha512" : "sha256";
  const hex = match[2] as string;
  if (hex.length > hexLength(algorithm)) return undefined;
  const rows = db.all<{ id: string }>(
    "SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2",
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
  return rows[0] === undefined ? undefined : { id: rows[0].id };
}
