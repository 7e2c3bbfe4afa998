import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { tlsMaterial } from "./certs.ts";

const temporary = tempDir("certs");
const dir = temporary.path;
const before = { ...process.env };
afterAll(() => {
  process.env = before;
  temporary[Symbol.dispose]();
});
beforeEach(() => {
  rmSync(dir, { recursive: true });
  mkdirSync(dir);
  process.env["XDG_CONFIG_HOME"] = join(dir, "config");
  process.env["SSL_CERT_FILE"] = join(dir, "system.crt");
  writeFileSync(join(dir, "system.crt"), "SYSTEM");
});

function put(...paths: string[]): void {
  for (const path of paths) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), path.split("/").at(-1) as string);
  }
}

const at = (host: string, certDir?: string, registry = host) => tlsMaterial(host, { registry, certDir });
const certs = "config/containers/certs.d";

test("authorities in addition to the system's, a pair of certificate and key, and nothing else", () => {
  put(
    `${certs}/h:5000/b.crt`,
    `${certs}/h:5000/a.crt`,
    `${certs}/h:5000/me.cert`,
    `${certs}/h:5000/me.key`,
    `${certs}/h:5000/x.txt`,
  );
  expect(at("h:5000")).toEqual({ ca: ["SYSTEM", "a.crt", "b.crt"], cert: "me.cert", key: "me.key" });
  expect(at("H:5000").ca).toContain("a.crt");
  for (const other of ["h", "h:5001", "other:5000"]) expect(at(other)).toEqual({ ca: ["SYSTEM"] });
});

test("a port with a colon or between underscores; docker's own registry by the name people use", () => {
  put(`${certs}/h_5000_/one.crt`, `${certs}/docker.io/two.crt`);
  expect(at("h:5000").ca).toEqual(["SYSTEM", "one.crt"]);
  expect(at("registry-1.docker.io").ca).toEqual(["SYSTEM", "two.crt"]);
  put(`${certs}/h:5000/three.crt`);
  expect(at("h:5000").ca).toEqual(["SYSTEM", "three.crt"]);
});

test("half a pair is an error that names the file", () => {
  put(`${certs}/h/me.cert`, `${certs}/g/me.key`);
  expect(() => at("h")).toThrow(`client certificate "${dir}/${certs}/h/me.cert" has no "me.key" beside it`);
  expect(() => at("g")).toThrow(`key "${dir}/${certs}/g/me.key" has no "me.cert" beside it`);
});

test("a directory for one call is used alone, and its certificate for the registry alone", () => {
  put(`${certs}/h/no.crt`, "own/ca.crt", "own/me.cert", "own/me.key");
  const own = join(dir, "own");
  expect(at("h", own)).toEqual({ ca: ["SYSTEM", "ca.crt"], cert: "me.cert", key: "me.key" });
  expect(at("h:99", own, "h").cert).toBe("me.cert");
  expect(at("registry-1.docker.io", own, "docker.io").cert).toBe("me.cert");
  expect(at("cdn.test", own, "h")).toEqual({ ca: ["SYSTEM", "ca.crt"] });
  expect(() => at("h", join(dir, "missing"))).toThrow(
    `certificate directory "${dir}/missing" cannot be read`,
  );
});

test("what cannot be read is named", () => {
  mkdirSync(join(dir, certs, "h/ca.crt"), { recursive: true });
  expect(() => at("h")).toThrow(/^cannot read ".*\/h\/ca.crt": /);
});
