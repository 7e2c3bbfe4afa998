/** copy, sync, inspect --remote, image tags, rmi --remote, and the same as skopeo; with the real skopeo on the other side where it is. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type DockerRegistry, haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { imageKinds, type KindName, writeLayout } from "../fake/image-kinds.ts";
import { FakeRegistry } from "../fake/registry.ts";
import { Box, type Outcome, runArgv, type RunOptions } from "./box.ts";

const kinds = imageKinds();
let box: Box;
let registry: DockerRegistry | undefined;
let host = "";

const at = (name: string): string => join(box.dir, name);
const kind = (name: KindName): string => `oci:${at(`kinds/${name}`)}:v1`;
const digestOf = (name: KindName): string => kinds[name].top.digest;
/** berth under skopeo's name. */
const linked = (args: string[], options: RunOptions = {}): Outcome =>
  runArgv([at("skopeo"), ...args], {
    ...options,
    env: { BERTH_ROOT: box.root, BERTH_RUN: box.run, ...options.env },
  });

const skopeoPath = "/usr/bin/skopeo";
const haveSkopeo = existsSync(skopeoPath);
if (!haveSkopeo) console.warn("skip: skopeo is not installed");
if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");

function skopeo(...args: string[]): string {
  const { code, stdout, stderr } = runArgv([skopeoPath, "--insecure-policy", ...args]);
  if (code !== 0) throw new Error(`skopeo ${args.join(" ")}: ${stderr}`);
  return stdout;
}
const insecure = {
  src: "--src-tls-verify=false",
  dest: "--dest-tls-verify=false",
  one: "--tls-verify=false",
};

beforeAll(async () => {
  box = new Box("copy-image");
  for (const [name, one] of Object.entries(imageKinds())) writeLayout(at(`kinds/${name}`), one);
  symlinkSync(box.argv[0] as string, at("skopeo"));
  box.importBusybox("localhost/busybox:latest");
  box.ok(["run", "--rm", "--network", "none", "busybox", "true"]);
  box.ok(["rmi", "--all"]);
  if (haveDockerRegistry) registry = await startDockerRegistry();
  host = registry?.host ?? "";
  box.mark();
});
afterAll(async () => {
  await registry?.[Symbol.asyncDispose]();
  box.close();
});
afterEach(async () => {
  box.berth(["rmi", "--all", "--force"]);
  expect(await box.leaks()).toEqual([]);
});

let next = 0;
function place(transport: string): string {
  const id = `p${next++}`;
  if (transport === "docker") return `docker://${host}/${id}:v1`;
  if (transport === "dir") return `dir:${at(id)}`;
  return transport === "docker-archive"
    ? `docker-archive:${at(id)}.tar:example.org/${id}:v1`
    : `${transport}:${at(id)}:v1`;
}

