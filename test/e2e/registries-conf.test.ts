/** registries.conf and searching, side by side with skopeo and podman on the same files: whom they ask, in which order, and what they refuse. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DockerRegistry, haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { FakeRegistry, problem } from "../fake/registry.ts";
import { Box, type Outcome, runArgv } from "./box.ts";
import { Terminal } from "./terminal.ts";

const haveSkopeo = existsSync("/usr/bin/skopeo");
const havePodman = existsSync("/usr/bin/podman");
const PINNED = `sha256:${"a".repeat(64)}`;
let box: Box;
let env: Record<string, string>;

beforeAll(() => {
  box = new Box("registries-conf");
  const home = join(box.dir, "home");
  env = { HOME: home, XDG_RUNTIME_DIR: join(home, "run"), XDG_CACHE_HOME: join(home, "cache") };
  delete process.env["REGISTRY_AUTH_FILE"];
  delete process.env["XDG_CONFIG_HOME"];
  box.importBusybox();
  box.mark();
});
afterEach(async () => {
  rmSync(env["HOME"] as string, { recursive: true, force: true });
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

/** The user's registries.conf, which berth, podman and skopeo all read. */
function configure(text: string, dropIns: Record<string, string> = {}): void {
  const path = join(env["HOME"] as string, ".config/containers/registries.conf");
  mkdirSync(`${path}.d`, { recursive: true });
  mkdirSync(env["XDG_RUNTIME_DIR"] as string, { recursive: true });
  writeFileSync(path, text);
  for (const [name, content] of Object.entries(dropIns)) writeFileSync(join(`${path}.d`, name), content);
}

/** While this process goes on: it serves what they ask for. */
async function run(argv: string[]): Promise<Outcome> {
  const child = Bun.spawn(argv, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...env },
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, stdout, stderr };
}

if (!haveSkopeo) console.warn("skip: skopeo is not installed");

describe.skipIf(!haveSkopeo)("as skopeo", () => {
  const registries = new Map<string, FakeRegistry>();
  let asked: string[] = [];
  beforeAll(() => {
    for (const name of ["A", "B", "C"]) {
      const registry = new FakeRegistry();
      registry.fault = ({ path }) => {
        if (path === "/v2/") return undefined;
        asked.push(`${name}${path}`);
        return problem(404, "MANIFEST_UNKNOWN", "manifest unknown");
      };
      registries.set(name, registry);
    }
  });
  afterAll(() => {
    for (const registry of registries.values()) registry[Symbol.dispose]();
  });
  /** "$A" stands for the first registry's host. */
  const filled = (text: string): string =>
    text.replaceAll(/\$([ABC])/g, (_, name: string) => registries.get(name)?.host ?? "");

  const FULL = `
[[registry]]
prefix = "moved.test/team"
location = "$A/elsewhere/team"
insecure = true
[[registry.mirror]]
location = "$B/cache"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "$C/cache/deep"
insecure = true
pull-from-mirror = "tag-only"
[[registry]]
prefix = "moved.test"
location = "$B"
insecure = true
[[registry]]
prefix = "moved.test"
location = "$C"
insecure = true
[[registry]]
prefix = "*.wild.test"
location = "$C/wild"
insecure = true
[[registry]]
prefix = "*.blocked.wild.test"
blocked = true
[[registry]]
prefix = "pinned.test"
location = "$A/pinned"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "$B/pinned"
insecure = true
`;
  test.each([
    ["moved.test/team/app:1"],
    [`moved.test/team/app@${PINNED}`],
    ["moved.test/teams/app:1"],
    ["moved.test/other/app:1"],
    ["x.wild.test/app:1"],
    ["x.y.wild.test/deep/app:1"],
    ["x.blocked.wild.test/app:1"],
    ["pinned.test/app:1"],
    [`pinned.test/app@${PINNED}`],
  ])("%s is asked for in the same places", async (reference) => {
    configure(filled(FULL));
    const visits: string[][] = [];
    for (const argv of [
      ["skopeo", "inspect", "--raw", `docker://${reference}`],
      [...box.argv, "pull", reference],
    ]) {
      asked = [];
      const { code, stderr } = await run(argv);
      expect(code).not.toBe(0);
      // skopeo asks no blocked registry either.
      visits.push(asked.length === 0 ? [/blocked/.exec(stderr)?.[0] ?? stderr] : asked);
    }
    expect(visits[1]).toEqual(visits[0] as string[]);
    expect(visits[0]?.length).toBeGreaterThan(0);
  });

  test("drop-ins come later, by name, and replace", async () => {
    configure(filled('[[registry]]\nprefix = "moved.test"\nlocation = "$A"\ninsecure = true\n'), {
      "20.conf": filled('[[registry]]\nprefix = "moved.test"\nlocation = "$C/second"\ninsecure = true\n'),
      "10.conf": filled('[[registry]]\nprefix = "moved.test"\nlocation = "$B/first"\ninsecure = true\n'),
      "30.txt": "= = =",
    });
    for (const argv of [
      ["skopeo", "inspect", "--raw", "docker://moved.test/x:1"],
      [...box.argv, "pull", "moved.test/x:1"],
    ]) {
      asked = [];
      await run(argv);
      expect(asked).toEqual(["C/v2/second/x/manifests/1"]);
    }
  });

  test.each([
    ["", true],
    ["unknown-key = 7", true],
    ["a = = b", false],
    ["unqualified-search-registries = []", true],
    ['unqualified-search-registries = "a.test"', false],
    ['unqualified-search-registries = ["https://a.test"]', false],
    ['unqualified-search-registries = ["a b"]', false],
    ['short-name-mode = "enforcing"', true],
    ['short-name-mode = "sometimes"', false],
    ['[[registry]]\nprefix = "a.test"', false],
    ['[[registry]]\nlocation = "a.test/"', true],
    ["[[registry]]\ninsecure = true", false],
    ['[[registry]]\nlocation = "https://a.test"', false],
    ['[[registry]]\nlocation = "a.test"\ninsecure = "yes"', false],
    ['[[registry]]\nprefix = "*.a.test"', true],
    ['[[registry]]\nprefix = "*.a.test/x"\nlocation = "b.test"', false],
    ['[[registry]]\nlocation = "a.test"\n[[registry.mirror]]\ninsecure = true', false],
    [
      '[[registry]]\nlocation = "a.test"\n[[registry.mirror]]\nlocation = "b.test"\npull-from-mirror = "never"',
      false,
    ],
    ['[[registry]]\nlocation = "a.test"\npull-from-mirror = "all"', false],
    [
      '[[registry]]\nlocation = "a.test"\n[[registry]]\nprefix = "b.test"\nlocation = "a.test"\nblocked = true',
      false,
    ],
    [
      '[[registry]]\nlocation = "a.test"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "b.test"\npull-from-mirror = "all"',
      false,
    ],
    ['[aliases]\n"x" = "a.test/x"\n"y" = ""', true],
    ['[aliases]\n"x" = "a.test/x:1"', false],
    ['[aliases]\n"x" = "y"', false],
    ['[aliases]\n"a.test/x" = "a.test/y"', false],
  ])("%p is refused or not (%p: good)", async (text, isGood) => {
    configure(text);
    // The configuration is read before the host is: nothing is asked anywhere.
    const name = "127.0.0.1:1/x:1";
    const ours = await run([...box.argv, "pull", name]);
    const theirs = await run(["skopeo", "inspect", `docker://${name}`]);
    const complains = ({ stderr }: Outcome): boolean =>
      /registries\.conf|registries configuration/.test(stderr);
    expect([complains(ours), complains(theirs)]).toEqual([!isGood, !isGood]);
    if (!isGood) expect(ours.stderr).toContain(`"${env["HOME"]}/.config/containers/registries.conf"`);
  });
});

