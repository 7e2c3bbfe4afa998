/**
 * What the policy lets in: pull, run, load, import and copy, with signatures as cosign 2 and 3 write them, against a real
 * docker-registry, with skopeo as the judge of scopes (Debian's verifies no sigstore signatures), and a registry that lies.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DockerRegistry, haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { FakeRegistry } from "../fake/registry.ts";
import {
  attachedManifest,
  type Attachment,
  BUNDLE_TYPE,
  bundleManifest,
  cosign2,
  cosign3,
  FakeLog,
  makeKey,
} from "../fake/signer.ts";
import { Box, busyboxTar, runArgv } from "./box.ts";
import { OCI_INDEX, OCI_MANIFEST, putImage, putIndex } from "./registry.ts";

const ACCEPT = [{ type: "insecureAcceptAnything" }];
const REJECT = [{ type: "reject" }];
const key = makeKey();
let box: Box;

beforeAll(() => {
  box = new Box("trust");
  box.importBusybox();
  box.ok(["run", "--rm", "--network", "none", "localhost/busybox", "true"]);
  writeFileSync(join(box.dir, "key.pub"), key.pem);
  mkdirSync(join(box.dir, "registries.d"));
  writeFileSync(
    join(box.dir, "registries.d/all.yaml"),
    "default-docker:\n  use-sigstore-attachments: true\n",
  );
  box.mark();
});
afterAll(() => box.close());
afterEach(async () => {
  expect(images()).toEqual(["localhost/busybox:latest"]);
  expect(await box.leaks()).toEqual([]);
});

const images = (): string[] =>
  box.ok(["images", "-a", "--format", "{{.Repository}}:{{.Tag}}"]).split("\n").sort();
const signed = (more: object = {}) => [
  { type: "sigstoreSigned", keyPath: join(box.dir, "key.pub"), ...more },
];
const REPOSITORY = { signedIdentity: { type: "matchRepository" } };

function policy(transports: object, byDefault: object[] = REJECT): string {
  const path = join(box.dir, "policy.json");
  writeFileSync(path, JSON.stringify({ default: byDefault, transports }));
  return path;
}

/** Pulls, forgets what came, and gives "allowed" or what was said. */
function pull(name: string, file: string): string {
  const { code, stderr } = box.berth(["--signature-policy", file, "pull", "-q", name]);
  if (code !== 0) {
    expect(code).toBe(125);
    return stderr;
  }
  // By digest it came without a name, to the image that is there already.
  if (!name.includes("@")) box.ok(["rmi", name]);
  return "allowed";
}

async function put(
  host: string,
  repository: string,
  parts: { manifest: object | string; blobs: Uint8Array[] },
  tag?: string,
) {
  for (const blob of parts.blobs) {
    const begun = await fetch(`http://${host}/v2/${repository}/blobs/uploads/`, { method: "POST" });
    const at = new URL(begun.headers.get("location") ?? "", `http://${host}`);
    at.searchParams.set("digest", `sha256:${createHash("sha256").update(blob).digest("hex")}`);
    const done = await fetch(at, { method: "PUT", body: new Uint8Array(blob) });
    expect(done.status).toBe(201);
  }
  const text = typeof parts.manifest === "string" ? parts.manifest : JSON.stringify(parts.manifest);
  const { mediaType } = JSON.parse(text) as { mediaType: string };
  const digest = `sha256:${createHash("sha256").update(text).digest("hex")}`;
  const reply = await fetch(`http://${host}/v2/${repository}/manifests/${tag ?? digest}`, {
    method: "PUT",
    headers: { "Content-Type": mediaType },
    body: text,
  });
  expect(reply.status).toBe(201);
  return { mediaType, digest, size: text.length };
}

if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");
const haveSkopeo = existsSync("/usr/bin/skopeo");
if (!haveSkopeo) console.warn("skip: comparisons with skopeo: it is not installed");

