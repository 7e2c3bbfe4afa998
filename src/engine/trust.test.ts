import { afterAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeKey } from "../../test/fake/signer.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { messageOf } from "../core/error.ts";
import { type SetTrustRequest, setTrust, trustEntries, trustFile } from "./trust.ts";

const dir = tempDir("image-trust");
afterAll(() => dir[Symbol.dispose]());
const ctx = createCtx();
const file = join(dir.path, "policy.json");
const options = { policyFile: file, globalArgv: [], programArgv: [] };
const keyPath = join(dir.path, "k.pub");
writeFileSync(keyPath, makeKey().pem);

const set = (scope: string, more: Partial<SetTrustRequest>) =>
  setTrust(ctx, options, { scope, type: "reject", keys: [], anyTag: false, ...more });
const written = () => JSON.parse(readFileSync(file, "utf8")) as object;
const problemOf = (call: () => unknown): string => {
  try {
    call();
    return "";
  } catch (error) {
    return messageOf(error);
  }
};

test("one entry after the other, the rest as it was", () => {
  expect(set("quay.io/team", { type: "reject" })).toBe(file);
  const accept = [{ type: "insecureAcceptAnything" }];
  expect(written()).toEqual({
    default: accept,
    transports: { docker: { "quay.io/team": [{ type: "reject" }] } },
  });
  writeFileSync(file, JSON.stringify({ default: accept, transports: { dir: { "/x": accept } } }));
  set("quay.io", { type: "sigstoreSigned", keys: [keyPath], anyTag: true });
  set("default", { type: "reject" });
  expect(written()).toEqual({
    default: [{ type: "reject" }],
    transports: {
      dir: { "/x": accept },
      docker: {
        "quay.io": [{ type: "sigstoreSigned", keyPath, signedIdentity: { type: "matchRepository" } }],
      },
    },
  });
  const found = trustFile(ctx, options);
  if (found === undefined) throw new Error("it is not there");
  expect(trustEntries(ctx, found)).toEqual([
    { transport: "all", scope: "default", type: "reject", signers: [] },
    { transport: "dir", scope: "/x", type: "insecureAcceptAnything", signers: [] },
    {
      transport: "docker",
      scope: "quay.io",
      type: "sigstoreSigned",
      signers: [`"${keyPath}"`],
      identity: "matchRepository",
    },
  ]);
  expect(trustEntries(ctx, found, "quay.io/a/b").map((entry) => entry.scope)).toEqual(["quay.io"]);
  expect(trustEntries(ctx, found, "alpine").map((entry) => entry.scope)).toEqual(["default"]);
});

test("a link stays one, and nothing is left beside it", () => {
  const link = join(dir.path, "link.json");
  symlinkSync(file, link);
  setTrust(
    ctx,
    { ...options, policyFile: link },
    { scope: "a.example", type: "accept", keys: [], anyTag: false },
  );
  expect(readlinkSync(link)).toBe(file);
  expect(readFileSync(file, "utf8")).toContain('"a.example"');
  expect(readdirSync(dir.path).filter((name) => name.includes("tmp"))).toEqual([]);
});

test("what makes no sense changes nothing", () => {
  const before = readFileSync(file, "utf8");
  for (const scope of ["https://quay.io", "quay.io/", "", "a b", "quay.io//x"]) {
    expect(
      problemOf(() => set(scope, {})),
      scope,
    ).toContain("is no registry");
  }
  expect(problemOf(() => set("quay.io", { type: "sigstoreSigned" }))).toContain("needs a public key");
  expect(problemOf(() => set("quay.io", { type: "sigstoreSigned", keys: ["/nonexistent"] }))).toContain(
    "/nonexistent",
  );
  expect(problemOf(() => set("quay.io", { type: "accept", keys: [keyPath] }))).toContain("takes no keys");
  expect(readFileSync(file, "utf8")).toBe(before);
  writeFileSync(file, '{"default":[]}');
  expect(problemOf(() => set("quay.io", {}))).toContain("empty list");
  expect(readFileSync(file, "utf8")).toBe('{"default":[]}');
});

test("a file that is asked for and missing is made, with its directory", () => {
  const policyFile = join(dir.path, "new/dir/policy.json");
  expect(problemOf(() => trustFile(ctx, { ...options, policyFile }))).toContain("no such file");
  setTrust(ctx, { ...options, policyFile }, { scope: "default", type: "reject", keys: [], anyTag: false });
  expect(existsSync(policyFile)).toBe(true);
});
