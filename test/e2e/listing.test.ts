/** ps, inspect and images: what they list, in which columns and order, filtered and formatted (compared with podman 4.3.1 by hand). */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Box } from "./box.ts";

const IMAGE = "localhost/busybox";
let box: Box;
let ids: Record<string, string>;

beforeAll(() => {
  box = new Box("listing");
  box.importBusybox();
  const none = ["--network", "none"];
  ids = {
    web: box.up("web", "exec sleep 1000 # a comment that is long", ["-l", "tier=front", "-l", "app=x"]),
    idle: box.ok(["create", "--name", "idle", ...none, "-l", "app=y", IMAGE, "true"]),
  };
  expect(box.berth(["run", "--name", "failed", ...none, IMAGE, "sh", "-c", "exit 3"]).code).toBe(3);
  ids["failed"] = box.ok(["inspect", "--format", "{{.Id}}", "failed"]);
});
afterAll(() => box.close());

const names = (...args: string[]): string[] =>
  box
    .ok(["ps", "--format", "{{.Names}}", ...args])
    .split("\n")
    .filter(Boolean);

describe("ps", () => {
  test("the table: seven columns, short ids, cut commands, the image's full name", () => {
    const [heading = "", row = "", ...more] = box.ok(["ps"]).split("\n");
    expect(heading.split(/ {2,}/)).toEqual([
      "CONTAINER ID",
      "IMAGE",
      "COMMAND",
      "CREATED",
      "STATUS",
      "PORTS",
      "NAMES",
    ]);
    expect(row).toStartWith(`${ids["web"]?.slice(0, 12)}  localhost/busybox:latest  sh -c exec sleep ...  `);
    expect(row).toMatch(/ Up (Less than a second|\d+ seconds?) +web$/);
    expect(heading.indexOf("NAMES")).toBe(row.indexOf("web"));
    expect(more).toEqual([]);
  });

  test("-a, -q, --no-trunc, -n, -l, --noheading", () => {
    expect(names("-a")).toEqual(["web", "idle", "failed"]);
    expect(box.ok(["ps", "-aq"]).split("\n")).toEqual(Object.values(ids).map((id) => id.slice(0, 12)));
    expect(box.ok(["ps", "-q", "--no-trunc"])).toBe(ids["web"] as string);
    expect(box.ok(["ps", "--no-trunc"])).toContain("sh -c exec sleep 1000 # a comment that is long  ");
    expect(names("-n", "2")).toEqual(["idle", "failed"]);
    expect(names("-l")).toEqual(["failed"]);
    expect(box.ok(["ps", "--noheading"]).split("\n").length).toBe(1);
  });

  test("states and exit codes", () => {
    expect(box.ok(["ps", "-a", "--format", "{{.Names}} {{.State}} {{.ExitCode}}"]).split("\n")).toEqual([
      "web running 0",
      "idle created 0",
      "failed exited 3",
    ]);
    expect(box.ok(["ps", "-a", "--filter", "name=failed", "--format", "{{.Status}}"])).toMatch(
      /^Exited \(3\) .+ ago$/,
    );
  });

  test.each([
    [["name=we"], ["web"]],
    [
      ["name=^w", "name=^i"],
      ["web", "idle"],
    ],
    [["status=exited"], ["failed"]],
    [
      ["status=created", "status=exited"],
      ["idle", "failed"],
    ],
    [["exited=3"], ["failed"]],
    [["exited=0"], []],
    [["label=app"], ["web", "idle"]],
    [["label=app=y"], ["idle"]],
    [["label=app", "label=tier=front"], ["web"]],
    [["label!=app"], ["failed"]],
    [["ancestor=localhost/busybox"], ["web", "idle", "failed"]],
    [["ancestor=nosuch"], []],
    [["before=idle"], ["web"]],
    [["since=web"], ["idle", "failed"]],
    [["until=1h"], []],
    [["network=none", "status=running"], ["web"]],
  ])("--filter %p", (filters, wanted) => {
    expect(names("-a", ...filters.flatMap((filter) => ["--filter", filter]))).toEqual(wanted);
  });

  test("--filter id= with the beginning of an id", () => {
    expect(names("-a", "--filter", `id=${ids["idle"]?.slice(0, 6)}`)).toEqual(["idle"]);
  });

  test("--sort", () => {
    expect(names("-a", "--sort", "names")).toEqual(["failed", "idle", "web"]);
    expect(names("-a", "--sort", "created")).toEqual(["web", "idle", "failed"]);
    const wrong = box.berth(["ps", "--sort", "colour"]);
    expect(wrong.stderr).toContain("colour");
    expect(wrong.code).toBe(125);
  });

  test("templates: table, escapes, functions, labels", () => {
    expect(
      box
        .ok(["ps", "--format", "table {{.Names}}\\t{{.State}}"])
        .split("\n")
        .map((line) => line.trim()),
    ).toEqual(["NAMES       STATE", "web         running"]);
    expect(box.ok(["ps", "--format", '{{.Names}}\\t{{.Label "tier"}}'])).toBe("web\tfront");
    expect(box.ok(["ps", "--format", "{{upper .Names}}-{{len .ID}}-{{slice .ID 0 3}}"])).toBe(
      `WEB-12-${ids["web"]?.slice(0, 3)}`,
    );
    expect(box.ok(["ps", "--format", "{{json .Names}}"])).toBe('"web"');
    expect(box.berth(["ps", "--format", "{{.Nope}}"]).code).toBe(125);
  });

  test("--format json is podman's array", () => {
    const rows = JSON.parse(box.ok(["ps", "-a", "--format", "json"])) as Record<string, unknown>[];
    expect(rows.map((row) => [row["Names"], row["State"], row["Exited"], row["ExitCode"]])).toEqual([
      [["web"], "running", false, 0],
      [["idle"], "created", false, 0],
      [["failed"], "exited", true, 3],
    ]);
    expect(rows[0]).toMatchObject({
      Id: ids["web"],
      Image: "localhost/busybox:latest",
      Command: ["sh", "-c", "exec sleep 1000 # a comment that is long"],
      Labels: { app: "x", tier: "front" },
    });
    expect(rows[0]?.["Pid"]).toBeGreaterThan(1);
  });

  test("-s counts the bytes of files that were written, and no more", () => {
    const sizes = (): Record<string, string> =>
      Object.fromEntries(
        box
          .ok(["ps", "-as", "--format", "{{.Names}}={{.Size}}"])
          .split("\n")
          .map((line) => line.split("=") as [string, string]),
      );
    expect(sizes()["idle"]).toMatch(/^0 B \(virtual 1\.\d+ MB\)$/);
    expect(sizes()["web"]).toMatch(/^0 B /);
    box.in("web", "dd if=/dev/zero of=/big bs=1000 count=3000 2>/dev/null");
    expect(sizes()["web"]).toMatch(/^3 MB \(virtual [45]\.\d+ MB\)$/);
    expect(box.ok(["inspect", "-s", "--format", "{{.SizeRw}}", "web"])).toBe("3000000");
  });
});