describe.skipIf(!haveDockerRegistry)("a real registry", () => {
  let registry: DockerRegistry;
  let host: string;
  /** The manifest of team/app:1, and one that team/app:2 has too. */
  let digest: string;
  beforeAll(async () => {
    registry = await startDockerRegistry();
    ({ host } = registry);
    for (const name of ["team/app:1", "team/app:2", "team/bare:1", "team/new:1"]) {
      box.ok(["push", "-q", "localhost/busybox:latest", `${host}/${name}`]);
    }
    const reply = await fetch(`http://${host}/v2/team/app/manifests/1`, {
      headers: { Accept: OCI_MANIFEST },
    });
    digest = reply.headers.get("docker-content-digest") ?? "";
  });
  afterAll(async () => await registry[Symbol.asyncDispose]());

  async function attach(repository: string, ...attachments: Attachment[]): Promise<void> {
    await put(host, repository, attachedManifest(attachments), `${digest.replace(":", "-")}.sig`);
  }

  /** What skopeo makes of it. */
  function skopeo(name: string, file: string): string {
    const to = `dir:${join(box.dir, "skopeo")}`;
    const ways = ["--policy", file, "--registries.d", join(box.dir, "registries.d")];
    const copy = ["copy", "-q", "--src-tls-verify=false", `docker://${name}`, to];
    const { code, stderr } = runArgv(["skopeo", ...ways, ...copy]);
    return code === 0 ? "allowed" : stderr;
  }

  test.skipIf(!haveSkopeo)("scopes decide as skopeo has them", () => {
    const app = `${host}/team/app`;
    const cases: [string, object, string][] = [
      ["the default", {}, `${app}:1`],
      ["the transport", { docker: { "": ACCEPT } }, `${app}:1`],
      ["the host", { docker: { [host]: ACCEPT } }, `${app}:1`],
      ["the host without its port", { docker: { "127.0.0.1": ACCEPT } }, `${app}:1`],
      ["a wildcard", { docker: { "*.0.0.1": ACCEPT } }, `${app}:1`],
      ["the name space", { docker: { [`${host}/team`]: ACCEPT, [host]: REJECT } }, `${app}:1`],
      ["a tag", { docker: { [`${app}:1`]: ACCEPT } }, `${app}:1`],
      ["another tag", { docker: { [`${app}:1`]: ACCEPT } }, `${app}:2`],
      ["a digest", { docker: { [`${app}@${digest}`]: ACCEPT, [`${app}:1`]: REJECT } }, `${app}@${digest}`],
      ["a signature where there is none", { docker: { [host]: signed() } }, `${host}/team/bare:1`],
    ];
    const outcomes: string[] = [];
    for (const [what, transports, name] of cases) {
      const file = policy(transports);
      const [ours, theirs] = [pull(name, file), skopeo(name, file)];
      expect(ours === "allowed", `${what}\n${ours}\n${theirs}`).toBe(theirs === "allowed");
      outcomes.push(ours === "allowed" ? "+" : "-");
    }
    expect(outcomes.join("")).toBe("-++-+++-+-");
  });

  test("cosign's signatures by tag", async () => {
    const app = `${host}/team/app`;
    const claim = { digest, reference: `${app}:1` };
    await attach("team/app", cosign2(makeKey(), claim), cosign2(key, claim));
    const identity = (type: string, more: object = {}) => signed({ signedIdentity: { type, ...more } });
    const by = (requirements: object[], name: string) =>
      pull(name, policy({ docker: { [host]: requirements } }));
    expect(by(signed(), `${app}:1`)).toBe("allowed");
    expect(by(signed(), `${app}:2`)).toContain(`it is for "${app}:1"`);
    expect(by(signed(), `${app}@${digest}`)).toBe("allowed");
    expect(by(signed(REPOSITORY), `${app}:2`)).toBe("allowed");
    expect(by(identity("matchExact"), `${app}@${digest}`)).toContain("it is for");
    expect(by(identity("exactReference", { dockerReference: `${app}:1` }), `${app}:2`)).toBe("allowed");
    const elsewhere = identity("exactRepository", { dockerRepository: "example.com/x" });
    expect(by(elsewhere, `${app}:1`)).toContain("it is for");
    expect(by([...signed(), ...REJECT], `${app}:1`)).toContain("rejects it");
    expect(by(signed(), `${host}/team/bare:1`)).toContain("and it has none");
  });

  test("a Sigstore bundle as a referrer, by the list at the fall-back tag", async () => {
    const subject = { mediaType: OCI_MANIFEST, digest, size: 1 };
    const name = `${host}/team/new:1`;
    const list = async (bundle: object, artifactType: string) => {
      const entry = await put(host, "team/new", bundleManifest(bundle, subject));
      const manifest = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ ...entry, artifactType }] };
      await put(host, "team/new", { manifest, blobs: [] }, digest.replace(":", "-"));
    };
    await list(cosign3(key, { digest }), BUNDLE_TYPE);
    const anyTag = policy({ docker: { [host]: signed(REPOSITORY) } });
    expect(pull(name, anyTag)).toBe("allowed");
    const oneTag = policy({ docker: { [host]: signed() } });
    expect(pull(name, oneTag)).toContain("it names no image");
    expect(pull(`${host}/team/new@${digest}`, oneTag)).toBe("allowed");
    // Old versions of cosign wrote the config's type into the list.
    await list(cosign3(key, { digest }), "application/vnd.oci.empty.v1+json");
    expect(pull(name, policy({ docker: { [host]: signed(REPOSITORY) } }))).toBe("allowed");
    await list(cosign3(makeKey(), { digest }), BUNDLE_TYPE);
    expect(pull(name, policy({ docker: { [host]: signed(REPOSITORY) } }))).toContain(
      "signature verification failed",
    );
    const log = new FakeLog();
    await list(cosign3(key, { digest }, { log }), BUNDLE_TYPE);
    const rekorPublicKeyData = Buffer.from(log.key.pem).toString("base64");
    expect(pull(name, policy({ docker: { [host]: signed({ ...REPOSITORY, rekorPublicKeyData }) } }))).toBe(
      "allowed",
    );
  });

  test("run asks before it pulls, and about nothing that is there", () => {
    const name = `${host}/team/bare:1`;
    const run = ["run", "--rm", "--network", "none", name, "true"];
    const refusal = box.berth(["--signature-policy", policy({}), ...run]);
    expect(refusal.code).toBe(125);
    expect(refusal.stderr).toContain(
      `the default in the policy "${join(box.dir, "policy.json")}" rejects it`,
    );
    expect(box.ok(["ps", "-aq"])).toBe("");
    box.ok(["pull", "-q", name]);
    box.ok(["--signature-policy", policy({}), ...run]);
    box.ok(["rmi", name]);
  });

  test("all tags, each by itself, without what is attached", async () => {
    const app = `${host}/team/app`;
    await attach("team/app", cosign2(key, { digest, reference: `${app}:1` }));
    const all = (scopes: object) =>
      box.berth(["--signature-policy", policy({ docker: scopes }), "pull", "-q", "-a", app]);
    const refusal = all({ [host]: REJECT, [`${app}:1`]: ACCEPT });
    expect(refusal.code).toBe(125);
    expect(refusal.stderr).toContain(`scope "${host}" of transport "docker"`);
    expect(all({ [app]: signed(REPOSITORY) }).code).toBe(0);
    expect(images()).toEqual([`${app}:1`, `${app}:2`, "localhost/busybox:latest"].toSorted());
    box.ok(["untag", "localhost/busybox", `${app}:1`, `${app}:2`]);
  });

  test("copies", () => {
    const to = join(box.dir, "copied");
    const from = `docker://${host}/team/app:1`;
    const copy = ["copy", "-q", from, `oci:${to}:1`];
    const refusal = box.berth(["--signature-policy", policy({}), ...copy]);
    expect(refusal.code).toBe(125);
    expect(refusal.stderr).toContain("rejects it");
    expect(existsSync(join(to, "index.json"))).toBe(false);
    box.ok(["--signature-policy", policy({ docker: { [host]: signed(REPOSITORY) } }), ...copy]);
    // The layout by its own scope.
    const load = ["load", "-q", "-i", to];
    expect(
      box.berth(["--signature-policy", policy({ oci: { [to]: REJECT } }, ACCEPT), ...load]).stderr,
    ).toContain(`scope "${to}" of transport "oci"`);
  });
});