describe.skipIf(!haveDockerRegistry || !havePodman)("searching, as podman", () => {
  let registry: DockerRegistry;
  beforeAll(async () => {
    registry = await startDockerRegistry();
    for (const name of ["team/one:1", "team/one:2", "team/two:1", "other:1"])
      box.ok(["push", "localhost/busybox", `${registry.host}/${name}`]);
  });
  afterAll(async () => await registry[Symbol.asyncDispose]());

  test.each<[string, string[]]>([
    ["team", []],
    ["", []],
    ["nothing", []],
    ["nothing", ["--format", "json"]],
    ["team/one", ["--list-tags"]],
    ["team", ["--limit", "1"]],
    ["team/one", ["--list-tags", "--limit", "1"]],
    ["team", ["--format", "json"]],
    ["team", ["--format", "{{.Index}} {{.Name}} {{.Stars}}"]],
    ["team/one", ["--list-tags", "--format", "json"]],
  ])("the catalog: %p %p", (term, flags) => {
    const args = ["search", "--tls-verify=false", ...flags, `${registry.host}/${term}`];
    const store = ["--root", join(box.dir, "podman"), "--runroot", join(box.dir, "podman-run")];
    const theirs = runArgv(["podman", ...store, ...args], { env });
    expect(box.berth(args, { env })).toMatchObject({ code: theirs.code, stdout: theirs.stdout });
  });

  test("a short name is asked about on a terminal, and the answer is kept for podman as well", async () => {
    configure(
      `unqualified-search-registries = ["127.0.0.1:1", "${registry.host}"]\nshort-name-mode = "enforcing"\n`,
    );
    const unasked = box.berth(["pull", "team/two:1"], { env });
    expect(unasked).toMatchObject({ code: 125, stdout: "" });
    expect(unasked.stderr).toContain(`say which one: 127.0.0.1:1/team/two:1, ${registry.host}/team/two:1`);
    const terminal = new Terminal([...box.argv, "pull", "-q", "team/two:1"], { env });
    await terminal.sees("Which one [1-2]? ");
    terminal.type("7\r");
    await terminal.sees("Which one [1-2]? ");
    terminal.type("2\r");
    expect(await terminal.ends()).toBe(0);
    expect(
      await Bun.file(join(env["XDG_CACHE_HOME"] as string, "containers/short-name-aliases.conf")).text(),
    ).toBe(`[aliases]\n  "team/two" = "${registry.host}/team/two"\n`);
    box.ok(["pull", "-q", "team/two:1"], { env });
    box.ok(["rmi", `${registry.host}/team/two:1`]);
  });
});
