/** save, load and import: round trips in every format and compression, with podman and skopeo on the other side where they are. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Box, runArgv } from "./box.ts";

const IMAGE = "localhost/busybox:latest";
const TWO = "localhost/two:1";
const NONE = ["--network", "none"];
let box: Box;
let twoId: string;

const sh = (script: string): string => {
  const { code, stdout, stderr } = runArgv(["sh", "-c", script]);
  if (code !== 0) throw new Error(`${script}: ${stderr}`);
  return stdout;
};
const idOf = (image: string): string => box.ok(["inspect", "--type", "image", "--format", "{{.Id}}", image]);
const runs = (image: string): void =>
  expect(box.ok(["run", "--rm", ...NONE, image, "cat", "/second"])).toBe("layer");
const file = (name: string): string => join(box.dir, name);

beforeAll(() => {
  box = new Box("archives");
  box.importBusybox();
  box.ok(["run", "--name", "x", ...NONE, IMAGE, "sh", "-c", "echo layer >/second; rm /etc/group"]);
  box.ok(["commit", "-c", 'LABEL kept="yes"', "x", TWO]);
  box.ok(["rm", "x"]);
  twoId = idOf(TWO);
  box.mark();
});
afterEach(async () => {
  box.ok(["rmi", "-f", "-i", "localhost/copy:1", "localhost/podman/made:1"]);
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

describe("what was saved loads again as the same image", () => {
  const forget = (): void => void box.ok(["rmi", "-f", TWO]);

  test.each(["docker-archive", "oci-archive"])("%s, from a file", (format) => {
    const tar = file(`${format}.tar`);
    expect(box.berth(["save", "--format", format, "-o", tar, TWO])).toMatchObject({ code: 0, stdout: "" });
    forget();
    expect(box.ok(["load", "-i", tar])).toBe(`Loaded image: ${TWO}`);
    expect(idOf(TWO)).toBe(twoId);
    runs(TWO);
  });

  test.each(["oci-dir", "docker-dir"])("%s, a directory", (format) => {
    const dir = file(format);
    box.ok(["save", "--format", format, "-o", dir, TWO]);
    if (format === "docker-dir")
      return expect(readFileSync(join(dir, "manifest.json")).length).toBeGreaterThan(0);
    forget();
    box.ok(["load", "-i", dir]);
    expect(idOf(twoId)).toBe(twoId);
    box.ok(["tag", twoId, TWO]);
    runs(TWO);
  });

  test.each([
    ["gzip", "gzip -1"],
    ["zstd", "zstd -q"],
    ["xz", "xz -0"],
    ["bzip2", "bzip2 -1"],
    ["nothing", "cat"],
  ])("compressed with %s, through pipes", (_name, compress) => {
    const berth = box.argv.join(" ");
    sh(`${berth} save ${TWO} | ${compress} > ${file("piped")}`);
    forget();
    expect(sh(`${berth} load < ${file("piped")}`)).toBe(`Loaded image: ${TWO}\n`);
    expect(idOf(TWO)).toBe(twoId);
    runs(TWO);
    forget();
    expect(box.ok(["load", "-q", "-i", file("piped")])).toBe(`Loaded image: ${TWO}`);
  });

  test("several images in one archive share their layers, and all names come back", () => {
    const tar = file("both.tar");
    box.ok(["tag", IMAGE, "localhost/copy:1"]);
    box.ok(["save", "-o", tar, IMAGE, "localhost/copy:1", TWO]);
    expect(statSync(tar).size).toBeLessThan(statSync(file("busybox.tar")).size + 400_000);
    box.ok(["rmi", "-a", "-f"]);
    const loaded = box.ok(["load", "-i", tar]).split("\n").sort();
    expect(loaded).toEqual([IMAGE, "localhost/copy:1", TWO].map((name) => `Loaded image: ${name}`).sort());
    runs(TWO);
  });

  test("an image without a name is saved by its id", () => {
    const id = box.ok(["import", file("busybox.tar")]);
    const tar = file("nameless.tar");
    box.ok(["save", "-o", tar, id]);
    box.ok(["rmi", id]);
    expect(box.ok(["load", "-i", tar])).toContain(id.replace("sha256:", "").slice(0, 12));
    box.ok(["rmi", id]);
  });

  test("bad input: not to a terminal, no image, no such image, not an archive, a directory that is none", () => {
    for (const [args, says] of [
      [["save", "nosuch"], "nosuch"],
      [["save", "--format", "rar", TWO], "rar"],
      [["save", "--format", "oci-dir", TWO], "--output"],
      [["load", "-i", file("nosuch")], "nosuch"],
      [["load", "-i", "/etc"], "/etc"],
      [["load", "-i", "/etc/passwd"], "/etc/passwd"],
    ] as const) {
      const outcome = box.berth([...args]);
      expect(outcome.code).toBe(125);
      expect(outcome.stderr).toContain(says);
    }
    expect(box.berth(["load"], { stdin: "" }).code).toBe(125);
    const shown = sh(`script -qec '${box.argv.join(" ")} save ${TWO}' /dev/null || true`);
    expect(shown).toContain("terminal");
  });

  test("into a pipe by name, through a link, over a file; never half", () => {
    const berth = box.argv.join(" ");
    sh(
      `mkfifo ${file("fifo")}; ${berth} save -o ${file("fifo")} ${TWO} & tar -tf ${file("fifo")} >/dev/null; wait`,
    );
    sh(`test -p ${file("fifo")}`);
    sh(`ln -s real.tar ${file("link.tar")}; ${berth} save -o ${file("link.tar")} ${TWO}`);
    sh(`test -L ${file("link.tar")} && tar -tf ${file("real.tar")} >/dev/null`);
    expect(sh(`${berth} save -o /dev/stdout ${TWO} | tar -t`)).toContain("manifest.json");
    sh(`${berth} save -o ${file("real.tar")} ${TWO}`);
    const failed = box.berth(["save", "-o", "/proc/nosuch/x", TWO]);
    expect(failed.stderr).toStartWith('Error: cannot write "/proc/nosuch/x": no such file or directory');
    expect(sh(`ls ${box.dir} | grep -c part || true`)).toBe("0\n");
  });

  test("a truncated archive loads nothing", () => {
    const tar = file("whole.tar");
    box.ok(["save", "-o", tar, TWO]);
    forget();
    const bytes = readFileSync(tar);
    for (const part of [0.3, 0.7, 0.95]) {
      writeFileSync(file("cut.tar"), bytes.subarray(0, Math.floor(bytes.length * part)));
      expect(box.berth(["load", "-i", file("cut.tar")]).code).toBe(125);
      expect(box.berth(["image", "exists", TWO]).code).toBe(1);
    }
    expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
    box.ok(["load", "-i", tar]);
  });
});

const hasPodman = Bun.which("podman") !== null;
if (!hasPodman) console.warn("skip: podman is not installed");

describe.skipIf(!hasPodman)("podman", () => {
  let dir: string;
  const podman = (...args: string[]): string => {
    const store = ["--root", `${dir}/root`, "--runroot", `${dir}/run`, "--cgroup-manager", "cgroupfs"];
    const outcome = runArgv(["podman", ...store, "--events-backend", "none", ...args]);
    if (outcome.code !== 0) throw new Error(`podman ${args.join(" ")}: ${outcome.stderr}`);
    return outcome.stdout.trim();
  };
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-e2e-podman-"));
    podman("images");
    box.mark(); // with what podman has mounted for itself
  });
  afterAll(() => {
    runArgv(["umount", `${dir}/root/overlay`]);
    rmSync(dir, { recursive: true, force: true });
    box.mark();
  });

  test.each(["docker-archive", "oci-archive"])("loads what berth saved as %s", (format) => {
    const tar = file(`to-podman-${format}.tar`);
    box.ok(["save", "--format", format, "-o", tar, TWO]);
    expect(podman("load", "-q", "-i", tar)).toBe(`Loaded image: ${TWO}`);
    const shown = podman(
      "image",
      "inspect",
      "--format",
      '{{.Id}} {{index .Labels "kept"}} {{len .RootFS.Layers}}',
      TWO,
    );
    expect(shown.split(" ").slice(1)).toEqual(["yes", "2"]);
    // An OCI image keeps its configuration byte for byte; docker's form of it is another document.
    if (format === "oci-archive") expect(shown.split(" ")[0]).toBe(twoId);
    podman("rmi", "-f", TWO);
  });

  test.each(["docker-archive", "oci-archive"])("saves as %s what berth loads and runs", (format) => {
    const name = "localhost/podman/made:1";
    podman(
      "import",
      "-q",
      "-c",
      'CMD ["echo", "from podman"]',
      "-c",
      "ENV PATH=/bin",
      file("busybox.tar"),
      name,
    );
    const tar = file(`from-podman-${format}.tar`);
    podman("save", "-q", "--format", format, "-o", tar, name);
    expect(box.ok(["load", "-q", "-i", tar])).toBe(`Loaded image: ${name}`);
    expect(box.ok(["run", "--rm", ...NONE, name])).toBe("from podman");
    expect(idOf(name)).toBe(podman("image", "inspect", "--format", "{{.Id}}", name));
    podman("rmi", name);
  });
});

const hasSkopeo = Bun.which("skopeo") !== null;
if (!hasSkopeo) console.warn("skip: skopeo is not installed");

test.skipIf(!hasSkopeo)("skopeo reads the archives and the layout", () => {
  box.ok(["save", "-o", file("s.tar"), TWO]);
  box.ok(["save", "--format", "oci-archive", "-o", file("s-oci.tar"), TWO]);
  box.ok(["save", "--format", "oci-dir", "-o", file("s-dir"), TWO]);
  for (const source of [
    `docker-archive:${file("s.tar")}`,
    `oci-archive:${file("s-oci.tar")}`,
    `oci:${file("s-dir")}`,
  ]) {
    const shown = JSON.parse(sh(`skopeo inspect --config ${source}`)) as { rootfs: { diff_ids: string[] } };
    expect(shown.rootfs.diff_ids.length).toBe(2);
    const target = file("skopeo-copy");
    sh(`rm -rf ${target}; skopeo copy -q --insecure-policy ${source} dir:${target}`);
  }
});

describe("import", () => {
  const config = (format: string): string =>
    box.ok(["image", "inspect", "--format", format, "localhost/copy:1"]);

  test("--change sets what a Dockerfile could; the message is in the history", () => {
    const changes = [
      "CMD echo $GREETING",
      'ENTRYPOINT ["/bin/sh", "-c"]',
      "ENV PATH=/bin GREETING=hello",
      "WORKDIR /home/user",
      "USER user",
      "EXPOSE 80/tcp 53/udp",
      "VOLUME /data",
      "LABEL a=1 b='two words'",
      "STOPSIGNAL SIGUSR1",
    ];
    const id = box.ok([
      "import",
      ...changes.flatMap((change) => ["--change", change]),
      "-m",
      "a message",
      file("busybox.tar"),
      "localhost/copy:1",
    ]);
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(
      config("{{.Config.User}} {{.Config.WorkingDir}} {{.Config.StopSignal}} {{.Config.Entrypoint}}"),
    ).toBe("user /home/user SIGUSR1 [/bin/sh -c]");
    expect(
      config('{{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{index .Config.Labels "b"}}'),
    ).toBe('{"53/udp":{},"80/tcp":{}} {"/data":{}} two words');
    expect(box.ok(["history", "--format", "{{.Comment}}", "localhost/copy:1"])).toBe("a message");
    expect(
      box.ok(["run", "--rm", ...NONE, "localhost/copy:1", "id -un; pwd; echo $GREETING; ls -d /data"]),
    ).toBe("user\n/home/user\nhello\n/data");
  });

  test("from stdin, compressed, from an HTTP server, without a name", async () => {
    const plain = box.ok(["import", "-q", file("busybox.tar"), "localhost/copy:1"]);
    const layer = config("{{index .RootFS.Layers 0}}");
    expect(plain).toStartWith("sha256:");
    const bytes = new Uint8Array(readFileSync(file("busybox.tar")));
    box.ok(["import", "-", "localhost/copy:1"], { stdin: Bun.gzipSync(bytes) });
    expect(config("{{index .RootFS.Layers 0}}")).toBe(layer);
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => new Response(Bun.zstdCompressSync(bytes)),
    });
    const outcome = await box.async(["import", `http://127.0.0.1:${server.port}/rootfs`, "localhost/copy:1"]);
    expect(outcome.code).toBe(0);
    expect(config("{{index .RootFS.Layers 0}}")).toBe(layer);
    const id = box.ok(["import", file("busybox.tar")]);
    expect(box.ok(["images", "-q", "--no-trunc", "--filter", "dangling=true"])).toContain(id);
    box.ok(["image", "prune", "-f"]);
  });

  test("a change that is none, a name that is none, a file that is none: nothing is stored", () => {
    mkdirSync(file("empty-dir"), { recursive: true });
    const before = box.ok(["images", "-aq"]);
    for (const [args, says] of [
      [["--change", "FROM x", file("busybox.tar"), "localhost/copy:1"], "FROM"],
      [["--change", "NONSENSE", file("busybox.tar")], "NONSENSE"],
      [[file("busybox.tar"), "UPPER"], "UPPER"],
      [[file("nosuch.tar")], "nosuch.tar"],
      [[file("empty-dir")], "empty-dir"],
    ] as const) {
      const outcome = box.berth(["import", ...args]);
      expect(outcome.code).toBe(125);
      expect(outcome.stderr).toContain(says);
    }
    expect(box.ok(["images", "-aq"])).toBe(before);
  });
});