describe("inspect", () => {
  const templated = (format: string, name = "web"): string => box.ok(["inspect", "--format", format, name]);

  test.each([
    ["{{.Name}} {{.State.Status}} {{.State.Running}}", "web running true"],
    ["{{.ImageName}} {{.Config.Image}}", "localhost/busybox:latest localhost/busybox:latest"],
    ['{{index .Config.Labels "app"}}', "x"],
    ["{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "app=x;tier=front;"],
    ["{{len .Mounts}} {{.HostConfig.NetworkMode}} {{.RestartCount}}", "0 none 0"],
    ["{{json .Args}}", '["-c","exec sleep 1000 # a comment that is long"]'],
    ['{{join .Config.Env ","}}', "PATH=/bin:/sbin"],
    ["{{if .State.Paused}}paused{{else}}not paused{{end}}", "not paused"],
    ["{{with .HostConfig}}{{.Privileged}} {{.ReadonlyRootfs}} {{.PidsLimit}}{{end}}", "false false 2048"],
    ['{{printf "%s|%5.1f|%t|%q" .Name 1.25 true .Path}}', 'web|  1.2|true|"sh"'],
    [
      '{{eq .State.Status "running"}} {{ne .Name "x"}} {{and .State.Running (gt .State.Pid 1)}}',
      "true true true",
    ],
  ])("--format %p", (format, wanted) => {
    expect(templated(format)).toBe(wanted);
  });

  test("several, with one that is not there: the found ones, the error, 125", () => {
    const outcome = box.berth(["inspect", "--format", "{{.Name}}", "web", "nosuch", "idle"]);
    expect(outcome.stdout).toBe("web\nidle\n");
    expect(outcome.stderr).toContain('no such object: "nosuch"');
    expect(outcome.code).toBe(125);
    const nothing = box.berth(["inspect", "nosuch"]);
    expect([nothing.stdout, nothing.code]).toEqual(["[]\n", 125]);
  });

  test("--type keeps to its kind; a container's name wins over an image's", () => {
    box.ok(["tag", IMAGE, "web"]);
    expect(templated("{{.State.Status}}")).toBe("running");
    expect(box.ok(["inspect", "--type", "image", "--format", "{{.Os}}", "web"])).toBe("linux");
    expect(box.berth(["inspect", "--type", "image", "idle"]).code).toBe(125);
    expect(box.berth(["container", "inspect", IMAGE]).code).toBe(125);
    box.ok(["untag", IMAGE, "web"]);
  });

  test("a field that does not exist is an error that names it", () => {
    const outcome = box.berth(["inspect", "--format", "{{.State.Nope}}", "web"]);
    expect(outcome.stderr).toContain("Nope");
    expect(outcome.code).toBe(125);
  });

  test("a failed start leaves its reason and code", () => {
    box.ok(["create", "--name", "broken", "--network", "none", IMAGE, "nosuchcommand"]);
    expect(box.berth(["start", "broken"]).code).toBe(127);
    const [status, code, error] = templated(
      "{{.State.Status}}\n{{.State.ExitCode}}\n{{.State.Error}}",
      "broken",
    ).split("\n");
    expect([status, code]).toEqual(["created", "127"]);
    expect(error).toContain("nosuchcommand");
    box.ok(["rm", "broken"]);
  });

  test("times of an earlier life stay: FinishedAt after a restart", () => {
    box.up("again");
    const at = "{{.State.FinishedAt}}";
    expect(templated(at, "again")).toBe("0001-01-01T00:00:00Z");
    box.ok(["restart", "-t", "0", "again"]);
    const finished = Date.parse(templated(at, "again"));
    expect(Math.abs(Date.now() - finished)).toBeLessThan(20_000);
    expect(finished).toBeLessThanOrEqual(Date.parse(templated("{{.State.StartedAt}}", "again")));
    box.ok(["rm", "-f", "again"]);
  });

  test("image inspect", () => {
    const id = box.ok(["images", "-q", "--no-trunc", IMAGE]).replace("sha256:", "");
    expect(box.ok(["image", "inspect", "--format", "{{.Id}} {{.RepoTags}} {{.Config.Cmd}}", IMAGE])).toBe(
      `${id} [localhost/busybox:latest] [/bin/sh]`,
    );
    expect(box.ok(["inspect", "--format", "{{.RootFS.Type}} {{len .RootFS.Layers}}", id.slice(0, 8)])).toBe(
      "layers 1",
    );
  });
});

describe("images", () => {
  test("one row a name; -q, --no-trunc, --digests, --noheading, json", () => {
    box.ok(["tag", IMAGE, "example.com:5000/team/tool:2.1"]);
    const list = (...args: string[]): string[] =>
      box
        .ok(["images", ...args])
        .split("\n")
        .filter(Boolean);
    const [heading, ...rows] = list();
    expect(heading?.split(/ {2,}/)).toEqual(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    expect(rows.map((row) => row.split(/ {2,}/).slice(0, 2))).toEqual([
      ["example.com:5000/team/tool", "2.1"],
      ["localhost/busybox", "latest"],
    ]);
    expect(list("-q").length).toBe(1);
    expect(list("-q", "--no-trunc")[0]).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(list("--digests")[0]).toContain("DIGEST");
    expect(list("--noheading").length).toBe(2);
    const [object] = JSON.parse(box.ok(["images", "--format", "json"])) as [Record<string, unknown>];
    expect(object["Names"]).toEqual(["example.com:5000/team/tool:2.1", "localhost/busybox:latest"]);
    box.ok(["untag", IMAGE, "example.com:5000/team/tool:2.1"]);
  });

  test.each([
    [["busybox"], 1],
    [["localhost/busybox"], 1],
    [["localhost/busybox:latest"], 1],
    [["localhost/busybox:other"], 0],
    [["localhost/*"], 1],
    [["*busy*"], 1],
    [["nosuch"], 0],
    [["--filter", "reference=*busy*"], 1],
    [["--filter", "reference=localhost/busybox"], 1],
    [["--filter", "reference=other*"], 0],
    [["--filter", "dangling=true"], 0],
    [["--filter", "containers=true"], 1],
    [["--filter", "until=1h"], 0],
  ])("images %p", (args, count) => {
    expect(
      box
        .ok(["images", "-q", ...args])
        .split("\n")
        .filter(Boolean).length,
    ).toBe(count);
  });
});
