import { expect, test } from "bun:test";
import type { Descriptor, Index } from "./image.ts";
import { OCI_INDEX, OCI_MANIFEST } from "./media-types.ts";
import { formatPlatform, hostPlatform, parsePlatform, platformMatches, selectPlatform } from "./platform.ts";

test.each([
  ["linux/amd64", "linux/amd64"],
  ["linux/x86_64", "linux/amd64"],
  ["linux/amd64/v1", "linux/amd64"],
  ["linux/amd64/v3", "linux/amd64/v3"],
  ["Linux/AARCH64", "linux/arm64"],
  ["linux/arm64/v8", "linux/arm64"],
  ["linux/arm64/8", "linux/arm64"],
  ["linux/arm", "linux/arm/v7"],
  ["linux/armel", "linux/arm/v6"],
  ["linux/armhf", "linux/arm/v7"],
  ["linux/arm/6", "linux/arm/v6"],
  ["linux/ppc64el", "linux/ppc64le"],
  ["arm64", "linux/arm64"],
  ["windows/amd64", "windows/amd64"],
])("%s is %s", (text, normal) => {
  expect(formatPlatform(parsePlatform(text))).toBe(normal);
});

test("an operating system alone means this architecture", () => {
  expect(parsePlatform("linux")).toEqual(hostPlatform());
});

test.each(["", "/", "linux/", "linux//v7", "a/b/c/d", "nosuch", "linux/amd 64", "linux/../x"])(
  "%p is refused",
  (text) => {
    expect(() => parsePlatform(text)).toThrow(`invalid platform "${text}"`);
  },
);

function index(...platforms: (string | undefined)[]): Index {
  const manifests = platforms.map((text, i): Descriptor => {
    const [os = "", architecture = "", variant] = text?.split("/") ?? [];
    const platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
    const digest = `sha256:${i.toString().padStart(64, "0")}`;
    return { mediaType: OCI_MANIFEST, digest, size: i, ...(text === undefined ? {} : { platform }) };
  });
  return { schemaVersion: 2, mediaType: OCI_INDEX, manifests };
}

test.each([
  ["linux/amd64", ["linux/arm64", "linux/amd64", "linux/amd64"], 1],
  ["linux/amd64", ["unknown/unknown", "linux/amd64/v3", "linux/amd64/v1"], 2],
  ["linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1],
  ["linux/amd64/v3", ["linux/amd64/v4", "linux/amd64"], 1],
  ["linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1],
  ["linux/arm64/v9", ["linux/arm64", "linux/arm64/v9"], 1],
  ["linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], 1],
  ["linux/arm", ["linux/arm/v5", "linux/arm"], 1],
  ["linux/riscv64", ["linux/riscv64"], 0],
  ["linux/s390x", [undefined, "linux/s390x"], 1],
  ["linux/s390x", ["linux/amd64", undefined], 1],
] as [string, (string | undefined)[], number][])("%s from %p is entry %d", (wanted, offered, entry) => {
  expect(selectPlatform(index(...offered), parsePlatform(wanted)).size).toBe(entry);
});

test("what is not there is named together with what is", () => {
  const offered = index("linux/arm64/v8", "windows/amd64", "unknown/unknown");
  try {
    selectPlatform(offered, parsePlatform("linux/s390x"));
    expect.unreachable();
  } catch (error) {
    expect(error).toMatchObject({
      kind: "not-found",
      message: 'no image for platform "linux/s390x"',
      hint: "available: linux/arm64/v8, windows/amd64",
    });
  }
  expect(() => selectPlatform(index(), parsePlatform("linux/amd64"))).toThrow(/no image for platform/);
});

test.each(["__proto__", "constructor", "toString"])(
  "%s is an architecture like any other unknown one",
  (name) => {
    expect(formatPlatform({ os: name, architecture: name })).toBe(`${name}/${name}`);
    expect(platformMatches(hostPlatform(), { os: "linux", architecture: name })).toBe(false);
  },
);

test("an attestation is never chosen", () => {
  const offered = index(undefined);
  (offered.manifests[0] as Descriptor).annotations = { "vnd.docker.reference.type": "attestation-manifest" };
  expect(() => selectPlatform(offered)).toThrow(/no image for platform/);
});

test("only without a wish does the host take what its kernel can also run", () => {
  if (hostPlatform().architecture !== "amd64") return console.warn("skip: host is not amd64");
  expect(selectPlatform(index("linux/386")).size).toBe(0);
  expect(() => selectPlatform(index("linux/386"), parsePlatform("linux/amd64"))).toThrow();
});

test("matching of a stored image", () => {
  expect(
    platformMatches(parsePlatform("linux/arm/v7"), { os: "linux", architecture: "arm", variant: "v6" }),
  ).toBe(true);
  expect(
    platformMatches(parsePlatform("linux/arm/v6"), { os: "linux", architecture: "arm", variant: "v7" }),
  ).toBe(false);
});
