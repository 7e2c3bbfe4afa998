/** Artifacts by the command line: files to a real docker-registry and back, attached to an image, looked at by skopeo. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DockerRegistry, haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { digestOf, FakeRegistry } from "../fake/registry.ts";
import { Box, runArgv } from "./box.ts";

let box: Box;
let files: string;

beforeAll(() => {
  box = new Box("artifact");
  box.importBusybox();
  files = join(box.dir, "files");
  mkdirSync(join(files, "data/sub"), { recursive: true });
  writeFileSync(join(files, "hi.txt"), "hi\n");
  writeFileSync(join(files, "sbom.json"), '{"spdx":1}');
  writeFileSync(join(files, "data/sub/x"), "x");
  symlinkSync("sub/x", join(files, "data/link"));
  box.ok(["system", "df"]);
  box.mark();
});
afterAll(() => box.close());
afterEach(async () => {
  box.ok(["artifact", "rm", "--all"]);
  box.ok(["system", "prune", "-f"]);
  expect(box.ok(["artifact", "ls", "--noheading"])).toBe("");
  expect(await box.leaks()).toEqual([]);
});

const lines = (text: string): string[] => text.split("\n").filter(Boolean);
const names = (path: string): string[] => (readdirSync(path, { recursive: true }) as string[]).sort();
const haveSkopeo = existsSync("/usr/bin/skopeo");
if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");
if (!haveSkopeo) console.warn("skip: skopeo is not installed");

interface Tree {
  reference: string;
  digest: string;
  artifactType?: string;
  annotations?: Record<string, string>;
  referrers: Tree[];
}

describe.skipIf(!haveDockerRegistry)("a real registry", () => {
  let registry: DockerRegistry;
  beforeAll(async () => {
    registry = await startDockerRegistry();
  });
  afterAll(async () => await registry[Symbol.asyncDispose]());

  test("add, ls, inspect, push, pull, extract, rm", () => {
    const name = `${registry.host}/team/report:1`;
    const cwd = files;
    const add = ["artifact", "add", "--type", "application/vnd.test", "report:1"];
    const digest = box.ok([...add, "hi.txt:text/x-hi", "data"], { cwd });
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    const row = box.ok(["artifact", "ls", "--format", "{{.Repository}} {{.Tag}} {{.Digest}} {{.Type}}"]);
    expect(row).toBe(`localhost/report 1 ${digest.slice(0, 12)} application/vnd.test`);
    expect(lines(box.ok(["artifact", "ls"]))[0]).toMatch(/^REPOSITORY +TAG +DIGEST +CREATED +SIZE$/);
    expect(box.ok(["images", "-q"]).split("\n")).toHaveLength(1);
    const shown = JSON.parse(box.ok(["artifact", "inspect", "report:1"])) as Record<string, unknown>;
    expect(shown).toMatchObject({ Name: "localhost/report:1", Digest: `sha256:${digest}` });
    expect(shown["Manifest"]).toMatchObject({ layers: [{ mediaType: "text/x-hi" }, {}] });

    const file = join(box.dir, "digest");
    const pushed = box.berth(["artifact", "push", "--digestfile", file, "report:1", name]);
    expect([pushed.code, readFileSync(file, "utf8")]).toEqual([0, `sha256:${digest}`]);
    if (haveSkopeo) {
      const raw = runArgv(["skopeo", "inspect", "--raw", "--tls-verify=false", `docker://${name}`]);
      expect(digestOf(raw.stdout)).toBe(`sha256:${digest}`);
      const copy = `dir:${box.dir}/copy`;
      const copied = runArgv(["skopeo", "copy", "--src-tls-verify=false", `docker://${name}`, copy]);
      expect([copied.code, copied.stderr]).toEqual([0, ""]);
    }
    expect(box.ok(["artifact", "rm", "report:1"])).toBe(digest);
    expect(box.ok(["artifact", "pull", "-q", name])).toBe(digest);
    const out = join(box.dir, "out");
    expect(lines(box.ok(["artifact", "extract", name, out]))).toEqual([
      join(out, "hi.txt"),
      join(out, "data"),
    ]);
    expect(names(out)).toEqual(["data", "data/link", "data/sub", "data/sub/x", "hi.txt"]);
    const again = box.berth(["artifact", "extract", name, out]);
    expect([again.code, again.stderr]).toEqual([
      125,
      `Error: "${out}/data" exists already\nuse --overwrite to replace it\n`,
    ]);
    box.ok(["artifact", "extract", "--overwrite", name, out]);
    const direct = join(box.dir, "direct");
    box.ok(["artifact", "pull", "-q", "--output", direct, name]);
    expect(names(direct)).toEqual(names(out));
    const one = join(box.dir, "one");
    box.ok(["artifact", "extract", "--title", "hi.txt", name, one]);
    expect(readFileSync(one, "utf8")).toBe("hi\n");
  });

  test("attached to an image: the tree, json, and what pull and run say of artifacts", () => {
    const image = `${registry.host}/team/app:1`;
    box.ok(["tag", "localhost/busybox", image]);
    box.ok(["push", "-q", image]);
    const attach = ["artifact", "attach", "-q", "--type", "application/spdx+json"];
    const first = box.ok([...attach, "--annotation", "by=ann", image, "sbom.json"], { cwd: files });
    const second = box.ok(["artifact", "attach", "-q", "--type", "t/note", first]);
    const digestIn = (reference: string): string => reference.slice(reference.indexOf("@") + 1);
    const tree = lines(box.ok(["artifact", "referrers", image]));
    expect(tree[0]).toStartWith(`${registry.host}/team/app@sha256:`);
    expect(tree.slice(1)).toEqual([
      "└── application/spdx+json",
      `    └── ${digestIn(first)}`,
      "        └── t/note",
      `            └── ${digestIn(second)}`,
    ]);
    expect(lines(box.ok(["artifact", "ls", "--remote", image]))).toEqual(tree);
    const json = JSON.parse(
      box.ok(["artifact", "referrers", "--format", "json", "--type", "application/spdx+json", image]),
    ) as Tree;
    expect(json.referrers[0]).toMatchObject({ reference: first, annotations: { by: "ann" } });
    expect(json.referrers[0]?.referrers[0]?.digest).toBe(digestIn(second));
    expect(JSON.parse(box.ok(["artifact", "referrers", "--format", "json", second]))).toMatchObject({
      referrers: [],
    });
    const there = join(box.dir, "sbom");
    box.ok(["artifact", "pull", "-q", "-o", there, first]);
    expect(readFileSync(join(there, "sbom.json"), "utf8")).toBe('{"spdx":1}');
    const pulled = box.berth(["pull", first]);
    expect(pulled.code).toBe(125);
    expect(pulled.stderr).toContain('is an artifact of type "application/spdx+json"');
    expect(pulled.stderr).toContain(`berth artifact pull ${first}`);
    expect(box.berth(["artifact", "pull", image]).stderr).toContain("not an artifact");
    box.ok(["rmi", image]);
  });

  test("eight at once attach to one image: all are listed", async () => {
    const image = `${registry.host}/team/busy:1`;
    box.ok(["artifact", "push", "-q", "--file", join(files, "hi.txt"), image]);
    const types = Array.from({ length: 8 }, (_, n) => `t/t${n}`);
    const outcomes = await Promise.all(
      types.map((type) => box.async(["artifact", "attach", "-q", "--type", type, image])),
    );
    expect(outcomes.map(({ code, stderr }) => [code, stderr])).toEqual(types.map(() => [0, ""]));
    const json = JSON.parse(box.ok(["artifact", "referrers", "--format", "json", image])) as Tree;
    expect(
      json.referrers.map(({ artifactType }) => artifactType).toSorted((a = "", b = "") => (a < b ? -1 : 1)),
    ).toEqual(types);
  });

  test("files are streamed: sixty-four megabytes in little memory", () => {
    const big = join(files, "big");
    const chunk = Buffer.alloc(1 << 20, "0123456789abcdef");
    writeFileSync(big, Buffer.concat(Array.from({ length: 64 }, () => chunk)));
    const name = `${registry.host}/team/big:1`;
    const peak = (args: string[]): number => {
      const file = join(box.dir, "rss");
      const measured = runArgv(["/usr/bin/time", "-f", "%M", "-o", file, ...box.argv, ...args]);
      if (measured.code !== 0) throw new Error(measured.stderr);
      return Number(readFileSync(file, "utf8").trim()) / 1024;
    };
    if (!existsSync("/usr/bin/time")) return console.warn("skip: /usr/bin/time is not installed");
    const small = peak([
      "artifact",
      "push",
      "-q",
      "--file",
      join(files, "hi.txt"),
      `${registry.host}/team/s:1`,
    ]);
    expect(peak(["artifact", "push", "-q", "--file", big, name])).toBeLessThan(small + 60);
    expect(peak(["artifact", "pull", "-q", "-o", join(box.dir, "big"), name])).toBeLessThan(small + 60);
    expect(readFileSync(join(box.dir, "big/big")).equals(readFileSync(big))).toBe(true);
  });
});

describe("from a registry that lies", () => {
  test("names that lead out, and what a kill leaves", async () => {
    using registry = new FakeRegistry();
    const empty = { mediaType: "application/vnd.oci.empty.v1+json", digest: digestOf("{}"), size: 2 };
    registry.addBlob("{}");
    const put = (tag: string, ...titles: string[]): void => {
      const layers = titles.map((title) => ({
        ...registry.addBlob(`content of ${tag}`),
        annotations: { "org.opencontainers.image.title": title },
      }));
      registry.addManifest(tag, { schemaVersion: 2, artifactType: "t/t", config: empty, layers });
    };
    const out = join(box.dir, "lies");
    for (const title of ["../../x", "/etc/passwd", "a/../../x"]) {
      put("bad", title);
      const outcome = await box.async(["artifact", "pull", "-o", out, `${registry.host}/x:bad`]);
      expect([outcome.code, outcome.stdout]).toEqual([125, ""]);
      expect(outcome.stderr).toStartWith(`Error: the artifact's file name "${title}"`);
      expect(existsSync(out)).toBe(false);
    }

    // The policy is asked before anything is fetched.
    put("good", "sub/file");
    const policy = join(box.dir, "policy.json");
    writeFileSync(policy, '{"default": [{"type": "reject"}]}');
    for (const how of [["-o", out], []]) {
      const name = `${registry.host}/x:good`;
      const outcome = await box.async(["--signature-policy", policy, "artifact", "pull", ...how, name]);
      expect([outcome.code, outcome.stdout, existsSync(out)]).toEqual([125, "", false]);
      expect(outcome.stderr).toContain(policy);
    }
    expect(registry.count("GET", digestOf("content of good"))).toBe(0);

    // Held in the middle of the transfer, then killed.
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    registry.fault = ({ method, path }) => {
      if (method !== "GET" || !path.includes(digestOf("content of good"))) return undefined;
      resolve();
      return new Promise(() => {});
    };
    const child = box.spawn(["artifact", "pull", "-q", "-o", out, `${registry.host}/x:good`]);
    await asked;
    child.kill("SIGKILL");
    await child.exited;
    expect(names(out).length).toBeGreaterThan(0);
    registry.fault = () => undefined;
    const after = await box.async(["artifact", "pull", "-q", "-o", out, `${registry.host}/x:good`]);
    expect([after.code, after.stderr]).toEqual([0, ""]);
    expect(names(out)).toEqual(["sub", "sub/file"]);
  });
});

test("bad input is told, and changes nothing", () => {
  const outcome = (...args: string[]): string => {
    const { code, stderr } = box.berth(["artifact", ...args], { cwd: files });
    expect(code).toBe(125);
    return stderr.split("\n")[0] as string;
  };
  expect(outcome("add", "x", "nosuch")).toBe('Error: "nosuch": no such file or directory');
  expect(outcome("add", "UPPER", "hi.txt")).toContain("must be lowercase");
  expect(outcome("add", "--append", "--type", "t/t", "x", "hi.txt")).toContain("--append keeps");
  expect(outcome("add", "--append", "x", "hi.txt")).toBe("Error: localhost/x:latest: artifact not known");
  expect(outcome("add", "--type", "no type", "x", "hi.txt")).toBe('Error: "no type" is not a media type');
  expect(outcome("rm")).toBe("Error: name an artifact, or give --all");
  expect(outcome("rm", "x")).toBe("Error: x: artifact not known");
  expect(outcome("rm", "busybox")).toBe("Error: busybox: not an artifact");
  expect(outcome("inspect", "x")).toBe("Error: x: artifact not known");
  expect(outcome("push", "x", "127.0.0.1:1/x")).toBe("Error: x: artifact not known");
  expect(outcome("push", "--type", "t/t", "x")).toContain("--type is for artifacts that are made of --file");
  expect(outcome("pull", "--title", "x", "127.0.0.1:1/x")).toContain("are for --output");
  expect(outcome("ls", "--filter", "no=x")).toBe('Error: invalid filter "no"');
  expect(outcome("referrers", "--local", "nosuch")).toContain("image not known");
  expect(box.ok(["artifact", "rm", "--ignore", "x"])).toBe("");
});
