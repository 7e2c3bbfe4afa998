/** login and logout against real registries (a password over TLS; tokens of a service), side by side with podman, skopeo and docker. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  type DockerRegistry,
  haveDockerRegistry,
  makeCertificate,
  startDockerRegistry,
} from "../fake/docker-registry.ts";
import { TokenService } from "../fake/token-service.ts";
import { Box, type Outcome, runArgv } from "./box.ts";
import { Terminal } from "./terminal.ts";

const IMAGE = "localhost/busybox:latest";
const USER = { username: "me", password: "s3cret" };
const SECRETS = /s3cret|wr0ng|bWU6czNjcmV0|refresh-|eyJ/;
const have = (program: string): boolean => existsSync(`/usr/bin/${program}`);
let box: Box;
let home: string;
let env: Record<string, string>;

beforeAll(() => {
  box = new Box("login");
  for (const name of ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"]) delete process.env[name];
  box.importBusybox();
  box.ok(["run", "--rm", "--network", "none", IMAGE, "true"]);
  symlinkSync(box.argv[0] as string, join(box.dir, "docker"));
  box.mark();
});
beforeEach(() => {
  home = join(box.dir, "home");
  rmSync(home, { recursive: true, force: true });
  mkdirSync(join(home, "run"), { recursive: true });
  env = {
    HOME: home,
    XDG_RUNTIME_DIR: join(home, "run"),
  };
});
afterEach(async () => expect(await box.leaks()).toEqual([]));
afterAll(() => box.close());

const authFile = (): string => join(home, "run/containers/auth.json");
const dockerFile = (): string => join(home, ".docker/config.json");
const entries = (path: string): Record<string, Record<string, string>> =>
  (JSON.parse(readFileSync(path, "utf8")) as { auths: Record<string, Record<string, string>> }).auths;
const berth = (args: string[], stdin?: string): Outcome =>
  box.berth(args, { env, ...(stdin === undefined ? {} : { stdin }) });
const asDocker = (args: string[], stdin?: string): Outcome =>
  runArgv([join(box.dir, "docker"), ...box.argv.slice(1), ...args], {
    env,
    ...(stdin === undefined ? {} : { stdin }),
  });
const peer = (...argv: string[]): Outcome => runArgv(argv, { env });

if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");

describe.skipIf(!haveDockerRegistry)("a password, over TLS", () => {
  let registry: DockerRegistry;
  let host: string;
  let certs: string[];
  beforeAll(async () => {
    registry = await startDockerRegistry({ tls: true, login: USER });
    host = registry.host;
    certs = ["--cert-dir", registry.certDir as string];
  });
  afterAll(async () => await registry[Symbol.asyncDispose]());

  const logIn = (...more: string[]): Outcome =>
    berth(["login", ...certs, "-u", "me", "--password-stdin", ...more, host], "s3cret\n");

  test("is kept where podman keeps it, only if it is right", () => {
    const wrong = berth(["login", ...certs, "-u", "me", "--password-stdin", host], "wr0ng\n");
    expect(wrong).toEqual({
      code: 125,
      stdout: "",
      stderr: `Error: logging into "${host}": invalid username/password\n`,
    });
    expect(existsSync(authFile())).toBe(false);
    expect(logIn("-v")).toEqual({ code: 0, stdout: `Used:  ${authFile()}\nLogin Succeeded!\n`, stderr: "" });
    expect(berth(["login", "--get-login", host]).stdout).toBe("me\n");
    expect(berth(["login", ...certs, host]).stdout).toBe(
      `Authenticating with existing credentials for ${host}\nExisting credentials are valid. Already logged in to ${host}\n`,
    );
    expect(berth(["logout", host]).stdout).toBe(`Removed login credentials for ${host}\n`);
    const nobody = `Error: not logged into ${host}\n`;
    expect(berth(["logout", host])).toMatchObject({ code: 125, stderr: nobody });
    expect(berth(["login", "--get-login", host])).toMatchObject({ code: 125, stderr: nobody });
    logIn();
    expect(berth(["logout", "--all"]).stdout).toBe("Removed login credentials for all registries\n");
    expect(entries(authFile())).toEqual({});
  });

  test.skipIf(!have("podman") || !have("skopeo"))("podman and skopeo see it, and berth sees theirs", () => {
    const anonymous = ["--format", "{{.Digest}}", ...certs, `docker://${host}/team/tool:1`];
    expect(peer("skopeo", "inspect", ...anonymous).stderr).toContain("auth");
    logIn();
    expect(peer("podman", "login", "--get-login", host).stdout).toBe("me\n");
    box.ok(["push", ...certs, IMAGE, `${host}/team/tool:1`], { env });
    expect(peer("skopeo", "inspect", ...anonymous).stdout).toMatch(/^sha256:/);
    expect(peer("podman", "logout", host).code).toBe(0);
    expect(berth(["pull", ...certs, `${host}/team/tool:1`])).toMatchObject({ code: 125 });
    expect(peer("podman", "login", ...certs, "-u", "me", "-p", "s3cret", `${host}/team`).code).toBe(0);
    expect(berth(["login", "--get-login", `${host}/team/tool`]).stdout).toBe("me\n");
    box.ok(["pull", ...certs, `${host}/team/tool:1`], { env });
    expect(berth(["logout", `${host}/team`]).code).toBe(0);
    expect(peer("skopeo", "login", ...certs, "-u", "me", "-p", "s3cret", host).code).toBe(0);
    expect(berth(["login", "--get-login", host]).stdout).toBe("me\n");
    box.ok(["rmi", `${host}/team/tool:1`]);
  });

  test("as docker it is kept in docker's file, for docker", () => {
    const done = asDocker(["login", ...certs, "-u", "me", "--password-stdin", host], "s3cret");
    expect(done).toMatchObject({ code: 0, stdout: "Login Succeeded\n" });
    expect(entries(dockerFile())).toEqual({ [host]: { auth: btoa("me:s3cret") } });
    expect(berth(["login", "--get-login", host]).stdout).toBe("me\n");
    expect(asDocker(["logout", host])).toMatchObject({
      code: 0,
      stdout: `Removing login credentials for ${host}\n`,
    });
    expect(asDocker(["logout", host]).code).toBe(0);
    if (have("docker")) {
      expect(peer("/usr/bin/docker", "login", "-u", "me", "-p", "s3cret", host).code).toBe(0);
      expect(berth(["login", "--get-login", host]).stdout).toBe("me\n");
      asDocker(["--config", join(home, ".docker"), "logout", host]);
      expect(entries(dockerFile())).toEqual({});
    }
    const compatible = join(home, "compat.json");
    logIn("--compat-auth-file", compatible);
    expect(Object.keys(entries(compatible))).toEqual([host]);
  });

  test("--creds and --authfile are for one call; a file that is not there is named", () => {
    const name = `${host}/team/once:1`;
    box.ok(["push", ...certs, "--creds", "me:s3cret", IMAGE, name], { env });
    expect(existsSync(authFile())).toBe(false);
    const file = join(home, "other.json");
    expect(berth(["pull", ...certs, "--authfile", file, name]).stderr).toBe(
      `Error: credentials file "${file}" does not exist\n`,
    );
    logIn("--authfile", file);
    box.ok(["pull", ...certs, "--authfile", file, name], { env });
    expect(berth(["pull", ...certs, name]).code).toBe(125);
    box.ok(["rmi", name]);
  });

  test("a certificate in certs.d is enough", () => {
    const directory = join(home, `.config/containers/certs.d/${host}`);
    mkdirSync(directory, { recursive: true });
    symlinkSync(join(registry.certDir as string, "ca.crt"), join(directory, "ca.crt"));
    expect(berth(["login", "-u", "me", "--password-stdin", host], "s3cret").code).toBe(0);
    rmSync(directory, { recursive: true });
    const refused = berth(["login", "-u", "me", "--password-stdin", host], "s3cret");
    expect(refused.stderr).toContain(`cannot verify the certificate of "${host}"`);
    expect(berth(["login", "--tls-verify=false", "-u", "me", "--password-stdin", host], "s3cret").code).toBe(
      0,
    );
  });

  test.each([
    [
      ["-u", "me", "-p", "x", "--password-stdin"],
      /^Error: --password and --password-stdin cannot be used together/,
    ],
    [["--password-stdin"], /^Error: --password-stdin needs --username/],
    [["-u", "me", "--password-stdin"], /^Error: no password for ".*" on standard input/],
    [
      ["-u", "me"],
      /standard input is not a terminal\ngive --username, and the password with --password-stdin/,
    ],
    [[], /standard input is not a terminal/],
    [["--authfile", "a", "--compat-auth-file", "b"], /cannot be used together/],
  ])("%p is refused", (flags, words) => {
    const refused = berth(["login", ...certs, ...flags, host], "");
    expect(refused).toMatchObject({ code: 125, stdout: "" });
    expect(refused.stderr).toMatch(words);
  });

  test.each([["bad_host!"], ["h:1/a:tag"], ["-x"], ["h:1/UP"]])("%s is no registry", (name) => {
    expect(berth(["login", "-u", "me", "--password-stdin", "--", name], "x").code).toBe(125);
  });

  test("asked for on a terminal, the password unseen", async () => {
    const argv = [...box.argv, "login", ...certs, host];
    const terminal = new Terminal(argv, { env });
    await terminal.sees("Username: ");
    terminal.type("me\r");
    await terminal.sees("Password: ");
    terminal.type("s3cret\r");
    await terminal.sees("Login Succeeded!");
    expect(await terminal.ends()).toBe(0);
    expect(terminal.text).not.toContain("s3cret");
    expect(entries(authFile())).toEqual({ [host]: { auth: btoa("me:s3cret") } });
  });

  test("Ctrl-C at the password puts the terminal back", async () => {
    const command = `${[...box.argv, "login", ...certs, "-u", "me", host].join(" ")}; echo "code $?"; stty -a | grep -o -- '-*\\becho\\b' | head -n1`;
    const terminal = new Terminal(["bash", "-c", `trap : INT; ${command}`], { env });
    await terminal.sees("Password: ");
    terminal.type("s3c");
    terminal.type("\x03");
    await terminal.sees("code 130");
    await terminal.sees(/\becho\b/);
    await terminal.ends();
    expect(terminal.text).not.toMatch(/-echo|s3c/);
    expect(existsSync(authFile())).toBe(false);
  });
});

describe.skipIf(!haveDockerRegistry)("tokens of a service", () => {
  let registry: DockerRegistry;
  let service: TokenService;
  let host: string;
  beforeAll(async () => {
    const directory = join(box.dir, "signer");
    mkdirSync(directory);
    await makeCertificate(directory);
    const pem = (name: string): string => readFileSync(join(directory, name), "utf8");
    service = new TokenService({
      key: pem("server.key"),
      certificate: pem("server.crt"),
      users: { me: "s3cret" },
    });
    const { realm, issuer } = service;
    const token = { realm, issuer, service: service.service, certificate: join(directory, "ca/ca.crt") };
    registry = await startDockerRegistry({ token });
    host = registry.host;
  });
  beforeEach(() => void (service.seen.length = 0));
  afterAll(async () => {
    service[Symbol.dispose]();
    await registry[Symbol.asyncDispose]();
  });

  /** The service lives in this process, so nothing may block it. */
  const run = async (argv: string[], stdin = ""): Promise<Outcome> => {
    const child = Bun.spawn(argv, {
      stdin: Buffer.from(stdin),
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, ...env },
    });
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    return { code: await child.exited, stdout, stderr };
  };
  const call = (args: string[], stdin = ""): Promise<Outcome> => run([...box.argv, ...args], stdin);

  test("an identity token is kept in place of the password, and is all that later calls need", async () => {
    expect((await call(["login", "-u", "me", "--password-stdin", host], "wr0ng")).stderr).toBe(
      `Error: logging into "${host}": invalid username/password\n`,
    );
    expect(await call(["login", "-u", "me", "--password-stdin", host], "s3cret")).toMatchObject({ code: 0 });
    const kept = entries(authFile())[host];
    expect(kept?.["auth"]).toBe(btoa("me:"));
    expect(service.refreshTokens.get(kept?.["identitytoken"] ?? "")).toBe("me");
    expect((await call(["login", "--get-login", host])).stdout).toBe("me\n");
    service.seen.length = 0;
    const pushed = await call(["push", IMAGE, `${host}/team/token:1`]);
    expect(pushed).toMatchObject({ code: 0 });
    expect(service.seen.every((seen) => seen.method === "POST" && seen.authorization === null)).toBe(true);
    expect(service.seen[0]?.parameters.get("scope")).toBe("repository:team/token:pull,push");
    if (have("skopeo")) {
      const inspected = await run([
        "skopeo",
        "inspect",
        "--tls-verify=false",
        "--format",
        "{{.Name}}",
        `docker://${host}/team/token:1`,
      ]);
      expect(inspected).toMatchObject({ code: 0, stdout: `${host}/team/token\n` });
    }
    expect(await call(["logout", host])).toMatchObject({ code: 0 });
    expect(await call(["pull", `${host}/team/token:1`])).toMatchObject({ code: 0 });
    expect(await call(["push", IMAGE, `${host}/team/token:2`])).toMatchObject({ code: 125 });
    await call(["rmi", `${host}/team/token:1`]);
  });

  test("what podman has logged in with is exchanged for tokens", async () => {
    writeFileSync(join(home, "a.json"), JSON.stringify({ auths: { [host]: { auth: btoa("me:s3cret") } } }));
    const pushed = await call(["push", "--authfile", join(home, "a.json"), IMAGE, `${host}/team/token:3`]);
    expect(pushed).toMatchObject({ code: 0 });
    const [first] = service.seen;
    expect(first).toMatchObject({ method: "GET", authorization: `Basic ${btoa("me:s3cret")}` });
    expect(first?.parameters.get("offline_token")).toBeNull();
  });

  test("no secret is in any output, process list or file but the one it is for", async () => {
    const bin = join(home, "bin");
    mkdirSync(bin);
    // The helper looks at who has called it.
    writeFileSync(
      join(bin, "docker-credential-spy"),
      `#!/bin/sh\ncat >/dev/null; for p in $$ $PPID; do tr '\\0' ' ' </proc/$p/cmdline; echo; done >>${home}/argv; [ "$1" = get ] && echo '{"Username":"me","Secret":"s3cret"}'; exit 0\n`,
      { mode: 0o755 },
    );
    mkdirSync(join(home, "run/containers"), { recursive: true });
    writeFileSync(authFile(), JSON.stringify({ credHelpers: { [host]: "spy" } }));
    env["PATH"] = `${bin}:${process.env["PATH"]}`;
    env["BERTH_DEBUG"] = "registry,engine,storage";
    const loud = ["--trace", "--log-level", "debug"];
    const name = `${host}/team/quiet:1`;
    const outcomes = [
      await call([...loud, "login", "-u", "me", "--password-stdin", host], "s3cret"),
      await call([...loud, "login", "-u", "me", "--password-stdin", host], "wr0ng"),
      await call([...loud, "push", IMAGE, name]),
      await call([...loud, "pull", name]),
      await call([...loud, "pull", "--creds", "me:wr0ng", name]),
      await call([
        ...loud,
        "run",
        "--rm",
        "--network",
        "none",
        "--pull",
        "always",
        "--creds",
        "me:s3cret",
        name,
        "true",
      ]),
      await call([
        ...loud,
        "create",
        "--name",
        "quiet",
        "--network",
        "none",
        "--pull",
        "always",
        "--creds",
        "me:s3cret",
        name,
      ]),
      await call(["inspect", "quiet", name]),
      await call(["info"]),
      await call([...loud, "logout", host]),
    ];
    expect(outcomes.map(({ code }) => code)).toEqual([0, 125, 0, 0, 125, 0, 0, 0, 0, 0]);
    for (const { stdout, stderr } of outcomes) expect(stdout + stderr).not.toMatch(SECRETS);
    expect(outcomes[2]?.stderr).toContain("docker-credential-spy");
    expect(readFileSync(join(home, "argv"), "utf8")).toContain("push");
    expect(readFileSync(join(home, "argv"), "utf8")).not.toMatch(SECRETS);
    const places = [
      "berth.db",
      "berth.db-wal",
      ...readdirSync(join(box.root, "containers"), { recursive: true }).map(
        (file) => `containers/${String(file)}`,
      ),
    ];
    const texts = places
      .map((place) => join(box.root, place))
      .filter((place) => existsSync(place) && !place.includes("/upper"));
    for (const file of texts) {
      const text = runArgv(["grep", "-lE", "s3cret|bWU6czNjcmV0", file]);
      expect(text.stdout).toBe("");
    }
    await call(["rm", "quiet"]);
    await call(["rmi", name]);
  });
});
