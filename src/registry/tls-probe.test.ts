// Servers that speak TLS, servers that do not, and ones that say nothing.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { makeCertificate } from "../../test/fake/docker-registry.ts";
import { BrokenServer, FakeRegistry } from "../../test/fake/registry.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { speaksTls } from "./tls-probe.ts";

const ctx = createCtx();
const temporary = tempDir("tls-probe");
let tls: { key: string; cert: string };
beforeAll(async () => {
  await makeCertificate(temporary.path);
  const [key = "", cert = ""] = ["key", "crt"].map((end) =>
    readFileSync(`${temporary.path}/server.${end}`, "utf8"),
  );
  tls = { key, cert };
});
afterAll(() => temporary[Symbol.dispose]());

test("a server with a certificate", async () => {
  using registry = new FakeRegistry(tls);
  expect(await speaksTls(ctx, registry.host)).toBe(true);
  expect(registry.seen).toEqual([]);
});

test("a server without", async () => {
  using registry = new FakeRegistry();
  expect(await speaksTls(ctx, registry.host)).toBe(false);
  using odd = new BrokenServer("220 mail.example.com ESMTP\r\n");
  expect(await speaksTls(ctx, odd.host)).toBe(false);
});

test("nobody there, and somebody who hangs up", async () => {
  using gone = new BrokenServer("");
  const { host } = gone;
  expect(await speaksTls(ctx, host)).toBeUndefined();
  gone[Symbol.dispose]();
  expect(await speaksTls(ctx, host)).toBeUndefined();
});

test("a caller who gives up", async () => {
  const stop = new AbortController();
  using mute = new BrokenServer("", true);
  setTimeout(() => stop.abort(), 50);
  const began = performance.now();
  expect(await speaksTls(createCtx({ signal: stop.signal }), mute.host)).toBeUndefined();
  expect(performance.now() - began).toBeLessThan(1500);
});