test("archives and root file systems have policies of their own", () => {
  const archive = join(box.dir, "a.tar");
  box.ok(["save", "-q", "-o", archive, "localhost/busybox:latest"]);
  box.ok(["save", "-q", "--format", "oci-archive", "-o", `${archive}.oci`, "localhost/busybox:latest"]);
  const load = (file: string, args: string[]) => box.berth(["--signature-policy", file, ...args]);
  const onlyDocker = policy({ "docker-archive": { "": ACCEPT } });
  expect(load(onlyDocker, ["load", "-q", "-i", archive]).code).toBe(0);
  for (const args of [
    ["load", "-q", "-i", `${archive}.oci`],
    ["import", join(box.dir, "busybox.tar"), "localhost/other"],
  ]) {
    const refusal = load(onlyDocker, args);
    expect([refusal.code, refusal.stderr]).toEqual([125, expect.stringContaining("rejects it")]);
  }
  const scoped = policy({ "oci-archive": { [`${archive}.oci`]: ACCEPT } });
  expect(load(scoped, ["load", "-q", "-i", `${archive}.oci`]).code).toBe(0);
  const demanding = policy({ "docker-archive": { "": signed() }, "oci-archive": { "": signed() } });
  expect(load(demanding, ["load", "-q", "-i", archive]).stderr).toContain("and it has none");
});

