/**
 * Images whose layers count on each other, from hand-made docker-archives: berth's root file system is what podman makes of
 * the same file when it really unpacks one layer over the other (its vfs driver). On overlayfs podman 4.3.1, docker 20.10 and
 * containerd 1.6 all differ from that: they ignore an opaque root, put a directory over a link, and refuse the hard links.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "../../src/image/digest.ts";
import { archiveOf, type Entry } from "../fixtures/tar.ts";
import { Box, runArgv } from "./box.ts";

const hasPodman = Bun.which("podman") !== null;
if (!hasPodman) console.warn("skip: comparing layers needs podman");

let box: Box;
beforeAll(() => {
  box = new Box("stack");
  // The first run leaves what is probed once a boot.
  box.importBusybox();
  box.ok(["run", "--rm", "--network", "none", "localhost/busybox", "true"]);
  box.ok(["rmi", "-a", "-f"]);
  box.mark();
});
afterEach(async () => {
  box.ok(["rmi", "-a", "-f"]);
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

const dir = (name: string, more: Partial<Entry> = {}): Entry => ({
  name: `${name}/`,
  mtimeNs: 10n ** 18n,
  ...more,
});
const file = (name: string, content = name): Entry => ({ name, content, mtimeNs: 10n ** 18n });
const link = (name: string, linkName: string): Entry => ({ name, linkName, mtimeNs: 10n ** 18n });
const hard = (name: string, linkName: string): Entry => ({ name, linkName, type: "hardlink" });

function usrMerge(): Entry[] {
  return [
    dir("."),
    dir("usr", { mode: 0o751 }),
    dir("usr/bin", { mode: 0o1755, gid: 4 }),
    { ...file("usr/bin/busybox"), content: readFileSync("/bin/busybox"), mode: 0o4755, uid: 0, gid: 12 },
    link("usr/bin/sh", "busybox"),
    link("usr/bin/cat", "busybox"),
    link("bin", "usr/bin"),
    dir("tmp", { mode: 0o1777 }),
    dir("etc"),
    file("etc/old"),
  ];
}

/** A docker-archive of these layers; returns its path. */
function archive(name: string, layers: Entry[][]): string {
  const tars = layers.map((entries) => archiveOf(...entries));
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    created: "2026-01-01T00:00:00Z",
    config: { Cmd: ["/bin/sh"], Env: ["PATH=/bin"] },
    rootfs: { type: "layers", diff_ids: tars.map((tar) => digestOf(tar)) },
    history: tars.map(() => ({ created_by: "by hand" })),
  });
  const Config = `${digestOf(config).slice(7)}.json`;
  const Layers = tars.map((_, i) => `${i}/layer.tar`);
  const manifest = JSON.stringify([{ Config, RepoTags: [`localhost/${name}:latest`], Layers }]);
  const path = join(box.dir, `${name}.tar`);
  writeFileSync(
    path,
    archiveOf(
      { name: Config, content: config },
      ...tars.map((content, i): Entry => ({ name: Layers[i] as string, content })),
      { name: "manifest.json", content: manifest },
    ),
  );
  return path;
}

/** What tar lists of an exported root file system, without what engines put there. */
function listed(exported: string): string[] {
  const own = /^(?:dev|proc|sys|run)(?:\/|$)|^etc\/(?:hosts|hostname|resolv\.conf|mtab)$/;
  const script = `tar -tvf ${exported} --numeric-owner --full-time`;
  const lines = runArgv(["sh", "-c", script], { env: { TZ: "UTC" } }).stdout.split("\n");
  const kept = lines.filter((line) => line !== "" && !own.test(line.split(/\s+/)[5] ?? ""));
  // Directories change when engines put something into them; which name of a hard-linked file comes first is the walk's matter.
  return kept
    .map((line) => line.replace(/^(d\S+ \S+) .* (\S+)$/, "$1 $2"))
    .filter((line) => !line.startsWith("d") || !/ (?:\.\/|etc\/)$/.test(line))
    .map((line) => line.replace(/^h(\S+ \S+) .* (\S+) link to .*$/, "h$1 $2"))
    .toSorted();
}