describe.skipIf(!haveSkopeo || !haveDockerRegistry)("with skopeo on the other side", () => {
  const everywhere = ["docker", "oci", "oci-archive", "dir"];

  test.each(everywhere)("what berth writes to %s skopeo reads, digests equal", (transport) => {
    for (const name of ["oci", "index", "artifact"] as const) {
      const to = place(transport);
      expect(box.ok(["copy", "--all", kind(name), to])).toBe(digestOf(name));
      const out = place("dir");
      skopeo("copy", "-q", "--all", "--preserve-digests", insecure.src, to, out);
      expect(box.ok(["copy", "--all", out, place("dir")])).toBe(digestOf(name));
    }
  });

  test.each(everywhere)("what skopeo writes to %s berth reads, digests equal", (transport) => {
    for (const name of ["oci", "index"] as const) {
      const to = place(transport);
      skopeo("copy", "-q", "--all", insecure.dest, kind(name), to);
      expect(box.ok(["copy", "--all", "--preserve-digests", to, place("dir")])).toBe(digestOf(name));
    }
  });

  test("Docker's schema 2: kept in a registry and a directory, OCI in a layout, as skopeo has it", () => {
    const source = place("docker");
    box.ok(["copy", "--preserve-digests", kind("docker"), source]);
    for (const transport of ["docker", "dir", "oci"]) {
      const [ours, theirs] = [place(transport), place(transport)];
      box.ok(["copy", source, ours]);
      skopeo("copy", "-q", insecure.src, insecure.dest, source, theirs);
      const types = [ours, theirs].map((one) => {
        const { mediaType, layers } = JSON.parse(skopeo("inspect", "--raw", insecure.one, one)) as {
          mediaType?: string;
          layers: object[];
        };
        return { mediaType, layers };
      });
      expect(types[0]).toEqual(types[1] as NonNullable<(typeof types)[1]>);
    }
  });

  test("docker-archives, both ways, with all their names", () => {
    const archive = `docker-archive:${at("both.tar")}`;
    box.ok(["copy", "--additional-tag", "example.org/b:2", kind("docker"), `${archive}:example.org/a:1`]);
    expect(JSON.parse(skopeo("list-tags", archive))).toEqual({
      Tags: ["example.org/a:1", "example.org/b:2"],
    });
    expect(JSON.parse(linked(["list-tags", archive]).stdout)).toEqual({
      Tags: ["example.org/a:1", "example.org/b:2"],
    });
    const layout = at("from-archive");
    skopeo("copy", "-q", `${archive}:example.org/b:2`, `oci:${layout}:v1`);
    const theirs = place("docker-archive");
    skopeo("copy", "-q", kind("oci"), theirs);
    const back = place("docker");
    // skopeo writes plain layers and no manifest: they are compressed on their way, and it is the same image.
    box.ok(["copy", theirs, back]);
    const config = (one: string): string => skopeo("inspect", "--config", "--raw", insecure.one, one);
    expect(config(back)).toBe(config(kind("oci")));
    expect(JSON.parse(skopeo("inspect", "--raw", insecure.one, back))).toMatchObject({
      layers: [{ mediaType: expect.stringContaining("gzip") as string }, {}],
    });
    box.ok(["copy", theirs, "berth:localhost/from-archive:1"]);
    expect(box.ok(["image", "inspect", "--format", "{{.Id}}", "localhost/from-archive:1"])).toBe(
      JSON.parse(
        readFileSync(at(`kinds/oci/blobs/${digestOf("oci").replace(":", "/")}`), "utf8"),
      ).config.digest.replace("sha256:", ""),
    );
  });

  test("inspect, list-tags and delete say and do the same", () => {
    const repository = `${host}/same/name`;
    for (const [tag, name] of [
      ["v1", "oci"],
      ["v2", "docker"],
      ["list", "index"],
    ] as const)
      box.ok(["copy", "--all", "--preserve-digests", kind(name), `docker://${repository}:${tag}`]);
    for (const tag of ["v1", "v2", "list"]) {
      const image = `docker://${repository}:${tag}`;
      const theirs = JSON.parse(skopeo("inspect", insecure.one, image)) as object;
      // Newer ones than 1.9 have it.
      const { LayersData, ...ours } = JSON.parse(linked(["inspect", image]).stdout) as {
        LayersData: object[];
      };
      expect(ours).toEqual(theirs as typeof ours);
      expect(LayersData).toHaveLength(2);
      for (const flags of [["--raw"], ["--config", "--raw"], ["--config"]])
        expect(linked(["inspect", ...flags, image]).stdout).toBe(
          skopeo("inspect", insecure.one, ...flags, image),
        );
      const format = "{{.Name}} {{.Digest}} {{.Architecture}}";
      expect(linked(["inspect", "--format", format, image]).stdout).toBe(
        skopeo("inspect", insecure.one, "--format", format, image),
      );
    }
    const arm = [
      "--override-arch",
      "arm64",
      "inspect",
      "--no-tags",
      insecure.one,
      `docker://${repository}:list`,
    ];
    expect(JSON.parse(linked(arm).stdout)).toMatchObject(JSON.parse(skopeo(...arm)) as object);
    expect(linked(["list-tags", `docker://${repository}`]).stdout).toBe(
      skopeo("list-tags", insecure.one, `docker://${repository}`),
    );
    expect(linked(["delete", `docker://${repository}:v1`])).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(box.ok(["image", "tags", repository]).split("\n").toSorted()).toEqual(["list", "v2"]);
    expect(box.ok(["rmi", "--remote", `${repository}:v2`])).toBe(
      `Untagged: ${repository}:v2\nDeleted: ${digestOf("docker")}`,
    );
    expect(linked(["inspect", `docker://${repository}:v2`])).toMatchObject({ code: 1 });
    expect(box.berth(["rmi", "--remote", `${repository}:v2`])).toMatchObject({ code: 1 });
  });

  test("sync gives the same names, in a directory and on a registry", () => {
    for (const [name, tag] of [
      ["one", "1.0"],
      ["one", "1.5"],
      ["deep/two", "latest"],
    ] as const)
      box.ok(["copy", kind("oci"), `docker://${host}/sync/${name}:${tag}`]);
    const list = at("list.yaml");
    writeFileSync(
      list,
      `${host}:\n  tls-verify: false\n  images:\n    sync/deep/two: []\n    sync/one: ["1.5"]\n  images-by-tag-regex:\n    sync/one: ^1\\.0$\n`,
    );
    const tree = (directory: string): string[] =>
      (readdirSync(directory, { recursive: true }) as string[])
        .filter((path) => path.endsWith("manifest.json"))
        .toSorted();
    const calls: [string, string, string[]][] = [
      ["docker", `${host}/sync/one`, []],
      ["docker", `${host}/sync/one:1.5`, ["--scoped"]],
      ["yaml", list, ["--scoped"]],
      ["yaml", list, []],
    ];
    for (const [src, source, more] of calls) {
      const [ours, theirs] = [at(`ours${next}`), at(`theirs${next++}`)];
      skopeo("sync", insecure.src, "--src", src, "--dest", "dir", ...more, source, theirs);
      const printed = box.ok(["image", "sync", "--src", src, "--dest", "dir", ...more, source, ours]);
      expect(tree(ours)).toEqual(tree(theirs));
      expect(
        printed
          .split("\n")
          .map((line) => line.slice(`dir:${ours}/`.length))
          .toSorted(),
      ).toEqual(tree(theirs).map((path) => path.replace("/manifest.json", "")));
      // Once more: all is there.
      box.ok(["image", "sync", "--src", src, "--dest", "dir", ...more, source, ours]);
    }
    const from = at(`ours${next - 1}`);
    skopeo("sync", insecure.dest, "--src", "dir", "--dest", "docker", from, `${host}/theirs`);
    box.ok(["image", "sync", "--src", "dir", "--dest", "docker", from, `${host}/ours`]);
    for (const name of ["one", "two"])
      expect(box.ok(["image", "tags", `${host}/ours/${name}`])).toBe(
        box.ok(["image", "tags", `${host}/theirs/${name}`]),
      );
    const dry = ["image", "sync", "--dry-run", "--src", "docker", "--dest", "docker"];
    expect(
      box
        .ok([...dry, `${host}/sync/one`, `${host}/dry`])
        .split("\n")
        .toSorted(),
    ).toEqual([`docker://${host}/dry/one:1.0`, `docker://${host}/dry/one:1.5`]);
    expect(box.berth(["image", "tags", `${host}/dry/one`]).code).not.toBe(0);
  });

  test("sync goes on with --keep-going, and tells how many failed", () => {
    box.ok(["copy", kind("oci"), `docker://${host}/keep:1`]);
    writeFileSync(at("keep.yaml"), `${host}:\n  images:\n    missing: []\n    keep: ["1", "2"]\n`);
    const sync = (...more: string[]): Outcome =>
      box.berth(["image", "sync", "--src", "yaml", "--dest", "dir", ...more, at("keep.yaml"), at("kept")]);
    expect(sync().code).not.toBe(0);
    expect(existsSync(at("kept"))).toBe(false);
    const { code, stderr } = sync("--keep-going");
    expect(code).not.toBe(0);
    expect(stderr).toContain("2 of 3 images could not be copied");
    expect(readdirSync(at("kept"))).toEqual(["keep:1"]);
  });
});