test("image trust: set, show, and what it does", () => {
  const file = join(box.dir, "set.json");
  const trust = (...args: string[]) => box.ok(["--signature-policy", file, "image", "trust", ...args]);
  trust("set", "-t", "reject", "default");
  trust("set", "-f", join(box.dir, "key.pub"), "--any-tag", "quay.io/team");
  expect(
    trust("show")
      .split("\n")
      .map((line) => line.trimEnd().split(/ {2,}/)),
  ).toEqual([
    ["TRANSPORT", "NAME", "TYPE", "ID", "SIGNED IDENTITY"],
    ["all", "default", "reject"],
    ["repository", "quay.io/team", "sigstoreSigned", `"${join(box.dir, "key.pub")}"`, "matchRepository"],
  ]);
  expect(JSON.parse(trust("show", "--json", "alpine"))).toEqual([
    { transport: "all", name: "* (default)", repo_name: "default", type: "reject" },
  ]);
  expect(JSON.parse(trust("show", "--raw"))).toMatchObject({ default: REJECT });
  const refusal = box.berth([
    "--signature-policy",
    file,
    "image",
    "trust",
    "set",
    "-t",
    "signedBy",
    "quay.io",
  ]);
  expect([refusal.code, refusal.stderr]).toEqual([125, expect.stringContaining("not supported")]);
});

