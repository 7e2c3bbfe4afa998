// Logins kept and forgotten: in files that have other things in them, in credential helpers, and by many at once.
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { createLog } from "../core/log.ts";
import { findLogin, forgetAll, forgetLogin, keepLogin, type KeepOptions } from "./credentials.ts";
import { updateFile } from "./file-update.ts";

const temporary = tempDir("logins");
const dir = temporary.path;
const before = { ...process.env };
afterAll(() => {
  process.env = before;
  temporary[Symbol.dispose]();
});
let lines = "";
const ctx = createCtx({
  log: createLog({ level: "debug", trace: true, write: (line) => void (lines += line) }),
});

const path = join(dir, "auth.json");
const conf = join(dir, "empty.conf");
const podman: KeepOptions = { authFile: path, docker: false, registriesConf: conf };
const docker: KeepOptions = { ...podman, docker: true };
const login = { username: "me", password: "s3cret" };
const auth = btoa("me:s3cret");

const write = (value: unknown): void =>
  writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
const stored = (): Record<string, unknown> =>
  JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
const find = (key: string, options: KeepOptions = podman) =>
  findLogin(ctx, key, { authFile: path, registriesConf: options.registriesConf as string });

/** A helper in plain sh: a file for each server, and a line for each call. */
const HELPER = `#!/bin/sh
kept="${dir}/kept-$(basename "$0")"; mkdir -p "$kept"
echo "$0 $*" >>"${dir}/calls"
name() { printf %s "$1" | tr '/:' '__'; }
case "$1" in
get) read -r server; file="$kept/$(name "$server")"; [ -f "$file" ] || { echo "credentials not found in native keychain"; exit 1; }; cat "$file";;
store) read -r json; server=$(printf %s "$json" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/'); printf %s "$json" >"$kept/$(name "$server")";;
erase) read -r server; rm -f "$kept/$(name "$server")";;
list) first=1; printf '{'; for f in "$kept"/*; do [ -f "$f" ] || continue; [ $first = 1 ] || printf ,; first=0; sed 's/.*"ServerURL":"\\([^"]*\\)","Username":"\\([^"]*\\)".*/"\\1":"\\2"/' "$f"; done; printf '}';;
esac
`;

beforeEach(() => {
  rmSync(dir, { recursive: true });
  mkdirSync(join(dir, "bin"), { recursive: true });
  writeFileSync(conf, "");
  for (const name of ["one", "two"])
    writeFileSync(join(dir, `bin/docker-credential-${name}`), HELPER, { mode: 0o755 });
  writeFileSync(join(dir, "bin/docker-credential-broken"), "#!/bin/sh\necho s3cret; exit 7\n", {
    mode: 0o755,
  });
  process.env["PATH"] = `${dir}/bin:${before["PATH"]}`;
  process.env["HOME"] = dir;
  lines = "";
});

