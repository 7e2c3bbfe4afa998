import { expect, test } from "bun:test";
import { digestOf } from "../image/digest.ts";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from "../image/media-types.ts";
import {
  annotateList,
  changedEntry,
  changeEntry,
  emptyList,
  putEntry,
  readList,
  removeEntry,
  writeList,
} from "./manifest-edit.ts";

const text = (list: Parameters<typeof writeList>[0]): unknown =>
  JSON.parse(new TextDecoder().decode(writeList(list).bytes));

function entry(name: string, mediaType = OCI_MANIFEST) {
  return { mediaType, digest: digestOf(name), size: name.length };
}

test("a list grows, changes and shrinks, and keeps what nobody here knows about", () => {
  const original = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: [{ ...entry("a"), platform: { os: "linux", architecture: "amd64", odd: 1 }, stray: [1] }],
      custom: { deep: true },
    }),
  );
  const list = readList(original);
  putEntry(list, changedEntry(entry("b"), { os: "linux", architecture: "arm", variant: "v7" }));
  changeEntry(list, digestOf("a"), { osVersion: "10", features: ["sse4"], annotations: { k: "v" } });
  changeEntry(list, digestOf("a"), { annotations: { k2: "v2" } });
  annotateList(list, { top: "yes" });
  annotateList(list, {});
  expect(text(list)).toEqual({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: [
      {
        ...entry("a"),
        platform: { os: "linux", architecture: "amd64", odd: 1, "os.version": "10", features: ["sse4"] },
        stray: [1],
        annotations: { k: "v", k2: "v2" },
      },
      { ...entry("b"), platform: { os: "linux", architecture: "arm", variant: "v7" } },
    ],
    custom: { deep: true },
    annotations: { top: "yes" },
  });
  removeEntry(list, digestOf("a"));
  // The same image again takes the place of the entry that it has.
  putEntry(list, entry("b"));
  expect(text(list)).toMatchObject({ manifests: [entry("b")] });
});

test("unknown and malformed digests", () => {
  const list = emptyList();
  putEntry(list, entry("a"));
  expect(() => removeEntry(list, digestOf("b"))).toThrow("no instance matching digest");
  expect(() => changeEntry(list, digestOf("b"), {})).toThrow("no instance matching digest");
  for (const bad of ["", "a", "sha256:abc", "sha256:../../x", `sha256:${"A".repeat(64)}`]) {
    expect(() => removeEntry(list, bad)).toThrow("invalid digest");
  }
  expect(() => readList(Buffer.from(JSON.stringify({ schemaVersion: 2, config: {} })))).toThrow();
});

test("Docker's kind of list only where all is Docker's", () => {
  const list = emptyList();
  expect(writeList(list).mediaType).toBe(OCI_INDEX);
  putEntry(list, entry("a", DOCKER_MANIFEST));
  expect(writeList(list).mediaType).toBe(DOCKER_LIST);
  const read = readList(writeList(list).bytes);
  putEntry(read, entry("b", DOCKER_MANIFEST));
  expect(writeList(read).mediaType).toBe(DOCKER_LIST);
  putEntry(read, entry("c"));
  expect(writeList(read).mediaType).toBe(OCI_INDEX);
  const mixed = readList(writeList(read).bytes);
  removeEntry(mixed, digestOf("c"));
  expect(writeList(mixed).mediaType).toBe(OCI_INDEX);
  expect(writeList(mixed, "docker").mediaType).toBe(DOCKER_LIST);
  annotateList(list, { a: "b" });
  expect(writeList(list).mediaType).toBe(OCI_INDEX);
});

test("a list that no registry would take is refused", () => {
  const list = emptyList();
  annotateList(list, { big: "x".repeat(5 * 1024 * 1024) });
  expect(() => writeList(list)).toThrow("more than the limit");
});
