/** push, save and load with the other engines on the far side: what berth sent has the digest that berth said, for everybody. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DockerRegistry, haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { tarOf } from "../fake/engine.ts";
import { layoutFiles, makeIndex } from "../fake/stored-index.ts";
import { Box, runArgv } from "./box.ts";

const IMAGE = "localhost/busybox:latest";
const haveSkopeo = Bun.which("skopeo") !== null;
const havePodman = Bun.which("podman") !== null;
if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");
if (!haveSkopeo) console.warn("skip: skopeo is not installed");
if (!havePodman) console.warn("skip: podman is not installed");

let box: Box;
let registry: DockerRegistry;

function sha256(text: string | Uint8Array): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

interface Manifest {
  mediaType: string;
  layers: { mediaType: string; digest: string; size: number }[];
}

async function manifestAt(name: string): Promise<{ digest: string; manifest: Manifest }> {
  const [, repository, tag] = /^[^/]+\/(.+):([^:]+)$/.exec(name) ?? [];
  const Accept = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
  ].join(", ");
  const reply = await fetch(`http://${registry.host}/v2/${repository}/manifests/${tag}`, {
    headers: { Accept },
  });
  const text = await reply.text();
  return { digest: sha256(text), manifest: JSON.parse(text) as Manifest };
}

describe.skipIf(!haveDockerRegistry)("to a real registry", () => {
  beforeAll(async () => {
    box = new Box("push");
    box.importBusybox();
    registry = await startDockerRegistry();
    box.mark();
  });
  afterAll(async () => {
    box.close();
    await registry[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    const others = box.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]).split("\n");
    for (const name of others.filter((one) => one.startsWith(registry.host) || one.includes("/multi")))
      box.ok(["rmi", "-f", "-i", name]);
    expect(await box.leaks()).toEqual([]);
  });

  test.each([
    ["by default", [], "oci", "gzip"],
    ["with zstd", ["--compression", "zstd:6"], "oci", "zstd"],
    ["with zstd, podman's way", ["--compression-format", "zstd", "--compression-level", "1"], "oci", "zstd"],
    ["as Docker's", ["--format", "v2s2"], "docker", "gzip"],
    ["with gzip again", ["--compression", "gzip:9", "--format", "oci"], "oci", "gzip"],
  ])("%s", async (_name, flags, family, compression) => {
    const name = `${registry.host}/app/${family}-${compression}-${flags.length}:1`;
    const file = join(box.dir, "digest");
    box.ok(["tag", IMAGE, name]);
    const pushed = box.berth(["push", ...flags, "--digestfile", file, name]);
    expect([pushed.code, pushed.stdout]).toEqual([0, ""]);
    const { digest, manifest } = await manifestAt(name);
    expect(readFileSync(file, "utf8")).toBe(digest);
    expect(manifest.mediaType).toContain(`vnd.${family}`);
    expect(manifest.layers.map((layer) => layer.mediaType.split(/[.+]/).at(-1))).toEqual([compression]);
    // The same again is the same bytes, and nothing is sent.
    box.ok(["push", "-q", ...flags, name]);
    expect((await manifestAt(name)).digest).toBe(digest);
    if (!haveSkopeo) return;
    const inspect = [
      "skopeo",
      "inspect",
      "--tls-verify=false",
      "--format",
      "{{.Digest}}",
      `docker://${name}`,
    ];
    expect(runArgv(inspect).stdout.trim()).toBe(digest);
    const copied = runArgv([
      "skopeo",
      "copy",
      "-q",
      "--src-tls-verify=false",
      `docker://${name}`,
      `dir:${file}.d`,
    ]);
    expect(copied).toMatchObject({ code: 0, stderr: "" });
  });

  test.skipIf(!havePodman)("podman pulls it under the same digest, and runs what is in it", async () => {
    const dir = mkdtempSync(join(tmpdir(), "berth-e2e-push-podman-"));
    const podman = (...args: string[]): string => {
      const store = ["--root", `${dir}/root`, "--runroot", `${dir}/run`, "--cgroup-manager", "cgroupfs"];
      const outcome = runArgv(["podman", ...store, "--events-backend", "none", ...args]);
      if (outcome.code !== 0) throw new Error(`podman ${args.join(" ")}: ${outcome.stderr}`);
      return outcome.stdout.trim();
    };
    try {
      for (const flags of [[], ["--compression", "zstd"]]) {
        const name = `${registry.host}/podman/app${flags.length}:1`;
        box.ok(["tag", IMAGE, name]);
        box.ok(["push", "-q", ...flags, name]);
        podman("pull", "-q", "--tls-verify=false", name);
        const { digest } = await manifestAt(name);
        // Of one image under two manifests podman calls the first one its own.
        expect(podman("image", "inspect", "--format", "{{.RepoDigests}}", name)).toContain(
          `app${flags.length}@${digest}`,
        );
        const id = box.ok(["image", "inspect", "--format", "{{.Id}}", name]);
        expect(podman("image", "inspect", "--format", "{{.Id}}", name)).toBe(id.replace("sha256:", ""));
      }
    } finally {
      runArgv(["umount", `${dir}/root/overlay`]);
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("pull, then push elsewhere, is byte for byte; all tags at once; by docker's name in docker's words", async () => {
    const repository = `${registry.host}/team/tool`;
    box.ok(["tag", IMAGE, `${repository}:1`]);
    box.ok(["tag", IMAGE, `${repository}:2`]);
    const all = box.berth(["push", "--all-tags", repository]);
    const { digest } = await manifestAt(`${repository}:1`);
    expect(all).toMatchObject({ code: 0, stdout: "" });
    expect(all.stderr).toContain(`1: digest: ${digest}\n2: digest: ${digest}\n`);
    box.ok(["rmi", "-f", `${repository}:1`, `${repository}:2`]);
    box.ok(["pull", "-q", `${repository}:2`]);
    box.ok(["push", "-q", `${repository}:2`, `docker://${registry.host}/else/where:3`]);
    expect((await manifestAt(`${registry.host}/else/where:3`)).digest).toBe(digest);
    box.ok(["tag", IMAGE, `${repository}:1`]);
    expect(box.berth(["push", "-a", `${repository}:1`]).stderr).toContain("without a tag");
  });

  test("an image for several platforms: loaded whole, pushed, saved, and the same everywhere", async () => {
    const index = makeIndex();
    const archive = join(box.dir, "multi.tar");
    writeFileSync(archive, tarOf(layoutFiles(index, "localhost/multi:1")));
    expect(box.ok(["load", "--all-platforms", "-i", archive])).toBe("Loaded image: localhost/multi:1");
    const name = `${registry.host}/multi/app:1`;
    box.ok(["push", "-q", "localhost/multi:1", name]);
    expect((await manifestAt(name)).digest).toBe(index.digest);
    const one = `${registry.host}/multi/s390x:1`;
    box.ok(["push", "-q", "--platform", "linux/s390x", "localhost/multi:1", one]);
    expect((await manifestAt(one)).digest).toBe(index.images[1]?.manifestDigest as string);
    const out = join(box.dir, "multi-out.tar");
    box.ok(["save", "--format", "oci-archive", "-o", out, "localhost/multi:1"]);
    box.ok(["rmi", "-f", "localhost/multi:1"]);
    expect(box.ok(["load", "--all-platforms"], { stdin: new Uint8Array(readFileSync(out)) })).toBe(
      "Loaded image: localhost/multi:1",
    );
    box.ok(["push", "-q", "localhost/multi:1", `${registry.host}/multi/again:1`]);
    expect((await manifestAt(`${registry.host}/multi/again:1`)).digest).toBe(index.digest);
    if (!haveSkopeo) return;
    for (const place of [`oci-archive:${out}`, `docker://${name}`]) {
      const raw = runArgv(["skopeo", "inspect", "--raw", "--tls-verify=false", place]).stdout;
      expect(sha256(raw)).toBe(index.digest);
    }
  });

  test("to places that are no registries, as podman does", () => {
    for (const [place, reads] of [
      [`dir:${box.dir}/to-dir`, `dir:${box.dir}/to-dir`],
      [`oci:${box.dir}/to-oci:v1`, `oci:${box.dir}/to-oci:v1`],
      [`docker-archive:${box.dir}/to.tar:localhost/x:1`, `docker-archive:${box.dir}/to.tar`],
    ] as const) {
      box.ok(["push", "-q", IMAGE, place]);
      if (!haveSkopeo) continue;
      const config = JSON.parse(runArgv(["skopeo", "inspect", "--config", reads]).stdout) as {
        rootfs: { diff_ids: string[] };
      };
      expect(config.rootfs.diff_ids[0]).toBe(
        box.ok(["image", "inspect", "--format", "{{index .RootFS.Layers 0}}", IMAGE]),
      );
    }
  });

  test("bad input: formats, compressions, levels, destinations", () => {
    for (const [flags, says] of [
      [["--compression", "rar", IMAGE, `${registry.host}/x:1`], 'invalid compression "rar"'],
      [["--compression", "gzip:10", IMAGE, `${registry.host}/x:1`], "from 1 to 9"],
      [["--compression", "zstd:x", IMAGE, `${registry.host}/x:1`], "from 1 to 19"],
      [["--compression-format", "lzma", IMAGE, `${registry.host}/x:1`], "lzma"],
      [["--compression", "zstd", "--format", "v2s2", IMAGE, `${registry.host}/x:1`], "no zstd layers"],
      [["--format", "v2s1", IMAGE, `${registry.host}/x:1`], "v2s1"],
      [["--all-tags", "nosuch/repository"], "nosuch/repository"],
      [["--platform", "a/b/c/d", IMAGE, `${registry.host}/x:1`], "a/b/c/d"],
    ] as const) {
      const outcome = box.berth(["push", ...flags]);
      expect([flags, outcome.code]).toEqual([flags, 125]);
      expect(outcome.stderr).toContain(says);
    }
  });

  test("save puts nothing where it fails, and reads from a file on standard input", () => {
    const dir = mkdtempSync(join(tmpdir(), "berth-e2e-push-save-"));
    try {
      const sh = (script: string) => runArgv(["sh", "-c", script]);
      const berth = box.argv.join(" ");
      expect(sh(`${berth} save -o ${dir}/a.tar ${IMAGE} && ${berth} load < ${dir}/a.tar`)).toMatchObject({
        code: 0,
        stdout: `Loaded image: ${IMAGE}\n`,
      });
      // A file that somebody has begun to read goes on where he stopped.
      expect(
        sh(`(echo junk; cat ${dir}/a.tar) > ${dir}/b.tar; (read line; ${berth} load) < ${dir}/b.tar`).stdout,
      ).toBe(`Loaded image: ${IMAGE}\n`);
      const full = sh(`ulimit -f 100; trap "" XFSZ; ${berth} save -o ${dir}/full.tar ${IMAGE}`);
      expect(full.code).toBe(125);
      expect(full.stderr).not.toContain("    at ");
      expect(readdirSync(dir).toSorted()).toEqual(["a.tar", "b.tar"]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
