/**
 * What registries do wrong, through the built command: whatever comes, berth ends soon, says what is wrong, holds little in memory,
 * tells nobody a password, and leaves the store as it was, but for the beginnings of broken downloads.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { tarOf } from "../fake/engine.ts";
import {
  BrokenServer,
  cutShort,
  endless,
  type Fault,
  FakeRegistry,
  type Lie,
  LyingServer,
  problem,
  type Seen,
  silent,
} from "../fake/registry.ts";
import { Box, type Outcome } from "./box.ts";
import { putImage, type Stored } from "./registry.ts";
import { changes, storeState } from "./store-state.ts";

const PASSWORD = "s3cret-word";
/** For faults that last: the end is to come soon. */
const HASTE = ["--retry", "1", "--retry-delay", "20ms", "--stall-timeout", "400ms"];
/** For those that pass. */
const PATIENCE = ["--retry", "5", "--retry-delay", "20ms"];
const MIB = 1024 * 1024;
/** A command that does nothing holds 45 MiB, and a pull with its unpacker not twice as much. */
const MAX_RSS = 200 * MIB;

let box: Box;
let registry: FakeRegistry;
let image: Stored;
let layer: Uint8Array<ArrayBuffer>;
let before: string[];
/** Whether what a broken connection has brought may be there until something is pruned. */
let mayKeep: boolean;

beforeAll(() => {
  box = new Box("image-faults");
  // What is there already stays as it is, whatever comes.
  box.importBusybox();
  box.mark();
  before = storeState(box.root);
});
afterAll(() => {
  const check = box.berth(["system", "check"]);
  box.close();
  expect(check).toMatchObject({ code: 0, stdout: "" });
});

/** Does not deflate; of this run alone, so that no part of an earlier one is gone on with. */
const noise = crypto.getRandomValues(new Uint8Array(600_000));
beforeEach(() => {
  mayKeep = false;
  registry = new FakeRegistry();
  image = putImage(registry, "1", { tar: new Uint8Array(tarOf({ "data/noise": noise })) });
  layer = registry.blobs.get(image.layer) as Uint8Array<ArrayBuffer>;
});
afterEach(async () => {
  registry[Symbol.dispose]();
  const left = changes(before, box.root, mayKeep ? "downloads" : "nothing");
  box.ok(["image", "prune", "-f"]);
  const stays = changes(before, box.root);
  // What one test has left is not to fail all others.
  if (stays.length > 0) before = storeState(box.root);
  expect({ left, stays }).toEqual({ left: [], stays: [] });
  expect(await box.leaks()).toEqual([]);
});

interface Ended extends Outcome {
  /** Peak of the process and its children, bytes. */
  rss: number;
}

/** Runs to its end, which must come within ten seconds. */
async function run(args: string[]): Promise<Ended> {
  const child = box.spawn(args, { env: { BERTH_DEBUG: "registry,storage" } });
  const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
  try {
    const texts = [child.stdout, child.stderr].map((stream) => new Response(stream).text());
    const [stdout = "", stderr = ""] = await Promise.all(texts);
    const code = await child.exited;
    return { code, stdout, stderr, rss: child.resourceUsage()?.maxRSS ?? 0 };
  } finally {
    clearTimeout(timer);
  }
}

const name = (): string => `${registry.host}/team/app:1`;
const pull = (...flags: string[]): Promise<Ended> => run(["pull", "-q", ...flags, name()]);

/** An error of one line that says it, exit code 125, in little memory, and nothing of a crash or a password. */
function expectRefused(ended: Ended, says: RegExp): void {
  const said = ended.stderr.split("\n").filter((line) => line.startsWith("Error: "));
  expect({ code: ended.code, said }).toEqual({ code: 125, said: [expect.stringMatching(says)] });
  expectHarmless(ended);
}

function expectHarmless({ stderr, rss }: Ended): void {
  expect(stderr).not.toMatch(/internal error|TypeError|RangeError|SyntaxError| at .*\.ts:/);
  expect(stderr).not.toContain(PASSWORD);
  expect(stderr).not.toContain(btoa(`user:${PASSWORD}`));
  expect(rss).toBeLessThan(MAX_RSS);
}

