/** Names and layers: tag, untag, rmi, history, prune; whiteouts, opaque directories, links and more than a hundred layers. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Box, runArgv } from "./box.ts";

const IMAGE = "localhost/busybox:latest";
const NONE = ["--network", "none"];
let box: Box;

beforeAll(() => {
  box = new Box("layers");
  box.importBusybox();
  box.ok(["run", "--rm", ...NONE, IMAGE, "true"]);
  box.mark();
});
afterEach(async () => {
  box.clear();
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

const lines = (args: string[]): string[] => box.ok(args).split("\n").filter(Boolean);
const names = (): string[] => lines(["images", "--format", "{{.Repository}}:{{.Tag}}"]).sort();

describe("names", () => {
  test("tag gives more names, rmi of one of them only takes it away", () => {
    box.ok(["tag", IMAGE, "localhost/a:1", "localhost/b"]);
    expect(names()).toEqual(["localhost/a:1", "localhost/b:latest", IMAGE]);
    expect(box.ok(["rmi", "localhost/a:1"])).toBe("Untagged: localhost/a:1");
    expect(box.ok(["untag", IMAGE, "localhost/b"])).toBe("");
    expect(names()).toEqual([IMAGE]);
    expect(box.berth(["untag", IMAGE, "localhost/never"]).code).toBe(125);
    expect(box.berth(["tag", "nosuch", "x"]).code).toBe(125);
    expect(box.berth(["tag", IMAGE, "Bad Name"]).code).toBe(125);
  });

  test("a tag moves to another image; the old one keeps its other names or dangles", () => {
    const other = box.ok(["import", "-c", "CMD other", join(box.dir, "busybox.tar"), "localhost/moved:1"]);
    box.ok(["tag", IMAGE, "localhost/moved:1"]);
    expect(lines(["images", "-q", "--no-trunc", "--filter", "dangling=true"])).toEqual([other]);
    expect(lines(["image", "prune", "-f"])).toEqual([other.replace("sha256:", "")]);
    box.ok(["untag", IMAGE, "localhost/moved:1"]);
  });

  test("by id: refused while it has several names, all of them with -f; ids may be short", () => {
    const id = box.ok(["import", "-c", "CMD x", join(box.dir, "busybox.tar"), "localhost/x:1"]).slice(7);
    box.ok(["tag", id.slice(0, 10), "localhost/y:1"]);
    const refused = box.berth(["rmi", id]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toContain("localhost/y:1");
    expect(lines(["rmi", "-f", id.slice(0, 12)])).toEqual([
      "Untagged: localhost/x:1",
      "Untagged: localhost/y:1",
      `Deleted: ${id}`,
    ]);
    expect(names()).toEqual([IMAGE]);
  });

  test("in use: 2 and named, by a stopped container too; -f takes the container along; -a leaves such images", () => {
    box.ok(["import", "-c", "CMD y", join(box.dir, "busybox.tar"), "localhost/used:1"]);
    box.ok(["create", "--name", "user", ...NONE, "localhost/used:1", "true"]);
    const id = box.ok(["inspect", "--format", "{{.Id}}", "user"]).slice(0, 12);
    const refused = box.berth(["rmi", "localhost/used:1"]);
    expect([refused.code, refused.stderr.includes(id)]).toEqual([2, true]);
    box.up("running");
    const all = box.berth(["rmi", "-a"]);
    expect(all.code).toBe(2);
    expect(lines(["ps", "-a", "--format", "{{.Names}}"]).sort()).toEqual(["running", "user"]);
    expect(names()).toContain(IMAGE);
    box.ok(["tag", "localhost/used:1", "localhost/used:2"]);
    box.ok(["rmi", "-f", "localhost/used:2"]);
    expect(lines(["ps", "-a", "--format", "{{.Names}}"]).sort()).toEqual(["running", "user"]);
    box.ok(["rmi", "-f", "localhost/used:1"]);
    expect(lines(["ps", "-a", "--format", "{{.Names}}"])).toEqual(["running"]);
  });

  test("unknown ones: 1, the others go; -i makes it no error", () => {
    box.ok(["tag", IMAGE, "localhost/z:1"]);
    const some = box.berth(["rmi", "nosuch", "localhost/z:1"]);
    expect([some.code, some.stdout]).toEqual([1, "Untagged: localhost/z:1\n"]);
    expect(box.berth(["rmi", "-i", "nosuch"]).code).toBe(0);
    expect(box.berth(["image", "exists", "nosuch"]).code).toBe(1);
    expect(box.berth(["image", "exists", IMAGE]).code).toBe(0);
  });

  test("prune -a takes what no container uses; filters; history tells the steps", () => {
    box.ok(["import", "-c", "CMD p", "-c", "LABEL p=1", join(box.dir, "busybox.tar"), "localhost/p:1"]);
    box.ok(["run", "--name", "step", ...NONE, "localhost/p:1", "touch", "/step"]);
    box.ok(["commit", "step", "localhost/q:1"]);
    box.ok(["rm", "step"]);
    const [top, ...rest] = lines([
      "history",
      "--format",
      "{{.ID}}|{{.CreatedBy}}|{{.Size}}",
      "localhost/q:1",
    ]);
    expect(top).toMatch(/^[0-9a-f]{12}\|touch \/step\|0 B$/);
    expect(rest.length).toBe(1);
    // The step of an image that is here has its ID, as in podman.
    const base = box.ok(["images", "-q", "localhost/p:1"]);
    expect(rest[0]).toStartWith(`${base}|`);
    expect(lines(["history", "-q", "localhost/q:1"])).toEqual([(top as string).slice(0, 12), base]);
    box.up("keeps");
    box.ok(["image", "prune", "-a", "-f", "--filter", "label=p=2"]);
    expect(names()).toEqual(["localhost/p:1", "localhost/q:1", IMAGE].sort());
    box.ok(["image", "prune", "-a", "-f"]);
    expect(names()).toEqual([IMAGE]);
  });
});

/** Makes docker archives by hand: each layer a function that fills a directory with what its tar has. */
class HandMade {
  readonly #dir = join(box.dir, "hand-made");
  readonly #layers: string[] = [];

