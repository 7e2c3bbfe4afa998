import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseMountinfo } from "./mountinfo.ts";

test("the example of proc(5), with and without optional fields", () => {
  const content = Buffer.from(
    "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n" +
      "37 35 0:5 / /a\\040b\\134\\011 ro - tmpfs  rw\n",
  );
  expect(parseMountinfo(content)).toEqual([
    {
      id: 36,
      parent: 35,
      device: "98:0",
      root: Buffer.from("/mnt1"),
      mountPoint: Buffer.from("/mnt2"),
      options: ["rw", "noatime"],
      propagation: ["master:1", "shared:7"],
      type: "ext3",
      source: Buffer.from("/dev/root"),
      superOptions: ["rw", "errors=continue"],
    },
    {
      id: 37,
      parent: 35,
      device: "0:5",
      root: Buffer.from("/"),
      mountPoint: Buffer.from("/a b\\\t"),
      options: ["ro"],
      propagation: [],
      type: "tmpfs",
      source: Buffer.from(""),
      superOptions: ["rw"],
    },
  ]);
});

/** As the kernel writes a path (seq_path: space, tab, newline, backslash). */
function escaped(bytes: Uint8Array): Buffer {
  const parts = [...bytes].map((byte) =>
    [9, 10, 32, 92].includes(byte) ? Buffer.from(`\\${byte.toString(8).padStart(3, "0")}`) : Buffer.of(byte),
  );
  return Buffer.concat(parts);
}

test("any bytes of a path come back", () => {
  const name = fc.uint8Array({ minLength: 1, maxLength: 40 }).filter((bytes) => !bytes.includes(0));
  fc.assert(
    fc.property(name, name, (root, point) => {
      const line = [
        Buffer.from("1 2 3:4 "),
        escaped(root),
        Buffer.from(" "),
        escaped(point),
        Buffer.from(" rw - x none rw\n"),
      ];
      const [mount] = parseMountinfo(Buffer.concat(line));
      expect(Uint8Array.from(mount?.root ?? [])).toEqual(root);
      expect(Uint8Array.from(mount?.mountPoint ?? [])).toEqual(point);
    }),
  );
});

test("garbage is skipped, never thrown at", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => Array.isArray(parseMountinfo(bytes))));
});