describe("from the store and back", () => {
  test("an image that was built here, by name and by id", () => {
    box.importBusybox("localhost/busybox:latest");
    const archive = `oci-archive:${at("busybox.oci.tar")}:v1`;
    const { code, stderr } = box.berth(["copy", "busybox", archive]);
    expect([code, stderr]).toEqual([
      0,
      "the digest is another one: layers are in another compression than the one the image came with\n",
    ]);
    box.ok(["copy", archive, "berth:localhost/again:1"]);
    expect(box.ok(["run", "--rm", "--network", "none", "localhost/again:1", "echo", "runs"])).toBe("runs");
    const id = box.ok(["image", "inspect", "--format", "{{.Id}}", "busybox"]);
    expect(box.ok(["image", "inspect", "--format", "{{.Id}}", "localhost/again:1"])).toBe(id);
    box.ok(["copy", `containers-storage:${id}`, `dir:${at("by-id")}`]);
    expect(box.berth(["copy", "berth:nobody", `dir:${at("nobody")}`])).toMatchObject({
      code: 125,
      stdout: "",
    });
    expect(existsSync(at("nobody"))).toBe(false);
    expect(box.ok(["system", "check"])).toBeDefined();
  });

  test("an index stays one: this platform's image runs, the others are kept", () => {
    box.ok(["copy", "--all", kind("index"), "berth:localhost/list:1"]);
    expect(box.ok(["copy", "--all", "localhost/list:1", `oci:${at("list-out")}:v1`])).toBe(digestOf("index"));
    box.ok(["rmi", "localhost/list:1"]);
    expect(box.ok(["images", "-aq"])).toBe("");
  });
});

