// Referrers against a registry with the API, one without it, and ones that lie; the real docker-registry is in engine/artifact.test.ts.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { failure } from "../../test/fake/failure.ts";
import { digestOf, type Fault, FakeRegistry, problem } from "../../test/fake/registry.ts";
import { tempDir, type TempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { createLog } from "../core/log.ts";
import type { Descriptor } from "../image/image.ts";
import { parseReference } from "../image/reference.ts";
import { openRegistry } from "./client.ts";
import { referrersTag } from "./referrers.ts";
import type { RegistryClient, RegistryOptions } from "./registry.ts";

const ctx = createCtx();
const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const EMPTY_TYPE = "application/vnd.oci.empty.v1+json";
const SUBJECT = `sha256:${"5".repeat(64)}`;
const TAG = `sha256-${"5".repeat(64)}`;

let registry: FakeRegistry;
let directory: TempDir;
beforeEach(() => {
  registry = new FakeRegistry();
  directory = tempDir("referrers");
});
afterEach(() => {
  registry[Symbol.dispose]();
  directory[Symbol.dispose]();
});

function open(options: RegistryOptions = {}): RegistryClient {
  const retry = { retries: 1, baseMs: 5, stallMs: 5000 };
  const authFile = `${directory.path}/auth.json`;
  const registriesConf = `${directory.path}/none.conf`;
  void Bun.write(registriesConf, "");
  return openRegistry(parseReference(`${registry.host}/x/y`), {
    retry,
    authFile,
    registriesConf,
    ...options,
  });
}

function entry(n: number, more: object = {}): Descriptor {
  const digest = `sha256:${n.toString(16).padStart(64, "0")}`;
  return { mediaType: MANIFEST, digest, size: 100 + n, artifactType: "application/vnd.test.a", ...more };
}

const indexOf = (manifests: unknown[], more: object = {}) => ({
  schemaVersion: 2,
  mediaType: INDEX,
  manifests,
  ...more,
});

const page = (manifests: unknown[], headers: Record<string, string> = {}): Response =>
  Response.json(indexOf(manifests), { headers: { "Content-Type": INDEX, ...headers } });

/** Answers what is asked of the referrers API. */
const api =
  (answer: (query: string) => Response): Fault =>
  ({ path, query }) =>
    path.includes("/referrers/") ? answer(query) : undefined;

/** An artifact's manifest with this subject. */
function artifact(n: number, more: object = {}): object {
  return {
    schemaVersion: 2,
    mediaType: MANIFEST,
    artifactType: "application/vnd.test.a",
    config: { mediaType: EMPTY_TYPE, digest: digestOf("{}"), size: 2 },
    layers: [{ mediaType: EMPTY_TYPE, digest: digestOf("{}"), size: 2 }],
    subject: { mediaType: MANIFEST, digest: SUBJECT, size: 7 },
    annotations: { n: String(n) },
    ...more,
  };
}

async function push(client: RegistryClient, document: object, mediaType = MANIFEST): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  return await client.pushManifest(ctx, digestOf(bytes), mediaType, bytes);
}

function fallback(): { raw: Record<string, unknown>; manifests: Record<string, unknown>[] } {
  const bytes = registry.manifests.get(TAG)?.bytes;
  const raw = JSON.parse(Buffer.from(bytes ?? Buffer.from("{}")).toString()) as Record<string, unknown>;
  return { raw, manifests: (raw["manifests"] ?? []) as Record<string, unknown>[] };
}

test("the fall-back tag", () => {
  expect(referrersTag(SUBJECT)).toBe(TAG);
  expect(referrersTag(`sha512:${"ab".repeat(64)}`)).toBe(`sha512-${"ab".repeat(32)}`);
});

