import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MAX_ID, MAX_USER_FILE, resolveUser } from "./users.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");

const files = {
  passwd: bytes(
    [
      "# a comment",
      "root:x:0:0:root:/root:/bin/sh",
      "broken",
      "half:x:12",
      "negative:x:-5:1::/:",
      "big:x:4294967296:1::/:",
      "user:x:1000:1000:A User:/home/user:/bin/sh",
      "user:x:2000:2000:again:/other:/bin/sh",
      "3proxy:x:31:32::/:",
      "00:x:0:0::/:",
      "-1:x:0:0::/:",
      "0x0:x:0:0::/:",
      "1e3:x:0:0::/:",
      "4294967296:x:0:0::/:",
      "caf\xe9:x:77:78::/home/caf\xe9:",
      "nohome:x:90:91",
      "relative:x:92:92::home:",
    ].join("\n"),
  ),
  group: bytes(
    [
      "root:x:0:",
      "adm:x:4:user,other",
      "users:x:1000:",
      "wheel:x:10:root,user",
      "bad:x:ten:user",
      "docker:x:999:user",
      "docker:x:998:user",
    ].join("\n"),
  ),
};

const who = (request: string, groupAdd: string[] = []) => resolveUser(request, files, groupAdd);

describe("the six forms", () => {
  test("nothing is root, with root's groups", () => {
    expect(who("")).toEqual({ uid: 0, gid: 0, additionalGids: [0, 10], home: "/root", name: "root" });
  });

  test("a name; the first of two lines counts", () => {
    expect(who("user")).toEqual({
      uid: 1000,
      gid: 1000,
      additionalGids: [4, 10, 998, 999, 1000],
      home: "/home/user",
      name: "user",
    });
  });

  test("a uid takes group, groups and home from its line", () => {
    expect(who("1000")).toEqual(who("user"));
    expect(who("5000")).toEqual({ uid: 5000, gid: 0, additionalGids: [0], home: "/", name: "" });
  });

  test("with a group there are no supplementary ones", () => {
    const expected = { uid: 1000, gid: 4, additionalGids: [4], home: "/home/user", name: "user" };
    for (const request of ["user:adm", "user:4", "1000:adm", "1000:4"])
      expect(who(request)).toEqual(expected);
    expect(who(":adm")).toMatchObject({ uid: 0, gid: 4, additionalGids: [4] });
    expect(who("5000:6000")).toEqual({ uid: 5000, gid: 6000, additionalGids: [6000], home: "/", name: "" });
  });

  test("added groups, by name and number, once each", () => {
    expect(who("user:adm", ["docker", "7", "7", "4"]).additionalGids).toEqual([4, 7, 999]);
    expect(() => who("user", ["nosuch"])).toThrow('no group "nosuch"');
  });
});

describe("what looks like a number is never a name (CVE-2024-40635, CVE-2026-46680)", () => {
  const refused = [
    "00",
    "-1",
    "+0",
    "0x0",
    "1e3",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "01",
    "0.0",
    ".5",
  ];
  for (const request of refused) {
    test(request, () => {
      expect(() => who(request)).toThrow();
      expect(() => who(`user:${request}`)).toThrow();
      expect(() => who("user", [request])).toThrow();
    });
  }

  test("the range of ids is the kernel's", () => {
    expect(who(String(MAX_ID)).uid).toBe(4294967294);
    expect(who("2147483648").uid).toBe(2147483648);
    expect(who("3proxy")).toMatchObject({ uid: 31, gid: 32 });
  });
});

test("refuses what is no user at all", () => {
  for (const request of ["a:b:c", "user:", ":", "a b", "user\n", "user\0", "a/b", "x".repeat(300)]) {
    expect(() => who(request)).toThrow();
  }
  expect(() => who("nobody")).toThrow('no user "nobody"');
  expect(() => resolveUser("root", {}, [])).toThrow("no user");
  expect(resolveUser("", {}, [])).toEqual({ uid: 0, gid: 0, additionalGids: [0], home: "/", name: "" });
});

test("bytes that are not UTF-8 match only themselves, and homes are clean or /", () => {
  expect(() => who("café")).toThrow("no user");
  expect(() => who("caf\ufffd")).toThrow("no user");
  expect(who("77").uid).toBe(77);
  expect(who("nohome")).toMatchObject({ uid: 90, gid: 91, home: "/" });
  expect(who("relative").home).toBe("/");
  const hostile = bytes("a:x:5:5::/home\r/x:\nb:x:6:6::/ok:\r\n");
  expect(resolveUser("a", { passwd: hostile }, []).home).toBe("/");
  expect(resolveUser("b", { passwd: hostile }, []).home).toBe("/ok");
});

test("an oversized file is refused, a long one is read quickly", () => {
  const line = "u:x:1:1::/:\n";
  const long = bytes(line.repeat(Math.floor((MAX_USER_FILE - 100) / line.length)) + "last:x:3:3::/:");
  const start = performance.now();
  expect(resolveUser("last", { passwd: long }, []).uid).toBe(3);
  expect(performance.now() - start).toBeLessThan(3000);
  expect(() => resolveUser("0", { passwd: new Uint8Array(MAX_USER_FILE + 1) }, [])).toThrow("larger than");
});

test("never anything but an identity in range or an error of ours", () => {
  const request = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.stringMatching(/^[0-9a-z:+-]{0,12}$/),
  );
  fc.assert(
    fc.property(request, fc.uint8Array({ maxLength: 200 }), (text, noise) => {
      try {
        const user = resolveUser(text, { passwd: noise, group: noise }, []);
        expect(user.uid >= 0 && user.uid <= MAX_ID && user.gid >= 0 && user.gid <= MAX_ID).toBe(true);
        expect(user.home.startsWith("/")).toBe(true);
        expect(user.additionalGids).toContain(user.gid);
      } catch (error) {
        expect(error).toHaveProperty("kind");
      }
    }),
    { numRuns: 500 },
  );
});