describe("in a file", () => {
  test("made with its directory, for nobody else to read", () => {
    const deep = { ...podman, authFile: join(dir, "a/b/auth.json") };
    expect(keepLogin(ctx, { key: "h:5000", login }, deep)).toBe(join(dir, "a/b/auth.json"));
    expect(readFileSync(join(dir, "a/b/auth.json"), "utf8")).toBe(
      `{\n\t"auths": {\n\t\t"h:5000": {\n\t\t\t"auth": "${auth}"\n\t\t}\n\t}\n}`,
    );
    expect(statSync(join(dir, "a/b/auth.json")).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, "a/b")).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(dir, "a/b"))).toEqual(["auth.json"]);
  });

  test("what it does not know stays", () => {
    const other = { psFormat: "x", credHelpers: { h2: "one" }, HttpHeaders: { a: ["b"] }, proxies: {} };
    write({ ...other, auths: { "quay.io": { auth: "eDp5", email: "e@x" } } });
    chmodSync(path, 0o644);
    keepLogin(ctx, { key: "h", login }, podman);
    expect(stored()).toEqual({ ...other, auths: { "quay.io": { auth: "eDp5", email: "e@x" }, h: { auth } } });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(forgetLogin(ctx, "h", podman)).toBe(true);
    expect(forgetLogin(ctx, "h", podman)).toBe(false);
    expect(stored()).toEqual({ ...other, auths: { "quay.io": { auth: "eDp5", email: "e@x" } } });
  });

  test("in podman's order of places", () => {
    const put = (place: string, name: string): void => {
      mkdirSync(join(dir, place, ".."), { recursive: true });
      writeFileSync(join(dir, place), JSON.stringify({ auths: { h: { auth: btoa(`${name}:1`) } } }));
    };
    process.env["XDG_RUNTIME_DIR"] = join(dir, "run");
    for (const name of ["XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"]) delete process.env[name];
    const who = (): unknown =>
      (findLogin(ctx, "h/x", { registriesConf: conf }) as { username?: string })?.username;
    expect(who()).toBeUndefined();
    writeFileSync(join(dir, ".dockercfg"), JSON.stringify({ "https://h": { auth: btoa("legacy:1") } }));
    expect(who()).toBe("legacy");
    put(".docker/config.json", "docker");
    expect(who()).toBe("docker");
    put(".config/containers/auth.json", "user");
    expect(who()).toBe("user");
    put("run/containers/auth.json", "session");
    expect(who()).toBe("session");
    put("elsewhere/config.json", "named");
    process.env["DOCKER_CONFIG"] = join(dir, "elsewhere");
    expect(who()).toBe("named");
    expect(keepLogin(ctx, { key: "h2", login }, { docker: false, registriesConf: conf })).toBe(
      join(dir, "elsewhere/config.json"),
    );
    put("env.json", "environment");
    process.env["REGISTRY_AUTH_FILE"] = join(dir, "env.json");
    expect(who()).toBe("environment");
    delete process.env["DOCKER_CONFIG"];
    delete process.env["REGISTRY_AUTH_FILE"];
    expect(keepLogin(ctx, { key: "h2", login }, { docker: false, registriesConf: conf })).toBe(
      join(dir, "run/containers/auth.json"),
    );
  });

  test("a symbolic link stays one", () => {
    writeFileSync(join(dir, "real.json"), "{}");
    symlinkSync("real.json", path);
    keepLogin(ctx, { key: "h", login }, podman);
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(dir, "real.json"), "utf8")).toContain(auth);
  });

  test("an identity token with the name it is for", () => {
    keepLogin(ctx, { key: "h", login: { identityToken: "r3fresh", username: "me" } }, podman);
    expect(stored()).toEqual({ auths: { h: { auth: btoa("me:"), identitytoken: "r3fresh" } } });
    expect(find("h/x")).toEqual({ identityToken: "r3fresh", username: "me" });
  });

  test("under a path, and the longest path wins", () => {
    keepLogin(ctx, { key: "h/team", login }, podman);
    keepLogin(ctx, { key: "h", login: { username: "all", password: "1" } }, podman);
    expect(find("h/team/app")).toEqual(login);
    expect(find("h/teams/app")).toEqual({ username: "all", password: "1" });
    expect(forgetLogin(ctx, "h", podman)).toBe(true);
    expect(find("h/team")).toEqual(login);
    expect(() => keepLogin(ctx, { key: "h/team", login }, docker)).toThrow(/only for whole registries/);
  });

  test("docker's own registry in docker's spelling, and every spelling is forgotten", () => {
    keepLogin(ctx, { key: "docker.io", login }, docker);
    expect(stored()).toEqual({ auths: { "https://index.docker.io/v1/": { auth } } });
    expect(find("docker.io/library/alpine")).toEqual(login);
    keepLogin(ctx, { key: "docker.io", login: { username: "new", password: "2" } }, podman);
    expect(find("docker.io/library/alpine")).toEqual({ username: "new", password: "2" });
    expect(forgetLogin(ctx, "docker.io", docker)).toBe(true);
    expect(stored()).toEqual({ auths: {} });
  });

  test.each([["{"], ["[]"], ['"x"'], ["null"], ['{"auths": s3cret}']])("%s is left as it is", (text) => {
    write(text);
    expect(() => keepLogin(ctx, { key: "h", login }, podman)).toThrow(
      /^cannot read the credentials file ".*": it is not/,
    );
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("of strange but valid content nothing is taken for a login", () => {
    for (const auths of [[], "x", { h: null }, { h: [] }, { h: { auth: 7 } }, { h: { auth: "" } }]) {
      write({ auths, credHelpers: 7, credsStore: {} });
      expect(find("h")).toBeUndefined();
    }
    write('{"auths": {"__proto__": {"auth": "eDp5"}}}');
    expect(find("__proto__")).toEqual({ username: "x", password: "y" });
    expect(find("constructor")).toBeUndefined();
  });

  test("a file that cannot be written is named", () => {
    mkdirSync(path);
    expect(() => keepLogin(ctx, { key: "h", login }, podman)).toThrow(/auth.json/);
  });

  test("many at once lose nothing and are never seen half", async () => {
    const program = `
      import { keepLogin } from ${JSON.stringify(join(import.meta.dir, "credentials.ts"))};
      import { createCtx } from ${JSON.stringify(join(import.meta.dir, "../core/ctx.ts"))};
      for (let i = 0; i < 15; i++)
        keepLogin(createCtx(), { key: process.argv[2] + i + ".test", login: { username: "u", password: "p" } }, ${JSON.stringify(podman)});`;
    writeFileSync(join(dir, "keep.ts"), program);
    const children = ["a", "b", "c", "d"].map((name) =>
      Bun.spawn([process.execPath, join(dir, "keep.ts"), name], { stdio: ["ignore", "inherit", "inherit"] }),
    );
    let running = true;
    const all = Promise.all(children.map((child) => child.exited)).then((codes) => {
      running = false;
      return codes;
    });
    while (running) {
      if (existsSync(path)) expect(() => stored()).not.toThrow();
      await Bun.sleep(1);
    }
    expect(await all).toEqual([0, 0, 0, 0]);
    expect(Object.keys(stored()["auths"] as object).length).toBe(60);
    expect(readdirSync(dir).filter((name) => name.startsWith(".auth"))).toEqual([]);
  });

  test("what a killed process has left aside is gone with the next change", () => {
    writeFileSync(join(dir, ".auth.json.berth"), "half", { mode: 0o644 });
    keepLogin(ctx, { key: "h", login }, podman);
    expect(readdirSync(dir).toSorted()).toEqual(["auth.json", "bin", "empty.conf"]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("a change that fails leaves the file and nothing beside it", () => {
    write({ auths: {} });
    expect(() =>
      updateFile({ path, mode: 0o600, directoryMode: 0o700 }, () => {
        throw new Error("no");
      }),
    ).toThrow("no");
    expect(readdirSync(dir).toSorted()).toEqual(["auth.json", "bin", "empty.conf"]);
  });
});

describe("in a helper", () => {
  const calls = (): string[] =>
    readFileSync(join(dir, "calls"), "utf8")
      .trim()
      .split("\n")
      .map((line) => line.replace(/.*-credential-/, ""));

  test("of one host (credHelpers)", () => {
    write({ credHelpers: { h: "one" } });
    expect(keepLogin(ctx, { key: "h", login }, podman)).toBe("docker-credential-one");
    expect(stored()).toEqual({ credHelpers: { h: "one" } });
    expect(find("h/x")).toEqual(login);
    expect(() => keepLogin(ctx, { key: "h/x", login }, podman)).toThrow(/only for whole registries/);
    expect(forgetLogin(ctx, "h", podman)).toBe(true);
    expect(forgetLogin(ctx, "h", podman)).toBe(false);
    expect(find("h/x")).toBeUndefined();
  });

  test("of docker (credsStore), which notes whom it knows", () => {
    write({ credsStore: "one" });
    keepLogin(ctx, { key: "docker.io", login: { identityToken: "r3fresh", username: "me" } }, docker);
    expect(stored()).toEqual({ credsStore: "one", auths: { "https://index.docker.io/v1/": {} } });
    expect(find("docker.io/x/y")).toEqual({ identityToken: "r3fresh" });
    expect(forgetLogin(ctx, "docker.io", docker)).toBe(true);
    expect(stored()).toEqual({ credsStore: "one", auths: {} });
    expect(find("docker.io/x/y")).toBeUndefined();
  });

  test("of registries.conf, in order; all are forgotten", () => {
    writeFileSync(conf, 'credential-helpers = ["broken", "one", "containers-auth.json"]');
    expect(keepLogin(ctx, { key: "h", login }, podman)).toBe("docker-credential-one");
    expect(existsSync(path)).toBe(false);
    expect(find("h/x")).toEqual(login);
    writeFileSync(conf, 'credential-helpers = ["containers-auth.json", "one"]');
    write({ auths: { h: { auth: btoa("file:1") } } });
    expect(find("h/x")).toEqual({ username: "file", password: "1" });
    forgetAll(ctx, podman);
    expect(find("h/x")).toBeUndefined();
    expect(calls()).toContain("one list");
    expect(calls()).toContain("one erase");
  });

  test("that fails is named, and why nobody is known", () => {
    writeFileSync(conf, 'credential-helpers = ["broken"]');
    expect(() => find("h")).toThrow('credential helper "docker-credential-broken" failed for "h" (status 7)');
    expect(() => keepLogin(ctx, { key: "h", login }, podman)).toThrow(/docker-credential-broken/);
  });

  test("gets secrets on its input alone, and the log has none", () => {
    write({ credHelpers: { h: "one", h2: "broken" } });
    keepLogin(ctx, { key: "h", login }, podman);
    find("h");
    expect(() => find("h2")).toThrow();
    expect(readFileSync(join(dir, "calls"), "utf8")).not.toContain("s3cret");
    expect(lines).toContain("docker-credential-one");
    expect(lines).not.toMatch(/s3cret|bWU6/);
  });
});
