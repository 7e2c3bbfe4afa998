import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { EngineError } from "../../core/error.ts";
import { parsePlace } from "./place.ts";

const cwd = "/work";
const hex = "a".repeat(64);

describe("places", () => {
  test.each([
    [
      "docker://alpine",
      {
        transport: "docker",
        reference: { registry: "docker.io", repository: "library/alpine", tag: "latest" },
      },
    ],
    [
      "docker://h:5000/a/b:1",
      { transport: "docker", reference: { registry: "h:5000", repository: "a/b", tag: "1" } },
    ],
    [
      `docker://h:1/a@sha256:${hex}`,
      { reference: { registry: "h:1", repository: "a", digest: `sha256:${hex}` } },
    ],
    ["oci:dir", { transport: "oci", path: "/work/dir" }],
    ["oci:/abs/dir/:a/b:c", { transport: "oci", path: "/abs/dir", refName: "a/b:c" }],
    ["oci-archive:x.tar:", { transport: "oci-archive", path: "/work/x.tar" }],
    ["oci:dir:@3", { path: "/work/dir", position: 3 }],
    [
      "docker-archive:../x.tar:a",
      { path: "/x.tar", reference: { registry: "docker.io", repository: "library/a", tag: "latest" } },
    ],
    ["docker-archive:x.tar:@0", { position: 0 }],
    ["dir:a:b:c", { transport: "dir", path: "/work/a:b:c" }],
    ["berth:site:1", { transport: "berth", name: "site:1" }],
    ["containers-storage:3fe0a91e6cd4", { transport: "berth", name: "3fe0a91e6cd4" }],
  ])("%s", (text, expected) => {
    const place = parsePlace(text, { cwd });
    expect(place).toMatchObject(expected as object);
    expect(place.text).toBe(text);
  });

  test("without a transport: what the caller says, else an error", () => {
    expect(parsePlace("site:1", { bare: "berth" })).toMatchObject({ transport: "berth", name: "site:1" });
    expect(parsePlace("h:5000/a", { bare: "docker" })).toMatchObject({
      transport: "docker",
      reference: { registry: "h:5000" },
    });
    expect(() => parsePlace("site")).toThrow("it names no transport");
    expect(() => parsePlace("dcoker://site", { bare: "docker" })).toThrow(
      "it is neither a name nor TRANSPORT:PLACE",
    );
  });

  test.each([
    ["docker:alpine", 'a registry is written as "docker://'],
    ["docker://", "the name is empty"],
    ["docker://A/b c", "invalid image name"],
    ["oci:", "the path is missing"],
    ["dir:", "the directory is missing"],
    ["oci:x:a\nb", "the reference after the path is malformed"],
    [`docker-archive:x:a@sha256:${hex}`, "not by digest"],
    ["berth:", "the name is missing"],
    ["oci:\0", "NUL"],
  ])("%j is refused", (text, message) => {
    expect(() => parsePlace(text, { cwd })).toThrow(message);
  });

  test.each(["docker-daemon:x", "ostree:x", "sif:x", "containers-storage:[overlay@/x]y"])(
    "%s is not supported",
    (text) => {
      expect(() => parsePlace(text)).toThrow(expect.objectContaining({ kind: "unimplemented" }));
    },
  );

  test("any text is a place or an error of ours", () => {
    const prefix = fc.constantFrom(
      "",
      "docker://",
      "oci:",
      "docker-archive:",
      "dir:",
      "berth:",
      "oci-archive:",
    );
    fc.assert(
      fc.property(prefix, fc.string({ maxLength: 40 }), (before, rest) => {
        try {
          expect(parsePlace(before + rest, { cwd }).text).toBe(before + rest);
        } catch (error) {
          expect(error).toBeInstanceOf(EngineError);
        }
      }),
    );
  });
});