  constructor() {
    rmSync(this.#dir, { recursive: true, force: true });
    mkdirSync(join(this.#dir, "image"), { recursive: true });
  }

  layer(fill: (put: (path: string, content?: string) => void, root: string) => void): this {
    const root = join(this.#dir, `layer-${this.#layers.length}`);
    mkdirSync(root);
    fill((path, content = "") => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      if (path.endsWith("/")) mkdirSync(join(root, path), { recursive: true });
      else writeFileSync(join(root, path), content);
    }, root);
    return this.tar(`${this.#layers.length}.tar`, root);
  }

  /** Takes an archive as it is. */
  file(path: string): this {
    const name = `${this.#layers.length}.tar`;
    cpSync(path, join(this.#dir, "image", name));
    this.#layers.push(name);
    return this;
  }

  private tar(name: string, root: string): this {
    const made = runArgv([
      "tar",
      "-C",
      root,
      "--owner=0",
      "--group=0",
      "-cf",
      join(this.#dir, "image", name),
      ".",
    ]);
    if (made.code !== 0) throw new Error(made.stderr);
    this.#layers.push(name);
    return this;
  }

  load(name: string): void {
    const image = join(this.#dir, "image");
    const diffIds = this.#layers.map((layer) => {
      const bytes = runArgv(["sha256sum", join(image, layer)]).stdout;
      return `sha256:${bytes.slice(0, 64)}`;
    });
    const config = JSON.stringify({
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      config: { Env: ["PATH=/bin"], Cmd: ["sh"] },
      rootfs: { type: "layers", diff_ids: diffIds },
    });
    const configName = `${createHash("sha256").update(config).digest("hex")}.json`;
    writeFileSync(join(image, configName), config);
    writeFileSync(
      join(image, "manifest.json"),
      JSON.stringify([{ Config: configName, RepoTags: [name], Layers: this.#layers }]),
    );
    const script = `tar -C ${image} -c . | ${box.argv.join(" ")} load -q`;
    const loaded = runArgv(["sh", "-c", script]);
    if (loaded.code !== 0) throw new Error(loaded.stderr);
  }
}

describe("layers", () => {
  const NAME = "localhost/stack:1";
  const shows = (script: string): string => box.ok(["run", "--rm", ...NONE, NAME, "sh", "-c", script]);
  afterEach(() => void box.ok(["rmi", "-f", "-i", NAME]));

  test("whiteouts remove, opaque directories hide, a file replaces a directory and back", () => {
    new HandMade()
      .file(join(box.dir, "busybox.tar"))
      .layer((put) => {
        put("d/gone", "1");
        put("d/stays", "1");
        put("opaque/below", "1");
        put("opaque/sub/below", "1");
        put("becomes-file/x", "1");
        put("becomes-dir", "1");
        put("again/x", "1");
      })
      .layer((put) => {
        put("d/.wh.gone");
        put("d/new", "2");
        put("opaque/.wh..wh..opq");
        put("opaque/above", "2");
        put("becomes-file", "2");
        put("becomes-dir/x", "2");
        put(".wh.again");
      })
      .layer((put) => {
        put("again/y", "3");
        put("d/new", "3");
      })
      .load(NAME);
    expect(
      shows("cd /; find d opaque becomes-file becomes-dir again | sort; cat d/new becomes-file").split("\n"),
    ).toEqual([
      "again",
      "again/y",
      "becomes-dir",
      "becomes-dir/x",
      "becomes-file",
      "d",
      "d/new",
      "d/stays",
      "opaque",
      "opaque/above",
      "32",
    ]);
    expect(
      box.ok(["run", "--rm", ...NONE, NAME, "sh", "-c", "rm -r /opaque; mkdir /opaque; ls -a /opaque"]),
    ).toBe(".\n..");
  });

  test("links, modes, owners and times come through; a layer through a link stays in the image", () => {
    const canary = join(box.dir, "canary");
    mkdirSync(canary, { recursive: true });
    new HandMade()
      .file(join(box.dir, "busybox.tar"))
      .layer((put, root) => {
        put("data/file", "content");
        symlinkSync("file", join(root, "data/link"));
        symlinkSync(canary, join(root, "out"));
        runArgv(["ln", join(root, "data/file"), join(root, "data/hard")]);
        runArgv(["chmod", "4751", join(root, "data/file")]);
        runArgv(["touch", "-d", "2001-02-03T04:05:06Z", join(root, "data/file")]);
      })
      .layer((put) => put("out/planted", "evil"))
      .load(NAME);
    expect(shows("stat -c '%a %u:%g %h %Y' /data/file; readlink /data/link; cat /data/hard")).toBe(
      "4751 0:0 2 981173106\nfile\ncontent",
    );
    expect(runArgv(["ls", canary]).stdout).toBe("");
  });

  test("130 layers: every one shows, run, commit, save, load", () => {
    const image = new HandMade().file(join(box.dir, "busybox.tar"));
    for (let i = 0; i < 129; i++) {
      image.layer((put) => {
        put(`many/${i}`, String(i));
        put("last", String(i));
        if (i > 0 && i % 10 === 0) put(`many/.wh.${i - 1}`);
      });
    }
    image.load(NAME);
    expect(box.ok(["image", "inspect", "--format", "{{len .RootFS.Layers}}", NAME])).toBe("130");
    expect(shows("cat /last; ls /many | wc -l; ls /many/9 2>/dev/null; cat /many/127")).toBe("128117\n127");
    box.ok(["run", "--name", "more", ...NONE, NAME, "sh", "-c", "rm /many/5; echo 129 >/last"]);
    box.ok(["commit", "more", "localhost/stack:2"]);
    box.ok(["rm", "more"]);
    const tar = join(box.dir, "many.tar");
    box.ok(["save", "-o", tar, "localhost/stack:2"]);
    box.ok(["rmi", NAME, "localhost/stack:2"]);
    box.ok(["load", "-q", "-i", tar]);
    expect(
      box.ok(["run", "--rm", ...NONE, "localhost/stack:2", "sh", "-c", "cat /last; ls /many | wc -l"]),
    ).toBe("129\n116");
    box.ok(["rmi", "localhost/stack:2"]);
    expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
  }, 120_000);

  test("removing an image frees what only it had, and keeps what others have", () => {
    const size = (): number =>
      Number(/"RawSize": (\d+)/.exec(box.ok(["system", "df", "--format", "json"]))?.[1] ?? 0);
    const before = size();
    new HandMade()
      .file(join(box.dir, "busybox.tar"))
      .layer((put) => put("big", "x".repeat(3_000_000)))
      .load(NAME);
    expect(size() - before).toBeGreaterThan(2_500_000);
    box.ok(["rmi", NAME]);
    expect(size()).toBe(before);
    expect(box.ok(["run", "--rm", ...NONE, IMAGE, "echo", "still"])).toBe("still");
  });
});