function byBerth(name: string, path: string): string[] {
  box.ok(["load", "-i", path]);
  const out = join(box.dir, "berth.tar");
  box.ok(["create", "--name", "x", "--network", "none", `localhost/${name}`]);
  box.ok(["export", "-o", out, "x"]);
  expect(box.ok(["diff", "x"])).toBe("");
  box.ok(["rm", "x"]);
  // The image runs, and a file of the archive's last layer is where the test wants it.
  expect(box.ok(["run", "--rm", "--network", "none", `localhost/${name}`, "cat", "/proof"])).toBe("proof");
  expect(box.berth(["system", "check"])).toMatchObject({ code: 0 });
  return listed(out);
}

function byPodman(name: string, path: string): string[] {
  const store = [
    "--root",
    join(box.dir, "podman"),
    "--runroot",
    join(box.dir, "podman-run"),
    "--storage-driver",
    "vfs",
  ];
  const podman = (...args: string[]): void => {
    const { code, stderr } = runArgv(["podman", ...store, ...args]);
    if (code !== 0) throw new Error(`podman ${args.join(" ")}: ${stderr}`);
  };
  const out = join(box.dir, "podman.tar");
  podman("load", "-q", "-i", path);
  podman("create", "--name", "x", "--network", "none", `localhost/${name}`);
  podman("export", "-o", out, "x");
  podman("rm", "-f", "x");
  podman("rmi", "-f", `localhost/${name}`);
  return listed(out);
}

const proof = file("proof", "proof");

describe.skipIf(!hasPodman)("the same root file system as podman's", () => {
  const cases: Record<string, Entry[][]> = {
    "opaque-root": [
      [file("secret"), dir("d", { mode: 0o700 }), file("d/secret")],
      [...usrMerge(), file(".wh..wh..opq", ""), dir("d")],
      [proof],
    ],
    "through-a-link": [usrMerge(), [file("bin/one"), file("bin/sub/two"), proof], [file("bin/three")]],
    "whiteout-through-a-link": [
      [...usrMerge(), file("usr/bin/extra")],
      [file("bin/.wh.extra", ""), proof],
    ],
    "through-an-absolute-link": [
      [...usrMerge(), link("l", "/usr/../usr/bin")],
      [file("l/one"), proof],
    ],
    "two-names-for-one-place": [usrMerge(), [file("bin/f", "first"), file("usr/bin/f", "second!"), proof]],
    "directory-over-a-link": [
      [...usrMerge(), link("lib", "usr/bin")],
      [dir("lib"), file("lib/f"), proof],
    ],
    "deleted-link": [[...usrMerge(), link("lib", "usr/bin")], [file(".wh.lib", "")], [file("lib/f"), proof]],
    "hard-link-to-a-link": [usrMerge(), [{ ...hard("h", "usr/bin/cat"), mode: 0o777 }, proof]],
  };
  for (const [name, layers] of Object.entries(cases)) {
    test(name, () => {
      const path = archive(name, layers);
      const wanted = byPodman(name, path);
      expect(wanted.length).toBeGreaterThan(5);
      expect(byBerth(name, path)).toEqual(wanted);
    });
  }

  test("hard-link-through-a-link", () => {
    // podman sets mode and owner again from the hard link's own header: it says here what the file has.
    const busybox = { mode: 0o4755, uid: 0, gid: 12, mtimeNs: 10n ** 18n };
    const name = "hard-link";
    const path = archive(name, [usrMerge(), [{ ...hard("h", "bin/busybox"), ...busybox }, proof]]);
    expect(byBerth(name, path)).toEqual(byPodman(name, path));
    box.ok(["load", "-i", path]);
    const script = "busybox stat -c '%h %a %g' /h; busybox readlink /bin";
    expect(box.ok(["run", "--rm", "--network", "none", `localhost/${name}`, "sh", "-c", script])).toBe(
      "2 4755 12\nusr/bin",
    );
  });
});

test("a hard link to nothing names the entry, and nothing stays", () => {
  const outcome = box.berth(["load", "-i", archive("nothing", [usrMerge(), [hard("h", "etc/none"), proof]])]);
  expect(outcome.code).toBe(125);
  expect(outcome.stderr).toContain('tar entry "h" is a hard link to "etc/none"');
  expect(box.ok(["images", "-q"])).toBe("");
});
