/** Manifest lists: made, changed, pushed to a real docker-registry, and read there by skopeo, podman and docker's client. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DockerRegistry, haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { Box, runArgv } from "./box.ts";

const NONE = ["--network", "none"];
const HOST = "localhost/site:host";
const FOREIGN = "localhost/site:foreign";
const foreign = process.arch === "arm64" ? "amd64" : "arm64";
let box: Box;

beforeAll(() => {
  box = new Box("manifest");
  box.importBusybox(HOST);
  const dir = join(box.dir, "foreign");
  runArgv([
    "sh",
    "-c",
    `mkdir -p ${dir}/etc && echo ${foreign} > ${dir}/etc/which && tar -C ${dir} -cf ${dir}.tar .`,
  ]);
  box.ok(["import", "--arch", foreign, `${dir}.tar`, FOREIGN]);
  box.ok(["run", "--rm", ...NONE, HOST, "true"]);
  box.mark();
});
afterAll(() => box.close());
afterEach(async () => {
  const others = names().filter((one) => one !== HOST && one !== FOREIGN && !one.startsWith("<none>"));
  for (const name of others) box.ok(["rmi", "-f", name]);
  expect(names()).toEqual([FOREIGN, HOST]);
  expect(box.berth(["system", "check"]).code).toBe(0);
  expect(await box.leaks()).toEqual([]);
});

interface Entry {
  digest: string;
  size: number;
  mediaType: string;
  platform: Record<string, string>;
  annotations?: Record<string, string>;
}

const names = (): string[] => box.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]).split("\n").sort();
const inspect = (list: string): { mediaType: string; manifests: Entry[] } =>
  JSON.parse(box.ok(["manifest", "inspect", list])) as { mediaType: string; manifests: Entry[] };
const sha256 = (bytes: Uint8Array | string): string =>
  `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;

describe("in the store", () => {
  test("create, add, annotate, remove, exists, rm: output and exit codes", () => {
    expect(box.berth(["manifest", "exists", "localhost/list"]).code).toBe(1);
    const first = box.ok(["manifest", "create", "localhost/list"]);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(box.berth(["manifest", "exists", "localhost/list"])).toMatchObject({
      code: 0,
      stdout: "",
      stderr: "",
    });
    expect(box.berth(["manifest", "create", "localhost/list"])).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('the name "localhost/list:latest" is in use by a manifest list'),
    });
    box.ok(["manifest", "create", "--amend", "localhost/list", HOST]);
    const flags = ["--variant", "v9", "--os-version", "10", "--annotation", "a=b=c"];
    const added = box.ok(["manifest", "add", ...flags, "localhost/list", `containers-storage:${FOREIGN}`]);
    expect(added).not.toBe(first);
    const list = inspect("list");
    expect(list.mediaType).toBe("application/vnd.oci.image.index.v1+json");
    expect(
      list.manifests.map(({ platform, annotations }) => [platform["architecture"], annotations]),
    ).toEqual([
      [process.arch === "x64" ? "amd64" : process.arch, undefined],
      [foreign, { a: "b=c" }],
    ]);
    expect(list.manifests[1]?.platform).toMatchObject({ os: "linux", variant: "v9", "os.version": "10" });

    const digest = list.manifests[1]?.digest as string;
    box.ok(["manifest", "annotate", "--arch", "arm", "--variant", "v7", "list", digest]);
    box.ok(["manifest", "annotate", "--index", "--annotation", "top=1", "list"]);
    expect(box.ok(["manifest", "inspect", "--format", "{{.annotations.top}}", "list"])).toBe("1");
    expect(inspect("list").manifests[1]?.platform).toMatchObject({ architecture: "arm", variant: "v7" });
    box.ok(["manifest", "remove", "list", FOREIGN]);
    expect(inspect("list").manifests.length).toBe(1);
    for (const [args, message] of [
      [["remove", "list", digest], "no instance matching digest"],
      [["remove", "list", "sha256:abc"], "invalid digest"],
      [["add", HOST, FOREIGN], "image is not a manifest list"],
      [["add", "nolist", FOREIGN], "nolist: manifest list not known"],
      [["inspect", HOST], "image is not a manifest list"],
    ] as const) {
      const outcome = box.berth(["manifest", ...args]);
      expect([outcome.code, outcome.stdout]).toEqual([125, ""]);
      expect(outcome.stderr).toContain(message);
    }
    const id = box.ok(["images", "-q", "--no-trunc", "--filter", "manifest=true"]).replace("sha256:", "");
    expect(box.ok(["manifest", "rm", "list"])).toBe(`Untagged: localhost/list:latest\nDeleted: ${id}`);
    expect(box.berth(["manifest", "rm", "list"])).toMatchObject({ code: 1, stdout: "" });
  });

  test("a list runs as the image for this host, by every verb", () => {
    box.ok(["manifest", "create", "localhost/list", FOREIGN, HOST]);
    expect(box.ok(["run", "--rm", ...NONE, "list", "cat", "/var/www/index.html"])).toBe("hello from berth");
    const missing = box.berth(["run", "--rm", ...NONE, "--platform", "linux/s390x", "list", "true"]);
    expect(missing.stderr).toContain('no image for platform "linux/s390x"');
    box.ok(["tag", "list", "localhost/other:1"]);
    expect(box.ok(["image", "inspect", "--format", "{{.Architecture}}", "other:1"])).toBe(
      box.ok(["image", "inspect", "--format", "{{.Architecture}}", HOST]),
    );
    expect(box.ok(["history", "-q", "list"])).toBe(box.ok(["history", "-q", HOST]));
    const id = box.ok(["run", "-d", ...NONE, "--name", "user", "list", "sleep", "100"]);
    expect(box.ok(["ps", "--format", "{{.Image}}", "--filter", `id=${id}`])).toBe("localhost/list:latest");
    // The image has a name of its own: nothing is taken from the container.
    expect(box.ok(["rmi", "list"])).toBe("Untagged: localhost/list:latest");
    box.ok(["rmi", "other:1"]);
    box.ok(["rm", "-f", "-t", "0", "user"]);
    expect(box.berth(["run", "--rm", ...NONE, "--pull", "never", "list", "true"]).code).toBe(125);
  });
});

if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");

describe.skipIf(!haveDockerRegistry)("to and from a registry", () => {
  let registry: DockerRegistry;
  let name: string;
  beforeAll(async () => {
    registry = await startDockerRegistry();
    name = `${registry.host}/team/list:1`;
  });
  afterAll(async () => await registry[Symbol.asyncDispose]());

  test("what is pushed has the same digest everywhere, comes back whole, and goes without a trace", () => {
    box.ok(["manifest", "create", "localhost/list", HOST, FOREIGN]);
    const raw = box.ok(["manifest", "inspect", "--raw", "list"]);
    const digestFile = join(box.dir, "digest");
    const pushed = box.berth([
      "manifest",
      "push",
      "--rm",
      "--digestfile",
      digestFile,
      "list",
      `docker://${name}`,
    ]);
    expect([pushed.code, pushed.stdout]).toEqual([0, ""]);
    expect(readFileSync(digestFile, "utf8")).toBe(sha256(raw));
    expect(box.berth(["manifest", "exists", "list"]).code).toBe(1);
    expect(JSON.parse(box.ok(["manifest", "inspect", name]))).toEqual(JSON.parse(raw));
    if (existsSync("/usr/bin/skopeo")) readBySkopeo(name, raw);
    else console.warn("skip: skopeo is not installed");
    if (existsSync("/usr/bin/docker")) {
      const seen = runArgv(["docker", "manifest", "inspect", "--insecure", name]);
      expect(JSON.parse(seen.stdout)).toMatchObject({ manifests: JSON.parse(raw).manifests as Entry[] });
    }

    const images = box.ok(["images", "-q", "--no-trunc", HOST]);
    box.ok(["rmi", "-f", HOST]);
    box.ok(["rmi", "-f", FOREIGN]);
    const pulled = box.berth(["pull", "--all-platforms", name]);
    expect([pulled.code, pulled.stdout]).toEqual([0, `${sha256(raw).slice(7)}\n`]);
    expect(names()).toEqual([name]);
    expect(box.ok(["run", "--rm", ...NONE, name, "cat", "/var/www/index.html"])).toBe("hello from berth");
    const offline = ["create", ...NONE, "--pull", "never", "--platform", `linux/${foreign}`, name, "/x"];
    const id = box.ok(offline);
    expect(box.ok(["cp", `${id}:/etc/which`, "-"])).toContain(foreign);
    expect(box.berth(["rmi", name]).code).toBe(2);
    box.ok(["rm", id]);

    // Byte for byte the same again somewhere else.
    box.ok(["push", "-q", "--digestfile", digestFile, name, `${registry.host}/team/copy:1`]);
    expect(readFileSync(digestFile, "utf8")).toBe(sha256(raw));
    for (const [entry, as] of inspect(name).manifests.map((one, i) => [one, [HOST, FOREIGN][i]] as const)) {
      box.ok(["pull", "-q", `${registry.host}/team/list@${entry.digest}`]);
      box.ok(["tag", `${registry.host}/team/list@${entry.digest}`, as as string]);
    }
    expect(box.ok(["images", "-q", "--no-trunc", HOST])).toBe(images);
    box.ok(["rmi", name]);
  });

  function readBySkopeo(place: string, raw: string): void {
    const seen = runArgv(["skopeo", "inspect", "--raw", "--tls-verify=false", `docker://${place}`]);
    expect(seen.stdout).toBe(raw);
    const dir = join(box.dir, "skopeo");
    const copied = runArgv([
      "skopeo",
      "copy",
      "--all",
      "-q",
      "--src-tls-verify=false",
      `docker://${place}`,
      `dir:${dir}`,
    ]);
    expect([copied.code, copied.stderr]).toEqual([0, ""]);
    expect(sha256(readFileSync(join(dir, "manifest.json")))).toBe(sha256(raw));
    rmSync(dir, { recursive: true });
  }

  test("of remote images: pushed without having been here, and pulled one by one when they are run", () => {
    box.ok(["manifest", "create", "localhost/list", HOST, FOREIGN]);
    box.ok(["manifest", "push", "-q", "--rm", "list", name]);
    box.ok(["manifest", "create", "--all", "localhost/remote", `docker://${name}`]);
    const other = `${registry.host}/elsewhere/app:2`;
    box.ok(["manifest", "push", "-q", "remote", other]);
    expect(inspect(other)).toEqual(inspect("remote"));
    const archive = join(box.dir, "list.tar");
    box.ok(["manifest", "push", "-q", "remote", `oci-archive:${archive}:x`]);
    if (existsSync("/usr/bin/skopeo")) {
      const seen = runArgv(["skopeo", "inspect", "--raw", `oci-archive:${archive}:x`]);
      expect(seen.stdout).toBe(box.ok(["manifest", "inspect", "--raw", "remote"]));
    }
    box.ok(["manifest", "create", "localhost/again"]);
    box.ok(["manifest", "add", "--all", "again", `oci-archive:${archive}:x`]);
    expect(inspect("again").manifests).toEqual(inspect("remote").manifests);
    rmSync(archive);
    expect(box.ok(["run", "--rm", ...NONE, "again", "echo", "runs"])).toBe("runs");
    const nowhere = box.berth([
      "manifest",
      "push",
      "-q",
      "--all=false",
      "again",
      `${registry.host}/empty/app:1`,
    ]);
    expect(nowhere.code).toBe(125);
  });

  test("save writes all of an index that is here whole, as everybody reads it", () => {
    box.ok(["manifest", "create", "localhost/list", HOST, FOREIGN]);
    const raw = box.ok(["manifest", "inspect", "--raw", "list"]);
    const archive = join(box.dir, "saved.tar");
    for (const format of ["docker-archive", "oci-archive"]) {
      box.ok(["save", "-q", "--format", format, "-o", archive, "list"]);
      expect(box.ok(["manifest", "inspect", "--raw", `oci-archive:${archive}`])).toBe(raw);
      if (existsSync("/usr/bin/skopeo")) {
        const dir = join(box.dir, "saved");
        const copied = runArgv(["skopeo", "copy", "--all", "-q", `oci-archive:${archive}`, `dir:${dir}`]);
        expect([copied.code, copied.stderr]).toEqual([0, ""]);
        expect(readFileSync(join(dir, "manifest.json"), "utf8")).toBe(raw);
        rmSync(dir, { recursive: true });
      }
      box.ok(["manifest", "rm", "list"]);
      expect(box.berth(["load", "-i", archive]).stdout).toContain("localhost/list:latest");
      expect(box.ok(["run", "--rm", ...NONE, "localhost/list", "echo", "runs"])).toBe("runs");
      box.ok(["rmi", "localhost/list"]);
      box.ok(["manifest", "create", "localhost/list", HOST, FOREIGN]);
      rmSync(archive);
    }
  });

  test("a hostile index changes nothing", () => {
    const hostile = join(box.dir, "hostile");
    runArgv(["mkdir", "-p", `${hostile}/blobs/sha256`]);
    writeFileSync(join(hostile, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    const index = {
      schemaVersion: 2,
      manifests: [
        { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: "sha256:../../../x", size: 1 },
      ],
    };
    writeFileSync(join(hostile, "index.json"), JSON.stringify(index));
    box.ok(["manifest", "create", "localhost/list", HOST]);
    const before = box.ok(["manifest", "inspect", "--raw", "list"]);
    const outcome = box.berth(["manifest", "add", "--all", "list", `oci:${hostile}`]);
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toContain("invalid digest");
    expect(box.ok(["manifest", "inspect", "--raw", "list"])).toBe(before);
    rmSync(hostile, { recursive: true });
  });
});

const havePodman = existsSync("/usr/bin/podman") && haveDockerRegistry;
if (!havePodman) console.warn("skip: podman or docker-registry is not installed");

test.skipIf(!havePodman)("podman pulls what berth has pushed, and berth what podman has made", async () => {
  await using registry = await startDockerRegistry();
  const store = join(box.dir, "podman");
  const podman = (...args: string[]): string => {
    const argv = [
      "podman",
      "--root",
      `${store}/root`,
      "--runroot",
      `${store}/run`,
      "--storage-driver",
      "vfs",
      ...args,
    ];
    const outcome = runArgv(argv);
    if (outcome.code !== 0) throw new Error(outcome.stderr);
    return outcome.stdout.trim();
  };
  box.ok(["manifest", "create", "localhost/list", HOST, FOREIGN]);
  const digest = sha256(box.ok(["manifest", "inspect", "--raw", "list"]));
  const name = `${registry.host}/team/list:1`;
  box.ok(["manifest", "push", "-q", "list", name]);
  try {
    podman("pull", "-q", "--tls-verify=false", name);
    expect(podman("image", "inspect", "--format", "{{.Digest}}", name)).toBe(digest);
    podman("manifest", "create", "localhost/theirs");
    podman("manifest", "add", "--tls-verify=false", "--all", "localhost/theirs", `docker://${name}`);
    podman(
      "manifest",
      "push",
      "-q",
      "--tls-verify=false",
      "--all",
      "localhost/theirs",
      `docker://${registry.host}/team/theirs:1`,
    );
  } finally {
    // Its store has a mount of its own while it works.
    runArgv(["sh", "-c", `umount ${store}/root/vfs 2>/dev/null; rm -rf ${store}`]);
  }
  const theirs = `${registry.host}/team/theirs:1`;
  box.ok(["pull", "-q", "--all-platforms", theirs]);
  expect(inspect(theirs).manifests.map((entry) => entry.digest)).toEqual(
    inspect("list").manifests.map((entry) => entry.digest),
  );
  expect(box.ok(["run", "--rm", ...NONE, theirs, "echo", "runs"])).toBe("runs");
});