describe("a registry that lies", () => {
  let registry: FakeRegistry;
  let host: string;
  let digest: string;
  const arch = process.arch === "x64" ? "amd64" : process.arch;
  beforeAll(() => {
    registry = new FakeRegistry();
    ({ host } = registry);
    const tar = new Uint8Array(busyboxTar(box.dir));
    const platform = { os: "linux", architecture: arch };
    const stored = putImage(registry, "one", { tar, platform });
    digest = putIndex(registry, "many", [{ stored, platform }]);
  });
  afterAll(() => registry[Symbol.dispose]());
  afterEach(() => {
    registry.fault = () => undefined;
    registry.manifests.delete(sig());
    registry.manifests.delete(digest.replace(":", "-"));
  });
  const sig = () => `${digest.replace(":", "-")}.sig`;
  const name = () => `${host}/x/y:many`;
  const byKey = () => policy({ docker: { [host]: signed(REPOSITORY) } });
  const pullHere = async (file = byKey()): Promise<string> => {
    const { code, stderr } = await box.async(["--signature-policy", file, "pull", "-q", name()]);
    if (code === 0) await box.async(["rmi", name()]);
    return code === 0 ? "allowed" : stderr;
  };
  const add = (attachments: Attachment[], change: (manifest: object) => object = (m) => m) => {
    const { manifest, blobs } = attachedManifest(attachments);
    for (const blob of blobs) registry.addBlob(blob);
    registry.addManifest(sig(), change(manifest));
  };
  const right = () => cosign2(key, { digest, reference: name() });

  test("a signature over the index admits the image; nothing but documents is fetched before", async () => {
    add([right()]);
    expect(await pullHere()).toBe("allowed");
    registry.manifests.delete(sig());
    registry.seen.length = 0;
    expect(await pullHere()).toContain("and it has none");
    expect(registry.count("GET", "/blobs/")).toBe(0);
  });

  test("a payload that is not there, or other than it says", async () => {
    add([right()]);
    registry.fault = ({ path }) =>
      path.includes("/blobs/") ? new Response("no", { status: 404 }) : undefined;
    expect(await pullHere()).toContain("cannot be fetched");
    registry.fault = ({ path }) => (path.includes("/blobs/") ? new Response("x".repeat(300)) : undefined);
    expect(await pullHere()).toContain("cannot be fetched");
  });

  test("a payload without an end", async () => {
    const huge = Buffer.alloc(64);
    const grown = (manifest: object) => {
      const { layers, ...rest } = manifest as { layers: { size: number }[] };
      return { ...rest, layers: layers.map((layer) => ({ ...layer, size: 1e12 })) };
    };
    add([{ ...right(), payload: huge }], grown);
    registry.seen.length = 0;
    expect(await pullHere()).toContain("more than the limit");
    expect(registry.count("GET", "/blobs/")).toBe(0);
  });

  test("a place for signatures that answers with something else, or not at all", async () => {
    registry.addManifest(sig(), "[]");
    expect(await pullHere()).toContain("and it has none");
    registry.addManifest(sig(), { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] }, OCI_INDEX);
    expect(await pullHere()).toContain("and it has none");
    registry.fault = ({ path }) => (path.endsWith(".sig") ? new Response("no", { status: 403 }) : undefined);
    expect(await pullHere()).not.toBe("allowed");
  });

  test("ten thousand referrers", async () => {
    const entry = (i: number) => ({
      mediaType: OCI_MANIFEST,
      digest: `sha256:${i.toString(16).padStart(64, "0")}`,
      size: 100,
      artifactType: BUNDLE_TYPE,
    });
    const manifests = Array.from({ length: 10_000 }, (_, i) => entry(i));
    registry.addManifest(
      digest.replace(":", "-"),
      { schemaVersion: 2, mediaType: OCI_INDEX, manifests },
      OCI_INDEX,
    );
    registry.seen.length = 0;
    expect(await pullHere()).toContain("counts");
    expect(registry.seen.length).toBeLessThan(600);
    // One of them right is found among bills of materials, which are not even asked for.
    const subject = { mediaType: OCI_INDEX, digest, size: 1 };
    const { manifest, blobs } = bundleManifest(cosign3(key, { digest }), subject);
    for (const blob of blobs) registry.addBlob(blob);
    const good = { ...entry(0), digest: registry.addManifest("bundle", manifest) };
    const annotations = { "dev.sigstore.bundle.predicateType": "https://spdx.dev/Document" };
    const others = manifests.map((one) => ({ ...one, annotations }));
    const mixed = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [good, ...others] };
    registry.addManifest(digest.replace(":", "-"), mixed, OCI_INDEX);
    registry.seen.length = 0;
    expect(await pullHere()).toBe("allowed");
    expect(registry.seen.length).toBeLessThan(20);
  });

  test("a policy that is broken, or names a key that cannot be read", async () => {
    const file = join(box.dir, "broken.json");
    writeFileSync(file, '{"default":[{"type":"insecureAcceptAnything"}],"default":[{"type":"reject"}]}');
    const said = await pullHere(file);
    expect(said).toContain(`"${file}"`);
    expect(said).toContain('the key "default" stands twice');
    add([right()]);
    const keyPath = join(box.dir, "none.pub");
    expect(
      await pullHere(policy({ docker: { [host]: [{ type: "sigstoreSigned", keyPath, ...REPOSITORY }] } })),
    ).toContain(keyPath);
  });

  test("OpenPGP signatures are refused by name", async () => {
    const by = [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/etc/pki/key.gpg" }];
    const said = await pullHere(policy({ docker: { [host]: by } }));
    expect(said).toContain(
      `scope "${host}" of transport "docker" in the policy "${join(box.dir, "policy.json")}" demands "signedBy"`,
    );
    expect(said).toContain("--signature-policy");
  });
});