describe("a destination that fails", () => {
  const targets = (dir: string): string[] => [
    `oci:${dir}/o:v1`,
    `dir:${dir}/d`,
    `oci-archive:${dir}/a.tar`,
    `docker-archive:${dir}/b.tar`,
  ];

  test("a full disk, then a read-only one: an error that says so, and nothing left", () => {
    const dir = at("small");
    mkdirSync(dir);
    expect(runArgv(["mount", "-t", "tmpfs", "-o", "size=8k,nr_inodes=9", "tmpfs", dir]).code).toBe(0);
    try {
      box.importBusybox("localhost/busybox:latest");
      for (const to of targets(dir)) {
        const { code, stderr } = box.berth(["copy", "busybox", to]);
        expect({ to, code, said: /no space left/.test(stderr) }).toEqual({ to, code: 125, said: true });
        expect(readdirSync(dir, { recursive: true })).toEqual([]);
      }
      runArgv(["mount", "-o", "remount,ro", dir]);
      for (const to of targets(dir)) {
        const { code, stderr } = box.berth(["copy", kind("oci"), to]);
        expect({ to, code, said: /read-only/.test(stderr) }).toEqual({ to, code: 125, said: true });
      }
    } finally {
      runArgv(["umount", dir]);
    }
  });

  test("kill -9 while files get their names: nothing half is visible, and the next copy completes it", () => {
    const [layout, loose, ...archives] = [0, 1, 2, 3];
    const points: [at: string, targets: number[]][] = [
      ["transfer.publish=exit", [layout, loose, ...archives]],
      ["transfer.published=exit", archives],
      ["transfer.publish=2*off->exit", [layout, loose]],
      ["transfer.published=3*off->exit", [layout, loose]],
      ["transfer.replace=1*off->exit", [layout, loose]],
      // The document that makes it an image: before and after it has its name.
      ["transfer.replace=4*off->exit", [loose]],
      ["transfer.published=4*off->exit", [loose]],
      ["transfer.replace=5*off->exit", [layout]],
      ["transfer.published=5*off->exit", [layout]],
    ];
    const whole: number[] = [];
    for (const [failpoint, which] of points) {
      for (const target of which) {
        const dir = at(`kill${next++}`);
        mkdirSync(dir);
        if (killedAt(failpoint, dir, targets(dir)[target] as string)) whole.push(target);
        rmSync(dir, { recursive: true });
      }
    }
    // Each was once killed after the last name was given.
    expect(whole.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
  });

  /** What a copy that is killed there leaves is no image or all of it, and can be copied over. True if it was all. */
  function killedAt(failpoint: string, dir: string, to: string): boolean {
    const env = { BERTH_FAILPOINTS: failpoint };
    const { code, stderr } = box.berth(["copy", "-q", kind("oci"), to], { env });
    expect({ to, failpoint, wasKilled: code !== 0, stderr }).toEqual({
      to,
      failpoint,
      wasKilled: true,
      stderr: "",
    });
    const seen = box.berth(["inspect", "--remote", "--format", "{{.Digest}}", to]);
    if (seen.code === 0) expect(seen.stdout.trim()).toBe(digestOf("oci"));
    const isArchive = to.includes("-archive:");
    if (isArchive) expect(readdirSync(dir)).toHaveLength(seen.code === 0 ? 1 : 0);
    if (!isArchive || seen.code !== 0) expect(box.ok(["copy", kind("oci"), to])).toBe(digestOf("oci"));
    const files = readdirSync(dir, { recursive: true }) as string[];
    // Only between two system calls has a file that replaces another one a name of its own.
    const aside = files.filter((name) => name.includes(".berth-"));
    expect(aside.length).toBeLessThanOrEqual(failpoint.startsWith("transfer.replace") ? 1 : 0);
    return seen.code === 0;
  }
});

describe.skipIf(!haveDockerRegistry)("registries that want to know who it is", () => {
  test("each side has its own login and authority; no password is told or shown", async () => {
    const login = { username: "user", password: "se/cret" };
    await using guarded = await startDockerRegistry({ tls: true, login });
    const ca = guarded.certDir as string;
    const there = `docker://${guarded.host}/a:1`;
    const creds = `${login.username}:${login.password}`;
    const open = place("docker");
    const digestfile = at("digest");
    box.ok([
      "copy",
      "-q",
      "--dest-creds",
      creds,
      "--dest-cert-dir",
      ca,
      "--digestfile",
      digestfile,
      kind("oci"),
      there,
    ]);
    expect(readFileSync(digestfile, "utf8")).toBe(digestOf("oci"));
    box.ok([
      "copy",
      "--src-username",
      "user",
      "--src-password",
      login.password,
      "--src-cert-dir",
      ca,
      there,
      open,
    ]);
    const auth = at("auth.json");
    writeFileSync(auth, JSON.stringify({ auths: { [guarded.host]: { auth: btoa(creds) } } }));
    expect(box.ok(["copy", "--authfile", auth, "--src-tls-verify=false", there, place("oci")])).toBe(
      digestOf("oci"),
    );
    const refusals = [
      ["copy", "--src-cert-dir", ca, there, place("oci")],
      ["copy", "--src-cert-dir", ca, "--src-creds", "user:wrong-pass", there, place("oci")],
      ["copy", "--authfile", auth, "--src-no-creds", "--src-cert-dir", ca, there, place("oci")],
      ["copy", "--src-creds", creds, there, place("oci")],
      // Credentials for the one side are not the other's.
      ["copy", "--dest-creds", creds, "--src-cert-dir", ca, there, place("oci")],
    ];
    for (const args of refusals) {
      const { code, stdout, stderr } = box.berth(args);
      expect({ args, code }).toEqual({ args, code: 125 });
      expect(stdout + stderr).not.toMatch(/se\/cret|wrong-pass/);
    }
    expect(box.ok(["image", "tags", "--creds", creds, "--cert-dir", ca, `${guarded.host}/a`])).toBe("1");
    expect(box.ok(["rmi", "--remote", "--creds", creds, "--cert-dir", ca, `${guarded.host}/a:1`])).toContain(
      "Deleted: ",
    );
  });
});

test("a registry that lets nothing be deleted is named, and how to change it", async () => {
  using fake = new FakeRegistry();
  fake.addManifest("v1", Buffer.from(kinds.oci.bytes).toString());
  fake.fault = ({ method }) => (method === "DELETE" ? new Response(null, { status: 405 }) : undefined);
  const { code, stderr } = await box.async(["rmi", "--remote", `${fake.host}/a:v1`]);
  expect(code).not.toBe(0);
  expect(stderr).toContain("does not let manifests be deleted");
  expect(fake.seen.find(({ method }) => method === "DELETE")?.path).toBe(
    `/v2/a/manifests/${digestOf("oci")}`,
  );
});

test("what makes no sense is refused with a word for it", () => {
  const out = `oci:${at("never")}`;
  const calls: [string[], string][] = [
    [["copy", kind("oci")], "requires at least 2 arg(s)"],
    [["copy", "tarball:x", out], 'the transport "tarball" is not supported'],
    [["copy", "docker:alpine", out], 'a registry is written as "docker://'],
    [["copy", kind("oci"), "docker://Upper/Case"], "must be lowercase"],
    [["copy", "--all", "--multi-arch", "system", kind("oci"), out], "cannot be used together"],
    [["copy", "--dest-compress-level", "12", kind("oci"), out], "it goes from 1 to 9"],
    [["copy", "--format", "v2s1", kind("oci"), out], "must be one of"],
    [["copy", "--src-username", "x", kind("oci"), out], "must be given together"],
    [["copy", "--additional-tag", "a:1", kind("oci"), out], "takes no additional tags"],
    [["copy", `oci:${at("kinds")}`, out], "is no OCI layout"],
    [["copy", `dir:${at("kinds")}`, out], "there is no manifest.json"],
    [["copy", `oci-archive:${at("skopeo")}x`, out], "there is no such file"],
    [["inspect", "--raw", "x"], "is of use with --remote only"],
    [["image", "tags", "localhost:1/a:tag"], "a repository has no tag or digest"],
    [["image", "sync", "--src", "dir", "--dest", "dir", "/a", "/b"], "are not synchronised"],
    [["image", "sync", "--src", "oci", "--dest", "dir", "/a", "/b"], 'invalid --src "oci"'],
    [["rmi", "--remote", "--all", "x"], "cannot be used with --remote"],
  ];
  for (const [args, text] of calls) {
    const { code, stderr } = box.berth(args);
    expect({ args, code, stderr }).toEqual({
      args,
      code: 125,
      stderr: expect.stringContaining(text) as string,
    });
  }
  expect(existsSync(at("never"))).toBe(false);
  expect(linked(["copy", "alpine", "oci:x"])).toMatchObject({ code: 1 });
  expect(linked(["run", "x"])).toMatchObject({ code: 1 });
  expect(statSync(at("kinds")).isDirectory()).toBe(true);
});
