/** pull and push against a real docker-registry (plain, TLS, with a password) and one that serves faults. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DockerRegistry, haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { FakeRegistry } from "../fake/registry.ts";
import { Box, busyboxTar } from "./box.ts";
import { putImage, putIndex } from "./registry.ts";

const IMAGE = "localhost/busybox:latest";
const NONE = ["--network", "none"];
let box: Box;

beforeAll(() => {
  box = new Box("pull");
  box.importBusybox();
  box.ok(["run", "--rm", ...NONE, IMAGE, "true"]);
  box.mark();
});
afterAll(() => box.close());

const names = (): string[] => box.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]).split("\n").sort();
const lines = (text: string): string[] => text.split("\n").filter(Boolean);
const idOf = (image: string): string => box.ok(["inspect", "--type", "image", "--format", "{{.Id}}", image]);

if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");

describe.skipIf(!haveDockerRegistry)("a real registry", () => {
  let registry: DockerRegistry;
  let name: string;
  beforeAll(async () => {
    registry = await startDockerRegistry();
    name = `${registry.host}/team/tool:1`;
  });
  afterAll(async () => await registry[Symbol.asyncDispose]());
  afterEach(async () => {
    for (const other of names().filter((one) => one !== IMAGE)) box.ok(["rmi", "-f", other]);
    expect(names()).toEqual([IMAGE]);
    expect(await box.leaks()).toEqual([]);
  });

  test("push, rmi, pull: the same digests, and it runs", () => {
    box.ok(["tag", IMAGE, name]);
    const before = box.ok(["image", "inspect", "--format", "{{.Id}} {{index .RootFS.Layers 0}}", name]);
    const digestFile = join(box.dir, "digest");
    const pushed = box.berth(["push", "--digestfile", digestFile, name]);
    expect([pushed.code, pushed.stdout]).toEqual([0, ""]);
    box.ok(["rmi", "-f", name, IMAGE]);
    expect(box.ok(["images", "-aq"])).toBe("");
    const pulled = box.berth(["pull", name]);
    expect(pulled.code).toBe(0);
    expect(lines(pulled.stdout)).toEqual([before.split(" ")[0] as string]);
    expect(box.ok(["image", "inspect", "--format", "{{.Id}} {{index .RootFS.Layers 0}}", name])).toBe(before);
    const [repoDigest] = JSON.parse(
      box.ok(["image", "inspect", "--format", "{{json .RepoDigests}}", name]),
    ) as [string];
    expect(repoDigest).toBe(`${registry.host}/team/tool@${readFileSync(digestFile, "utf8").trim()}`);
    expect(box.ok(["run", "--rm", ...NONE, name, "echo", "runs"])).toBe("runs");
    box.ok(["tag", name, IMAGE]);
  });

  test("by digest, quietly, several, and again when nothing is new", () => {
    box.ok(["tag", IMAGE, name]);
    box.ok(["tag", IMAGE, `${registry.host}/team/other:2`]);
    box.ok(["push", "-q", name]);
    box.ok(["push", "-q", `${registry.host}/team/other:2`]);
    const [repoDigest] = JSON.parse(
      box.ok(["image", "inspect", "--format", "{{json .RepoDigests}}", name]),
    ) as [string];
    box.ok(["rmi", name, `${registry.host}/team/other:2`]);
    const quiet = box.berth(["pull", "-q", repoDigest]);
    expect(quiet).toEqual({ code: 0, stdout: `${idOf(repoDigest)}\n`, stderr: "" });
    expect(box.ok(["run", "--rm", ...NONE, repoDigest, "echo", "by digest"])).toBe("by digest");
    expect(lines(box.ok(["pull", "-q", name, `${registry.host}/team/other:2`])).length).toBe(2);
    expect(box.berth(["pull", name]).code).toBe(0);
    const wrong = `${registry.host}/team/tool@sha256:${"0".repeat(64)}`;
    expect(box.berth(["pull", wrong]).stderr).toContain(wrong);
  });

  test("run pulls what is missing; never, missing, newer and always", () => {
    box.ok(["tag", IMAGE, name]);
    box.ok(["push", "-q", name]);
    box.ok(["rmi", name]);
    const never = box.berth(["run", "--rm", "--pull", "never", ...NONE, name, "true"]);
    expect([never.code, never.stderr.includes("image not known")]).toEqual([125, true]);
    const run = box.berth(["run", "--rm", ...NONE, name, "echo", "pulled"]);
    expect([run.code, run.stdout]).toEqual([0, "pulled\n"]);
    const quiet = box.berth(["run", "--rm", "-q", "--pull", "always", ...NONE, name, "echo", "x"]);
    expect(quiet).toEqual({ code: 0, stdout: "x\n", stderr: "" });
    // Another image under the same name: "missing" does not look, "newer" and "always" take it.
    const old = idOf(name);
    box.ok(["run", "--name", "change", ...NONE, name, "touch", "/changed"]);
    box.ok(["commit", "change", name]);
    box.ok(["push", "-q", name]);
    const changed = idOf(name);
    box.ok(["rm", "change"]);
    box.ok(["rmi", name]);
    box.ok(["tag", old, name]);
    box.ok(["run", "--rm", "--pull", "missing", ...NONE, name, "true"]);
    expect(idOf(name)).toBe(old);
    box.ok(["run", "--rm", "--pull", "newer", ...NONE, name, "ls", "/changed"]);
    expect(idOf(name)).toBe(changed);
    box.ok(["rmi", name]);
    box.ok(["tag", old, name]);
    box.ok(["pull", "--policy", "never", name]);
    expect(idOf(name)).toBe(old);
    box.ok(["pull", name]);
    expect(idOf(name)).toBe(changed);
  });

  test("an image or a tag that is not there, a registry that is not there: named, 125, nothing stored", () => {
    const unknown = box.berth(["pull", `${registry.host}/no/such`]);
    expect(unknown.code).toBe(125);
    expect(unknown.stderr).toContain(`${registry.host}/no/such`);
    box.ok(["tag", IMAGE, name]);
    box.ok(["push", "-q", name]);
    const tag = box.berth(["pull", `${registry.host}/team/tool:nosuch`]);
    expect(tag.stderr).toContain("nosuch");
    const nobody = box.berth(["run", "--rm", "127.0.0.1:1/x", "true"]);
    expect(nobody.code).toBe(125);
    expect(nobody.stderr).toContain("127.0.0.1:1");
    expect(nobody.stderr).toContain("connection refused");
    const typo = box.berth(["run", "--rm", "localhost/bussybox", "true"]);
    expect(typo.stderr).toStartWith(
      'Error: image "localhost/bussybox" is not in the store and cannot be pulled: ',
    );
  });

  test("a name of one's own in registries.conf: a mirror, another location, an insecure host", () => {
    box.ok(["tag", IMAGE, name]);
    box.ok(["push", "-q", name]);
    box.ok(["rmi", name]);
    const conf = join(box.dir, "registries.conf");
    writeFileSync(
      conf,
      [
        `unqualified-search-registries = ["${registry.host}"]`,
        `[[registry]]\nprefix = "moved.example"\nlocation = "${registry.host}/team"`,
        `[[registry]]\nlocation = "mirrored.example"`,
        `[[registry.mirror]]\nlocation = "127.0.0.1:1"`,
        `[[registry.mirror]]\nlocation = "${registry.host}"\ninsecure = true`,
        `[[registry]]\nlocation = "blocked.example"\nblocked = true`,
      ].join("\n"),
    );
    const pull = (image: string, how: "flag" | "env"): string =>
      how === "flag"
        ? box.ok(["--registries-conf", conf, "pull", "-q", image])
        : box.ok(["pull", "-q", image], { env: { CONTAINERS_REGISTRIES_CONF: conf } });
    expect(pull("moved.example/tool:1", "flag")).toBe(idOf(IMAGE));
    expect(pull("mirrored.example/team/tool:1", "env")).toBe(idOf(IMAGE));
    expect(names()).toContain("moved.example/tool:1");
    expect(names()).toContain("mirrored.example/team/tool:1");
    expect(pull("team/tool:1", "flag")).toBe(idOf(IMAGE));
    const blocked = box.berth(["--registries-conf", conf, "pull", "blocked.example/x"]);
    expect(blocked.stderr).toContain("blocked");
  });
});

describe.skipIf(!haveDockerRegistry)("TLS and passwords", () => {
  test("a certificate of one's own: refused, taken without --tls-verify, trusted by certs.d or --cert-dir", async () => {
    await using registry = await startDockerRegistry({ tls: true });
    const name = `${registry.host}/tls/tool:1`;
    box.ok(["tag", IMAGE, name]);
    const refused = box.berth(["push", name]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toMatch(/certificate|unknown authority|self.signed/i);
    box.ok(["push", "-q", "--tls-verify=false", name]);
    box.ok(["rmi", name]);
    expect(box.berth(["pull", name]).code).toBe(125);
    box.ok(["pull", "-q", "--tls-verify=false", name]);
    box.ok(["rmi", name]);
    box.ok(["pull", "-q", "--cert-dir", registry.certDir as string, name]);
    box.ok(["rmi", name]);
    const certs = `/etc/containers/certs.d/${registry.host}`;
    mkdirSync(certs, { recursive: true });
    try {
      cpSync(join(registry.certDir as string, "ca.crt"), join(certs, "ca.crt"));
      box.ok(["pull", "-q", name]);
    } finally {
      Bun.spawnSync(["rm", "-r", certs]);
    }
    box.ok(["rmi", name]);
    expect(await box.leaks()).toEqual([]);
  });

  test("a password: refused without, taken from --creds, an authfile and REGISTRY_AUTH_FILE; never shown", async () => {
    const login = { username: "user", password: "s3cret-word" };
    await using registry = await startDockerRegistry({ login });
    const name = `${registry.host}/closed/tool:1`;
    box.ok(["tag", IMAGE, name]);
    const anonymous = box.berth(["push", name]);
    expect(anonymous.code).toBe(125);
    expect(anonymous.stderr).toMatch(/authentication|unauthorized|credentials/i);
    const wrong = box.berth(["push", "--creds", "user:wrong-word", name]);
    expect(wrong.code).toBe(125);
    expect(wrong.stderr).not.toContain("wrong-word");
    box.ok(["push", "-q", "--creds", "user:s3cret-word", name]);
    box.ok(["rmi", name]);
    const authfile = join(box.dir, "auth.json");
    const auth = Buffer.from("user:s3cret-word").toString("base64");
    writeFileSync(authfile, JSON.stringify({ auths: { [registry.host]: { auth } } }));
    expect(box.berth(["pull", name]).code).toBe(125);
    box.ok(["pull", "-q", "--authfile", authfile, name]);
    box.ok(["rmi", name]);
    const traced = box.berth(["--trace", "--debug", "pull", name], {
      env: { REGISTRY_AUTH_FILE: authfile, BERTH_DEBUG: "registry,storage" },
    });
    expect(traced.code).toBe(0);
    expect(traced.stderr).not.toContain("s3cret-word");
    expect(traced.stderr).not.toContain(auth);
    box.ok(["rmi", name]);
  });
});

describe("a registry that serves what it is given", () => {
  let registry: FakeRegistry;
  let tar: Uint8Array<ArrayBuffer>;
  beforeAll(() => {
    tar = new Uint8Array(busyboxTar(box.dir));
  });
  const fresh = (): FakeRegistry => (registry = new FakeRegistry());
  const pull = async (...args: string[]): Promise<void> => {
    const outcome = await box.async(["pull", "-q", ...args]);
    if (outcome.code !== 0) throw new Error(outcome.stderr);
  };
  const full = (tag: string): string => `${registry.host}/fake/image:${tag}`;
  const clean = (): void => {
    for (const other of names().filter((one) => one !== IMAGE && !one.startsWith("<none>"))) {
      box.ok(["rmi", "-f", other]);
    }
    box.ok(["image", "prune", "-f"]);
    expect(names()).toEqual([IMAGE]);
    expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
  };

  test("--platform chooses from an index; without it the host's; one that is missing is named", async () => {
    using _registry = fresh();
    const images = [
      { os: "linux", architecture: "amd64" },
      { os: "linux", architecture: "arm64", variant: "v8" },
      { os: "linux", architecture: "arm", variant: "v7" },
    ].map((platform) => ({
      platform,
      stored: putImage(registry, platform.architecture, {
        tar,
        platform,
        labels: { for: platform.architecture },
      }),
    }));
    const digest = putIndex(registry, "multi", images);
    const label = (): string =>
      box.ok([
        "image",
        "inspect",
        "--format",
        '{{.Architecture}} {{index .Config.Labels "for"}}',
        full("multi"),
      ]);
    const host = process.arch === "x64" ? "amd64" : process.arch;
    await pull(full("multi"));
    expect(label()).toBe(`${host} ${host}`);
    await pull("--platform", "linux/arm64", full("multi"));
    expect(label()).toBe("arm64 arm64");
    await pull("--arch", "arm", full("multi"));
    expect(label()).toBe("arm arm");
    const missing = await box.async(["pull", "--platform", "linux/s390x", full("multi")]);
    expect(missing.code).toBe(125);
    expect(missing.stderr).toContain("linux/s390x");
    const whole = `${registry.host}/fake/image@${digest}`;
    await pull(whole);
    expect(box.ok(["image", "inspect", "--format", "{{.Architecture}}", whole])).toBe(host);
    clean();
  });

  test("a layer of the wrong size, content or end; a manifest that is none: named, and nothing stays", async () => {
    const half = (bytes: Uint8Array): Uint8Array<ArrayBuffer> =>
      new Uint8Array(bytes.subarray(0, bytes.length / 2));
    const faults: Record<string, (stored: { layer: string; config: string }) => void> = {
      "flipped byte": ({ layer }) => {
        const bytes = new Uint8Array(registry.blobs.get(layer) ?? []);
        bytes[1000] = (bytes[1000] ?? 0) ^ 1;
        registry.blobs.set(layer, bytes);
      },
      "truncated layer": ({ layer }) =>
        void registry.blobs.set(layer, half(registry.blobs.get(layer) as Uint8Array)),
      "longer layer": ({ layer }) => {
        const bytes = registry.blobs.get(layer) as Uint8Array;
        registry.blobs.set(layer, new Uint8Array(Buffer.concat([bytes, Buffer.from("more")])));
      },
      "missing layer": ({ layer }) => void registry.blobs.delete(layer),
      "wrong config": ({ config }) => void registry.blobs.set(config, new Uint8Array(Buffer.from("{}"))),
      "no manifest": () => void registry.addManifest("x", "<html>not found</html>"),
    };
    // A layer that the store has is not fetched: each case gets one of its own, that does not compress.
    const noise = (seed: string): Uint8Array<ArrayBuffer> => {
      const directory = join(box.dir, seed.replaceAll(" ", "-"));
      mkdirSync(directory);
      writeFileSync(join(directory, "noise"), crypto.getRandomValues(new Uint8Array(50_000)));
      return new Uint8Array(Bun.spawnSync(["tar", "-C", directory, "-cf", "-", "noise"]).stdout);
    };
    for (const [what, damage] of Object.entries(faults)) {
      using _registry = fresh();
      const stored = putImage(registry, "x", { tar: noise(what) });
      damage(stored);
      const outcome = await box.async(["pull", full("x")]);
      expect([what, outcome.code]).toEqual([what, 125]);
      expect(outcome.stderr).toMatch(/^Error: /m);
      const said = outcome.stderr.split("\n").find((line) => line.startsWith("Error: "));
      const named = { "wrong config": stored.config, "no manifest": "manifest" }[what] ?? stored.layer;
      expect([what, said]).toEqual([what, expect.stringContaining(named)]);
      expect(outcome.stderr).not.toContain("internal");
      clean();
    }
  });

  test("a layer that is not the tar the config names is refused", async () => {
    using _registry = fresh();
    const { layer } = putImage(registry, "good", { tar });
    const config = registry.addBlob(
      JSON.stringify({
        os: "linux",
        architecture: process.arch === "x64" ? "amd64" : process.arch,
        config: {},
        rootfs: { type: "layers", diff_ids: [`sha256:${"1".repeat(64)}`] },
      }),
    );
    const size = (registry.blobs.get(layer) as Uint8Array).length;
    registry.addManifest("bad", {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: { ...config, mediaType: "application/vnd.oci.image.config.v1+json" },
      layers: [{ digest: layer, size, mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" }],
    });
    const outcome = await box.async(["pull", full("bad")]);
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toMatch(/diff.?id|does not match|mismatch/i);
    clean();
  });

  test("a blob is fetched once, also by the second image that has it", async () => {
    using _registry = fresh();
    const { layer } = putImage(registry, "one", { tar, labels: { n: "1" } });
    putImage(registry, "two", { tar, labels: { n: "2" } });
    await pull(full("one"));
    await pull(full("two"));
    expect(
      registry.seen.filter((s) => s.method === "GET" && s.path.includes(layer)).length,
    ).toBeLessThanOrEqual(1);
    clean();
  });
});