describe("with the referrers API", () => {
  test("every page, also short and empty ones, each manifest once", async () => {
    const pages: Record<string, Response> = {
      "": page([entry(1), entry(2)], { Link: '<?n=2>; rel="next"' }),
      "?n=2": page([], { Link: `</v2/x/y/referrers/${SUBJECT}?n=3>;rel=next` }),
      "?n=3": page([entry(2), entry(3)]),
    };
    registry.fault = api((query) => pages[query] as Response);
    const found = await open().referrers(ctx, SUBJECT);
    expect(found.map(({ size }) => size)).toEqual([101, 102, 103]);
    expect(registry.count("GET", "/manifests/")).toBe(0);
  });

  test("a filter that the registry applies is believed, one that it does not is applied here", async () => {
    const other = entry(2, { artifactType: "application/vnd.test.b+json" });
    const queries: string[] = [];
    registry.fault = api((query) => {
      queries.push(query);
      return page([entry(1), other]);
    });
    expect(await open().referrers(ctx, SUBJECT, "application/vnd.test.b+json")).toEqual([other]);
    expect(queries).toEqual(["?artifactType=application%2Fvnd.test.b%2Bjson"]);
    registry.fault = api(() => page([entry(1)], { "OCI-Filters-Applied": "artifactType" }));
    expect(await open().referrers(ctx, SUBJECT, "anything/else")).toHaveLength(1);
  });

  test("nothing attached is an empty list, with no look at the tag", async () => {
    registry.fault = api(() => page([]));
    expect(await open().referrers(ctx, SUBJECT)).toEqual([]);
    expect(registry.count("GET", "/manifests/")).toBe(0);
  });

  test("a registry that files a manifest by itself is not helped", async () => {
    registry.fault = ({ method, path }) =>
      method === "PUT" && path.includes("/manifests/")
        ? new Response(null, { status: 201, headers: { "OCI-Subject": SUBJECT } })
        : undefined;
    await push(open(), artifact(1));
    expect(registry.count("GET", "")).toBe(0);
    expect(registry.count("PUT", "/manifests/")).toBe(1);
  });

  test("a list without an end is given up", async () => {
    let n = 0;
    registry.fault = api(() => page([entry(++n)], { Link: `<?page=${n}>; rel="next"` }));
    expect(await failure(open().referrers(ctx, SUBJECT))).toMatchObject({
      kind: "resource-exhausted",
      reason: "endless-list",
    });
    expect(n).toBe(1000);
    n = 0;
    // The same page for ever: nothing is held twice.
    registry.fault = api(() => {
      n++;
      return page([entry(1)], { Link: '<?same>; rel="next"' });
    });
    expect(await failure(open().referrers(ctx, SUBJECT))).toMatchObject({ reason: "endless-list" });
  });

  test("a page over 4 MiB is refused before it is held", async () => {
    registry.fault = api(() => new Response(" ".repeat(4 * 1024 * 1024 + 1)));
    expect(await failure(open().referrers(ctx, SUBJECT))).toMatchObject({ kind: "resource-exhausted" });
  });

  test.each([
    ["a digest with a path in it", [{ ...entry(1), digest: "sha256:../../x" }]],
    ["a negative size", [{ ...entry(1), size: -1 }]],
    ["an entry that is no object", ["x"]],
  ])("%s is an error that names the list", async (_what, manifests) => {
    registry.fault = api(() => page(manifests));
    const error = await failure(open().referrers(ctx, SUBJECT));
    expect(error).toMatchObject({ kind: "invalid-argument", reason: "referrers-answer" });
    expect(error.message).toContain(`referrers of "${SUBJECT}"`);
  });

  test("the next page is never asked of another host", async () => {
    using other = new FakeRegistry();
    registry.fault = api(() => page([entry(1)], { Link: `<http://${other.host}/v2/>; rel="next"` }));
    expect(await failure(open().referrers(ctx, SUBJECT))).toMatchObject({ reason: "list-link" });
    expect(other.seen).toEqual([]);
  });

  test("a 401 in the middle of the pages is answered, or told", async () => {
    const answers = (rejectsForever: boolean): void => {
      let rejected = 0;
      registry.fault = ({ path, query, headers }) => {
        if (!path.includes("/referrers/")) return undefined;
        if (query === "") return page([entry(1)], { Link: '<?n=2>; rel="next"' });
        const basic = { "WWW-Authenticate": 'Basic realm="x"' };
        if (rejectsForever || rejected++ === 0) return problem(401, "UNAUTHORIZED", "", basic);
        return headers.get("authorization") === null ? problem(403, "DENIED") : page([entry(2)]);
      };
    };
    const credentials = { username: "u", password: "p" };
    answers(false);
    expect(await open({ credentials }).referrers(ctx, SUBJECT)).toHaveLength(2);
    answers(true);
    expect(await failure(open({ credentials }).referrers(ctx, SUBJECT))).toMatchObject({
      kind: "unauthenticated",
    });
  });

  test("an empty mirror is not believed, a broken one is passed over", async () => {
    using mirror = new FakeRegistry();
    const conf = `${directory.path}/registries.conf`;
    await Bun.write(
      conf,
      `[[registry]]\nlocation = "${registry.host}"\n[[registry.mirror]]\nlocation = "${mirror.host}"\ninsecure = true\n`,
    );
    registry.fault = api(() => page([entry(1)]));
    for (const answer of [() => page([]), () => new Response("no", { status: 500 })]) {
      mirror.seen.length = 0;
      mirror.fault = api(answer);
      expect(await open({ registriesConf: conf }).referrers(ctx, SUBJECT)).toHaveLength(1);
      expect(mirror.count("GET", "/referrers/")).toBeGreaterThan(0);
    }
  });
});

