// Stores that an older berth has made.
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { engineFixture } from "../../test/fake/engine.ts";
import { digestOf } from "../image/digest.ts";
import { createCtx } from "../core/ctx.ts";
import { check } from "./system.ts";

const ctx = createCtx();

/** An image without layers and a container of it, as version 1 wrote them. */
function version1(root: string): string {
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [] },
  });
  const id = digestOf(config);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const configType = "application/vnd.oci.image.config.v1+json";
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType,
    config: { mediaType: configType, digest: id, size: config.length },
    layers: [],
  });
  const digest = digestOf(manifest);
  mkdirSync(join(root, "blobs/sha256"), { recursive: true });
  for (const text of [config, manifest])
    writeFileSync(join(root, "blobs/sha256", digestOf(text).slice(7)), text);
  const db = new Database(join(root, "berth.db"), { create: true });
  db.run("PRAGMA journal_mode = WAL");
  db.run(readFileSync(join(import.meta.dir, "../../test/fake/store-v1.sql"), "utf8"));
  const time = "2026-01-02T03:04:05Z";
  for (const text of [config, manifest])
    db.run("INSERT INTO blobs VALUES (?, ?, ?)", [digestOf(text), text.length, time]);
  db.run("INSERT INTO blob_refs VALUES (?, ?)", [digest, id]);
  db.run(
    "INSERT INTO images (id, manifest_digest, chain_id, config, created, stored, size) VALUES (?, ?, NULL, ?, ?, ?, 0)",
    [id, digest, Buffer.from(config), time, time],
  );
  db.run("INSERT INTO image_names VALUES ('localhost/old:1', ?)", [id]);
  db.run("INSERT INTO repo_digests VALUES ('localhost/old', ?, ?)", [digest, id]);
  db.close();
  return id;
}

test("a store of version 1 is brought up to date in its place, with all that is in it", async () => {
  using fixture = engineFixture("open");
  const { engine } = fixture;
  const id = version1(engine.paths.root);
  expect(engine.images.resolve("old:1").id).toBe(id);
  expect(engine.db.get("PRAGMA user_version")).not.toEqual({ user_version: 1 });
  const { manifestDigest } = engine.images.resolve("old:1");
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [
        {
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          digest: manifestDigest,
          size: engine.content.size(manifestDigest),
          platform: { os: "linux", architecture: "amd64" },
        },
      ],
    }),
  );
  engine.manifests.put({ bytes, digest: digestOf(bytes), mediaType: "", names: ["list"] });
  expect(engine.manifests.members(digestOf(bytes))).toEqual([id]);
  expect(await check(ctx, engine, { repair: false, quick: false })).toEqual({ findings: [] });
});
