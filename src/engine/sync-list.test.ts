import { describe, expect, test } from "bun:test";
import { parseSyncList } from "./sync-list.ts";

const hex = "b".repeat(64);
const LIST = `
registry.example.com:
    images:
        busybox: []
        redis:
            - "1.0"
            - "sha256:${hex}"
    images-by-tag-regex:
        nginx: ^1\\.13\\.[12]-alpine-perl$
    images-by-semver:
        alpine: ">= 3.12.0"
    credentials:
        username: john
        password: this is a secret
    tls-verify: true
    cert-dir: /home/john/certs
quay.io:
    tls-verify: false
    images:
        coreos/etcd:
            - latest
`;

describe("sync lists", () => {
  test("skopeo's example", () => {
    const sources = parseSyncList(LIST);
    const registry = {
      tlsVerify: true,
      certDir: "/home/john/certs",
      credentials: { username: "john", password: "this is a secret" },
    };
    const named = sources.map(({ repository: { registry: host, repository, tag, digest } }) =>
      [host, repository, tag ?? digest].filter((part) => part !== undefined).join(" "),
    );
    expect(named).toEqual([
      "registry.example.com busybox",
      "registry.example.com redis 1.0",
      `registry.example.com redis sha256:${hex}`,
      "registry.example.com nginx",
      "registry.example.com alpine",
      "quay.io coreos/etcd latest",
    ]);
    expect(sources[0]?.registry).toEqual(registry);
    expect(sources[5]?.registry).toEqual({ tlsVerify: false });
    const [pattern, version] = [sources[3]?.tags, sources[4]?.tags];
    expect(
      ["1.13.1-alpine-perl", "1.13.3-alpine-perl", "x1.13.1-alpine-perl"].map((tag) => pattern?.(tag)),
    ).toEqual([true, false, false]);
    expect(["3.12.0", "v3.20.1", "3.11.9", "latest", "edge"].map((tag) => version?.(tag))).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  test.each([
    ["", "document is not an object"],
    ["{}", "it names no registry"],
    ["[1", "not YAML"],
    ["quay.io: []", "is not an object"],
    ["quay.io: {image: {a: []}}", 'unknown key "image"'],
    ["quay.io: {images: {a: {}}}", "is not a list"],
    ["quay.io: {images: {a: [1]}}", "not a string"],
    ["quay.io: {images: {'a:1': []}}", "tags stand in a list"],
    ["quay.io: {images: {A: []}}", "must be lowercase"],
    ["quay.io: {images: {a: ['x y']}}", "invalid reference format"],
    ["quay.io: {images-by-tag-regex: {a: '('}}", "the pattern for"],
    ["quay.io: {images-by-semver: {a: ''}}", "is empty"],
    ["quay.io: {tls-verify: maybe}", "is not true or false"],
    ["quay.io: {cert-dir: certs}", "is not an absolute path"],
  ])("%j is refused", (text, message) => {
    expect(() => parseSyncList(text)).toThrow(message);
  });
});