describe("without the referrers API", () => {
  test.each([
    ["404", () => problem(404, "NOT_FOUND")],
    ["400", () => problem(400, "UNSUPPORTED")],
    ["405", () => new Response(null, { status: 405 })],
    ["a web page", () => new Response("<html>welcome</html>", { headers: { "Content-Type": "text/html" } })],
    ["JSON that is no index", () => Response.json({ ok: true })],
    ["JSON null", () => new Response("null")],
  ])("%s: the index at the tag", async (_what, answer) => {
    registry.fault = api(answer);
    expect(await open().referrers(ctx, SUBJECT)).toEqual([]);
    registry.addManifest(TAG, indexOf([entry(1), entry(2), entry(1)]), INDEX);
    expect(await open().referrers(ctx, SUBJECT)).toEqual([entry(1), entry(2)]);
    expect(await open().referrers(ctx, SUBJECT, "nothing/such")).toEqual([]);
  });

  test("a registry in trouble is no registry without the API", async () => {
    registry.addManifest(TAG, indexOf([entry(1)]), INDEX);
    registry.fault = api(() => problem(500, "UNKNOWN"));
    expect(await failure(open().referrers(ctx, SUBJECT))).toMatchObject({ kind: "unavailable" });
    registry.fault = api(() => problem(403, "DENIED"));
    expect(await failure(open().referrers(ctx, SUBJECT))).toMatchObject({ kind: "permission-denied" });
  });

  test("types that old clients wrote wrong, or not at all, are looked up in the manifest", async () => {
    const document = artifact(1, { artifactType: "application/vnd.dev.sigstore.bundle.v0.3+json" });
    const digest = registry.addManifest("a", document);
    const size = JSON.stringify(document).length;
    const good = entry(9);
    const written = { mediaType: MANIFEST, digest, size };
    const gone = entry(8, { artifactType: undefined });
    for (const artifactType of [undefined, EMPTY_TYPE, "application/vnd.oci.image.config.v1+json"]) {
      registry.addManifest(TAG, indexOf([{ ...written, artifactType }, gone, good]), INDEX);
      const all = await open().referrers(ctx, SUBJECT);
      const type = "application/vnd.dev.sigstore.bundle.v0.3+json";
      expect(all[0]).toEqual({ ...written, artifactType: type, annotations: { n: "1" } });
      expect(all).toHaveLength(3);
      expect(await open().referrers(ctx, SUBJECT, type)).toEqual([all[0] as Descriptor]);
    }
    // What says a type of its own is not fetched.
    expect(registry.count("GET", good.digest)).toBe(0);
  });

  test("of ten thousand without a type a thousand are opened, with a warning", async () => {
    const lines: string[] = [];
    const warned = createCtx({ log: createLog({ write: (line) => lines.push(line) }) });
    const entries = Array.from({ length: 10_000 }, (_, n) => entry(n, { artifactType: undefined }));
    registry.addManifest(TAG, indexOf(entries), INDEX);
    expect(await open().referrers(warned, SUBJECT)).toHaveLength(10_000);
    expect(registry.count("GET", "/manifests/sha256:")).toBe(1000);
    expect(lines.join("")).toContain("1000 of 10000");
  });

  test("a pushed manifest is entered with its type and annotations; what others wrote stays", async () => {
    const theirs = { ...entry(1), "org.example.unknown": { kept: true } };
    registry.addManifest(TAG, indexOf([theirs], { "x-unknown": 1, annotations: { a: "b" } }), INDEX);
    const digest = await push(open(), artifact(2));
    const { raw, manifests } = fallback();
    expect(manifests[0]).toEqual(theirs);
    expect(manifests[1]).toEqual({
      mediaType: MANIFEST,
      digest,
      size: JSON.stringify(artifact(2)).length,
      artifactType: "application/vnd.test.a",
      annotations: { n: "2" },
    });
    expect(raw).toMatchObject({ "x-unknown": 1, annotations: { a: "b" }, mediaType: INDEX });
  });

  test("pushed again it is entered once; a wrong entry for it is put right", async () => {
    const client = open();
    const digest = await push(client, artifact(1));
    const puts = registry.count("PUT", TAG);
    await push(client, artifact(1));
    expect(registry.count("PUT", TAG)).toBe(puts);
    expect(fallback().manifests).toHaveLength(1);
    const wrong = { mediaType: MANIFEST, digest, size: 1, artifactType: EMPTY_TYPE };
    registry.addManifest(TAG, indexOf([wrong, wrong]), INDEX);
    await push(client, artifact(1));
    expect(fallback().manifests).toMatchObject([{ digest, artifactType: "application/vnd.test.a" }]);
    expect(await client.referrers(ctx, SUBJECT)).toHaveLength(1);
  });

  test("what has no artifactType goes by its config; an index without one by nothing", async () => {
    const config = { mediaType: "application/vnd.test.config", digest: digestOf("{}"), size: 2 };
    await push(open(), artifact(1, { artifactType: undefined, config }));
    const index = indexOf([], { subject: { mediaType: MANIFEST, digest: SUBJECT, size: 7 } });
    await push(open(), index, INDEX);
    const types = fallback().manifests.map((one) => one["artifactType"]);
    expect(types).toEqual(["application/vnd.test.config", undefined]);
  });

  test("a manifest without a subject costs nothing", async () => {
    await push(open(), artifact(1, { subject: undefined }));
    expect(registry.seen.map(({ method }) => method)).toEqual(["PUT"]);
  });

  test("somebody who overwrites the list is overwritten with both", async () => {
    const theirs = entry(77);
    let intrusions = 2;
    registry.fault = ({ method, path }) => {
      if (method !== "GET" || !path.endsWith(TAG) || intrusions === 0) return undefined;
      if (!registry.manifests.has(TAG)) return undefined;
      // They had read the list before we wrote it.
      intrusions--;
      registry.addManifest(TAG, indexOf([theirs]), INDEX);
      return undefined;
    };
    const digest = await push(open(), artifact(1));
    expect(fallback().manifests.map((one) => one["digest"])).toEqual([theirs.digest, digest]);
  });

  test("somebody who never stops makes the push fail, and says why", async () => {
    registry.fault = ({ method, path }) => {
      if (method === "GET" && path.endsWith(TAG)) registry.addManifest(TAG, indexOf([entry(77)]), INDEX);
      return undefined;
    };
    expect(await failure(push(open(), artifact(1)))).toMatchObject({
      kind: "aborted",
      reason: "referrers-contended",
    });
  }, 20_000);

  test("sixteen writers of one process all get in", async () => {
    const digests = await Promise.all(Array.from({ length: 16 }, (_, n) => push(open(), artifact(n))));
    expect(new Set(fallback().manifests.map((one) => one["digest"]))).toEqual(new Set(digests));
    expect(fallback().manifests).toHaveLength(16);
  }, 20_000);

  test("a tag that is somebody's image is left alone", async () => {
    registry.addManifest(TAG, artifact(5, { subject: undefined }));
    expect(await failure(push(open(), artifact(1)))).toMatchObject({ reason: "referrers-tag-taken" });
    expect(fallback().raw["manifests"]).toBeUndefined();
  });

  test("a list that is full is not made larger", async () => {
    const annotations = { a: "x".repeat(4 * 1024 * 1024 - 400) };
    registry.addManifest(TAG, indexOf([entry(1, { annotations })]), INDEX);
    expect(await failure(push(open(), artifact(1)))).toMatchObject({
      kind: "resource-exhausted",
      reason: "referrers-full",
    });
    expect(fallback().manifests).toHaveLength(1);
  });

  test("a list over 4 MiB is refused", async () => {
    const annotations = { a: "x".repeat(4 * 1024 * 1024) };
    registry.addManifest(TAG, indexOf([entry(1, { annotations })]), INDEX);
    expect(await failure(open().referrers(ctx, SUBJECT))).toMatchObject({ kind: "resource-exhausted" });
  });
});