async function expectPulled(ended: Ended): Promise<void> {
  expect(ended).toMatchObject({ code: 0, stdout: `${image.config.slice(7)}\n` });
  expectHarmless(ended);
  box.ok(["rmi", name()]);
}

const MANIFEST = /\/manifests\/1$/;
const LAYER = (seen: Seen): boolean => seen.path.endsWith(image.layer);
const at =
  (path: RegExp, answer: (seen: Seen) => Response | Promise<Response>): Fault =>
  (seen) =>
    path.test(seen.path) ? answer(seen) : undefined;
const atLayer =
  (answer: (seen: Seen) => Response | Promise<Response> | undefined): Fault =>
  (seen) =>
    LAYER(seen) ? answer(seen) : undefined;

describe("a registry that", () => {
  const faults: [what: string, fault: () => Fault, says: RegExp, kept?: true][] = [
    ["says nothing when asked for a manifest", () => at(MANIFEST, () => silent()), /has stopped sending/],
    [
      "stops in the middle of a manifest",
      () => at(MANIFEST, () => silent(new Uint8Array(Buffer.from("{")))),
      /has stopped sending/,
    ],
    ["says nothing when asked for a config", () => at(/\/blobs\//, () => silent()), /has stopped sending/],
    [
      "stops in the middle of a layer",
      () => atLayer(() => silent(layer.slice(0, 200_000))),
      /has stopped sending/,
      true,
    ],
    [
      "breaks off in the middle of a manifest",
      () => at(MANIFEST, () => cutShort(layer, 1000)),
      /the connection broke/,
    ],
    [
      "breaks off a layer, always at its beginning",
      () => atLayer(() => cutShort(layer, 10)),
      /the connection broke|after \d+ of \d+ bytes/,
      true,
    ],
    [
      "has a layer of another length",
      () => atLayer(() => new Response(layer.slice(0, 1000))),
      /has 1000 bytes on the registry but should have \d+/,
    ],
    ["sends a layer without an end", () => atLayer(() => endless(layer, "x")), /longer than its \d+ bytes/],
    [
      "sends a config without an end",
      () => at(new RegExp(image.config), () => endless("{", " ")),
      /longer than its \d+ bytes/,
    ],
    [
      "sends a manifest without an end",
      () => at(MANIFEST, () => endless('{"schemaVersion":2,"layers":[', '{"size":1},')),
      /larger than 4194304 bytes/,
    ],
    [
      "sends an error without an end",
      () => at(MANIFEST, () => endless('{"errors":[', '{"code":"X"},', { status: 404 })),
      /not found/,
    ],
    [
      "sends a refusal without an end",
      () => at(MANIFEST, () => endless("<html>", "no ", { status: 401 })),
      /401/,
    ],
    [
      "redirects round and round",
      () => at(MANIFEST, ({ path }) => Response.redirect(`http://${registry.host}${path}`, 307)),
      /more than 10 redirects/,
    ],
    [
      "redirects to nowhere",
      () => at(MANIFEST, () => new Response(null, { status: 302, headers: { Location: "http://[" } })),
      /redirect to a malformed address/,
    ],
    [
      "redirects into the file system",
      () =>
        at(MANIFEST, () => new Response(null, { status: 302, headers: { Location: "file:///etc/passwd" } })),
      /without TLS/,
    ],
    ["is in trouble", () => at(MANIFEST, () => problem(503, "UNAVAILABLE")), /503/],
    [
      "names another digest than that of what it sends",
      () =>
        at(MANIFEST, () => {
          const { bytes, mediaType } = registry.manifests.get("1") as {
            bytes: Uint8Array<ArrayBuffer>;
            mediaType: string;
          };
          const headers = { "Content-Type": mediaType, "Docker-Content-Digest": `sha256:${"0".repeat(64)}` };
          return new Response(bytes, { headers });
        }),
      /its digest is "sha256:[0-9a-f]{64}", not "sha256:0{64}"/,
    ],
    [
      "compresses what was to come as it is",
      () =>
        at(MANIFEST, () => {
          const { bytes } = registry.manifests.get("1") as { bytes: Uint8Array<ArrayBuffer> };
          return new Response(Bun.gzipSync(bytes), { headers: { "Content-Encoding": "gzip" } });
        }),
      /invalid manifest/,
    ],
  ];
  test.each(faults)("%s", async (...[, fault, says, kept]) => {
    mayKeep = kept ?? false;
    registry.fault = fault();
    expectRefused(await pull(...HASTE), says);
  });

  test("resets every connection", async () => {
    using broken = new BrokenServer("");
    expectRefused(await run(["pull", "-q", ...HASTE, `${broken.host}/team/app:1`]), /the connection broke/);
    using half = new BrokenServer(
      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{",
    );
    expectRefused(await run(["pull", "-q", ...HASTE, `${half.host}/team/app:1`]), /the connection broke/);
    using garbage = new BrokenServer("SSH-2.0-OpenSSH_9.2\r\n");
    expectRefused(await run(["pull", "-q", ...HASTE, `${garbage.host}/team/app:1`]), /the connection broke/);
  });

  test("has the wrong bytes under a digest", async () => {
    const other = registry.addManifest("2", { schemaVersion: 2, layers: [] });
    registry.namesDigests = false;
    registry.manifests.set(image.digest, registry.manifests.get(other) as never);
    const ended = await run(["pull", "-q", ...HASTE, `${registry.host}/team/app@${image.digest}`]);
    expectRefused(ended, /its digest is "sha256:[0-9a-f]{64}", not "sha256:/);
  });
});

describe("a registry that lies about the length of", () => {
  const short = (): Lie => ({ announced: layer.length, body: layer.slice(0, 1000), after: "end" });
  const lies: [what: string, of: "layer" | "manifest", lie: () => Lie, says: RegExp, kept?: true][] = [
    ["a layer: it ends early", "layer", short, /the connection broke|after 1000 of/, true],
    [
      "a layer: it is reset",
      "layer",
      () => ({ ...short(), after: "reset" }),
      /the connection broke|after/,
      true,
    ],
    [
      "a layer: it never ends",
      "layer",
      () => ({ ...short(), after: "nothing" }),
      /has stopped sending/,
      true,
    ],
    ["a layer: one byte more", "layer", () => ({ ...short(), announced: layer.length + 1 }), /should have/],
    ["a layer: one byte less", "layer", () => ({ ...short(), announced: layer.length - 1 }), /should have/],
    ["a layer: petabytes", "layer", () => ({ ...short(), announced: 9e15, after: "nothing" }), /should have/],
    ["a layer: none", "layer", () => ({ ...short(), announced: 0 }), /should have/],
    ["a layer: less than nothing", "layer", () => ({ ...short(), announced: -5 }), /broke/, true],
    ["a layer: no number", "layer", () => ({ ...short(), announced: "many" }), /broke/, true],
    ["a manifest: it ends early", "manifest", short, /the connection broke/],
    [
      "a manifest: terabytes",
      "manifest",
      () => ({ ...short(), announced: 1e12, after: "nothing" }),
      /larger than 4194304/,
    ],
  ];
  test.each(lies)("%s", async (...[, of, lie, says, kept]) => {
    mayKeep = kept ?? false;
    const end = of === "layer" ? image.layer : "/manifests/1";
    using liar = await LyingServer.listen(registry, (path) => (path.endsWith(end) ? lie() : undefined));
    expectRefused(await run(["pull", "-q", ...HASTE, `${liar.host}/team/app:1`]), says);
  });
});

describe("lists without an end:", () => {
  const forever = endless.bind(undefined, "");
  test("of tags, on one page and on many", async () => {
    registry.fault = at(/tags\/list/, () => endless('{"tags":[', '"aaaa",'));
    expectRefused(
      await run(["pull", "-q", "--all-tags", ...HASTE, `${registry.host}/team/app`]),
      /larger than 4194304/,
    );
    let page = 0;
    registry.fault = at(/tags\/list/, () => {
      const headers = { Link: `</v2/team/app/tags/list?page=${++page}>; rel="next"` };
      return new Response(`{"tags":["t${page}"]${" ".repeat(2 * MIB)}}`, { headers });
    });
    expectRefused(
      await run(["image", "tags", ...HASTE, `${registry.host}/team/app`]),
      /the list is too long/,
    );
    expect(page).toBeLessThan(50);
  });

  test("of what is attached", async () => {
    registry.fault = at(/\/referrers\//, () => endless('{"schemaVersion":2,"manifests":[', "{},"));
    expectRefused(await run(["artifact", "referrers", ...HASTE, name()]), /larger than 4194304/);
    let page = 0;
    registry.fault = at(/\/referrers\//, () => {
      const annotations = { padding: "x".repeat(2 * MIB) };
      const digest = `sha256:${String(++page).padStart(64, "0")}`;
      const manifests = [
        { mediaType: "application/vnd.oci.image.manifest.v1+json", digest, size: 5, annotations },
      ];
      return Response.json(
        { schemaVersion: 2, manifests },
        { headers: { Link: `<?page=${page}>; rel="next"` } },
      );
    });
    expectRefused(await run(["artifact", "referrers", ...HASTE, name()]), /the list is too long/);
  });

  test("of images found", async () => {
    registry.fault = at(/search|_catalog/, () => endless('{"results":[', '{"name":"a"},'));
    expectRefused(await run(["search", ...HASTE, `${registry.host}/app`]), /larger than 4194304/);
    registry.fault = at(/search|_catalog/, () => forever("x", { status: 500 }));
    expectRefused(await run(["search", ...HASTE, `${registry.host}/app`]), /500/);
  });

  test("of letters in a token", async () => {
    registry.fault = ({ path }) => {
      if (path === "/token") return endless('{"token":"', "a");
      const challenge = `Bearer realm="http://${registry.host}/token",service="s"`;
      return problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": challenge });
    };
    expectRefused(await pull(...HASTE), /larger than 1048576 bytes/);
  });

  test("are not read on when they have become too long", async () => {
    let left: Promise<void> | undefined;
    registry.fault = at(MANIFEST, () => {
      const answer = endless("{", " ");
      left = answer.closed;
      return answer;
    });
    expectRefused(await pull(...HASTE), /larger than/);
    await left;
  });
});

describe("credentials", () => {
  const LOGIN = ["--creds", `user:${PASSWORD}`];
  const basic = `Basic ${btoa(`user:${PASSWORD}`)}`;
  const wantsBasic = (): Response =>
    problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": 'Basic realm="r"' });

  test.each([301, 302, 303, 307, 308])("do not go along to another host with a %d", async (status) => {
    using other = new FakeRegistry();
    for (const [digest, bytes] of registry.blobs) other.blobs.set(digest, bytes);
    registry.fault = ({ path, headers }) => {
      if (headers.get("authorization") !== basic) return wantsBasic();
      if (!path.includes("/blobs/")) return undefined;
      return new Response(null, {
        status,
        headers: { Location: `http://${other.host}${path}?signed=${PASSWORD}` },
      });
    };
    await expectPulled(await pull(...PATIENCE, ...LOGIN));
    expect(other.count("GET", image.layer)).toBe(1);
    expect(other.seen.filter(({ headers }) => headers.has("authorization"))).toEqual([]);
  });

  test("are not told to another host that asks for them", async () => {
    using other = new FakeRegistry();
    other.fault = () => wantsBasic();
    registry.fault = ({ path, headers }) => {
      if (headers.get("authorization") !== basic) return wantsBasic();
      return path.includes("/blobs/") ? Response.redirect(`http://${other.host}${path}`, 307) : undefined;
    };
    expectRefused(await pull(...HASTE, ...LOGIN), /401/);
    expect(other.seen.filter(({ headers }) => headers.has("authorization"))).toEqual([]);
  });

  test("that are refused for ever", async () => {
    registry.fault = ({ path }) => (path === "/v2/" ? undefined : wantsBasic());
    expectRefused(await pull(...PATIENCE, ...LOGIN), /401/);
    expect(registry.count("GET", "/manifests/")).toBeLessThanOrEqual(3);
  });

  test("for tokens that are never good enough", async () => {
    let tokens = 0;
    registry.fault = ({ path }) => {
      if (path === "/token") return Response.json({ token: `t${++tokens}` });
      const scope = `repository:team/app:pull,more${tokens}`;
      const challenge = `Bearer realm="http://${registry.host}/token",service="s",scope="${scope}"`;
      return problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": challenge });
    };
    expectRefused(await pull(...PATIENCE, ...LOGIN), /401/);
    expect(tokens).toBeLessThanOrEqual(4);
    expect(registry.count("GET", "/manifests/")).toBeLessThanOrEqual(4);
  });

  test("are shown to nobody by a challenge that cannot be read", async () => {
    for (const challenge of [
      "Bearer",
      'Bearer realm="',
      'Bearer realm="file:///etc/passwd"',
      "Negotiate x",
      "\\",
    ]) {
      registry.fault = () => problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": challenge });
      expectRefused(await pull(...HASTE, ...LOGIN), /401|names no usable token service/);
    }
  });
});

describe("what passes is waited for:", () => {
  test("429 with Retry-After, in seconds and as a date, then troubles of all kinds", async () => {
    const answers = [
      () => problem(429, "TOOMANYREQUESTS", "", { "Retry-After": "1" }),
      () => problem(503, "UNAVAILABLE", "", { "Retry-After": new Date(Date.now() + 1000).toUTCString() }),
      () => problem(502, "BAD", "", { "Retry-After": "soon" }),
      () => problem(500, "UNKNOWN", "", { "Retry-After": "-5" }),
      () => new Response("<html>", { status: 504 }),
    ];
    registry.fault = at(MANIFEST, () => answers.shift()?.() as Response);
    const started = performance.now();
    await expectPulled(await pull(...PATIENCE));
    expect(performance.now() - started).toBeGreaterThan(1000);
    expect(registry.count("GET", "/manifests/")).toBe(6);
  });

  test("a 429 that lasts says how long to wait", async () => {
    registry.fault = at(MANIFEST, () =>
      problem(429, "TOOMANYREQUESTS", "slow down", { "Retry-After": "3600" }),
    );
    const ended = await pull("--retry", "0");
    expectRefused(ended, /429: toomanyrequests: slow down/);
    expect(ended.stderr).toContain("the registry asks to wait 3600 seconds");
  });

  test("a layer that breaks off, stalls and fails in turn comes whole, each byte about once", async () => {
    let round = 0;
    registry.fault = atLayer(({ headers }) => {
      const from = Number(/(\d+)-/.exec(headers.get("range") ?? "")?.[1] ?? 0);
      round++;
      if (round === 1) return cutShort(layer, 100_000);
      if (round === 2) return problem(503, "UNAVAILABLE");
      if (round === 3) {
        const part = silent(layer.slice(from, from + 200_000)) as Response;
        const headers = { "Content-Range": `bytes ${from}-${layer.length - 1}/${layer.length}` };
        return new Response(part.body, { status: 206, headers });
      }
      return undefined;
    });
    await expectPulled(await pull(...PATIENCE, "--stall-timeout", "1500ms"));
    const ranges = registry.seen.filter(LAYER).map(({ headers }) => headers.get("range"));
    expect(ranges).toEqual([null, "bytes=100000-", "bytes=100000-", "bytes=300000-"]);
  });
});

test("a name that is a whole address, or leads elsewhere, is refused before anybody is asked", async () => {
  for (const bad of [
    "../x",
    "a/../b",
    "http://127.0.0.1/x",
    `${registry.host}/../x`,
    `${registry.host}/a@sha256:../../x`,
  ]) {
    expectRefused(await run(["pull", "-q", ...HASTE, bad]), /invalid|malformed/);
  }
  expect(registry.seen).toEqual([]);
});