describe("deletion", () => {
  /** Deletes by digest, as the fake registry itself does not. */
  const deletes: Fault = ({ method, path }) => {
    if (method !== "DELETE") return undefined;
    const digest = path.slice(path.lastIndexOf("/") + 1);
    const found = registry.manifests.get(digest);
    if (found === undefined) return problem(404, "MANIFEST_UNKNOWN");
    for (const [key, value] of registry.manifests) {
      if (digestOf(value.bytes) === digest) registry.manifests.delete(key);
    }
    return new Response(null, { status: 202 });
  };

  test("takes the entry out of the list, and the list with its last one", async () => {
    const client = open();
    const first = await push(client, artifact(1));
    const second = await push(client, artifact(2));
    registry.fault = deletes;
    await client.deleteManifest(ctx, first);
    expect(fallback().manifests.map((one) => one["digest"])).toEqual([second]);
    await client.deleteManifest(ctx, second);
    expect(registry.manifests.has(TAG)).toBe(false);
    expect(await failure(client.deleteManifest(ctx, second))).toMatchObject({ kind: "not-found" });
  });

  test("a registry that does not delete says so; a list it does not delete becomes empty", async () => {
    const client = open();
    const digest = await push(client, artifact(1));
    registry.fault = ({ method }) => (method === "DELETE" ? new Response(null, { status: 405 }) : undefined);
    expect(await failure(client.deleteManifest(ctx, digest))).toMatchObject({
      kind: "permission-denied",
      reason: "delete-forbidden",
    });
    expect(fallback().manifests).toHaveLength(1);
    const index = digestOf(registry.manifests.get(TAG)?.bytes as Uint8Array);
    registry.fault = (seen, server) =>
      seen.path.endsWith(index) && seen.method === "DELETE"
        ? new Response(null, { status: 405 })
        : deletes(seen, server);
    await client.deleteManifest(ctx, digest);
    expect(fallback().manifests).toEqual([]);
  });
});
