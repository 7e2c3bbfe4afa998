import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { isKind } from "../core/error.ts";
import { type TempDir, tempDir } from "../../test/fake/temp-dir.ts";
import * as k from "./const.ts";
import { SysError } from "./errno.ts";
import { linux } from "./linux.ts";
import { mounts, mountsBelow } from "./mountinfo.ts";
import { overlayByMount } from "./overlay.ts";

let tmp: TempDir;
beforeEach(() => void (tmp = tempDir("sys-mount")));
afterEach(() => tmp[Symbol.dispose]());

function made(...names: string[]): string[] {
  return names.map((name) => {
    mkdirSync(`${tmp.path}/${name}`, { recursive: true });
    return `${tmp.path}/${name}`;
  });
}

function stack(count: number, name = "layer"): string[] {
  const lower = made(...Array.from({ length: count }, (_, i) => `${name}-${i}`));
  lower.forEach((path, i) => {
    writeFileSync(`${path}/own-${i}`, String(i));
    writeFileSync(`${path}/shared`, String(i));
  });
  return lower;
}

describe("overlay", () => {
  test("300 layers of long names: the topmost wins, all are seen, writes go to the upper one", () => {
    const lower = stack(300, "l".repeat(64));
    const [upper, work, target] = made("u", "w", "m") as [string, string, string];
    linux.mountOverlay({ lower, upper, work, target, options: ["volatile"] });
    expect(linux.stat(k.AT_FDCWD, target, 0).mountRoot).toBe(true);
    expect(readFileSync(`${target}/shared`, "utf8")).toBe("0");
    for (const i of [0, 150, 299]) expect(readFileSync(`${target}/own-${i}`, "utf8")).toBe(String(i));
    writeFileSync(`${target}/new`, "x");
    expect(readFileSync(`${upper}/new`, "utf8")).toBe("x");
    // Not lazily: nothing of ours keeps it busy.
    linux.umount(target);
    expect(mountsBelow(tmp.path)).toEqual([]);
  });

  test("paths longer than the kernel's copy of an option, with odd characters", () => {
    const deep = `${"d".repeat(200)}/${"e".repeat(200)}`;
    const lower = stack(2, `${deep}/a:b,c\\d "e"`);
    const [upper, work, target] = made(`${deep}/u,1`, `${deep}/w`, "m") as [string, string, string];
    linux.mountOverlay({ lower, upper, work, target });
    expect(readFileSync(`${target}/own-1`, "utf8")).toBe("1");
    linux.umount(target);
  });

  test("without an upper directory it is read-only", () => {
    const [target] = made("m") as [string];
    linux.mountOverlay({ lower: stack(2), target, readOnly: true });
    expect(() => writeFileSync(`${target}/no`, "")).toThrow("EROFS");
  });

  test("a failure says what the kernel said and leaves no mount and no descriptor", () => {
    const [upper, work, target] = made("u", "w", "m") as [string, string, string];
    const before = openDescriptors();
    const attempt = (): void =>
      linux.mountOverlay({ lower: stack(1), upper, work, target, options: ["redirect_dir=nonsense"] });
    expect(attempt).toThrow(SysError);
    expect(attempt).toThrow("redirect_dir=nonsense");
    expect(() => linux.mountOverlay({ lower: [`${tmp.path}/absent`], upper, work, target })).toThrow(
      "absent",
    );
    expect(mountsBelow(tmp.path)).toEqual([]);
    expect(openDescriptors()).toBe(before);
  });

  test("the way of older kernels: the same mount, and a clear error where one page is not enough", () => {
    const [upper, work, target] = made("u,x", "w", "m") as [string, string, string];
    overlayByMount({ lower: stack(3, "a:b,c\\d"), upper, work, target });
    expect(readFileSync(`${target}/own-2`, "utf8")).toBe("2");
    linux.umount(target);
    let error: unknown;
    try {
      overlayByMount({ lower: stack(100, "l".repeat(64)), upper, work, target });
    } catch (thrown) {
      error = thrown;
    }
    expect(isKind(error, "resource-exhausted")).toBe(true);
    expect(mountsBelow(tmp.path)).toEqual([]);
  });
});

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

describe("mount", () => {
  test("tmpfs and bind mounts, seen byte-exactly in mountinfo, unmounted innermost first", () => {
    const [odd] = made('t m\tp\\"\n') as [string];
    linux.mount("berth-test", odd, "tmpfs", k.MS_NOSUID | k.MS_NODEV, "size=1m,mode=700");
    mkdirSync(`${odd}/in`);
    linux.mount(odd, `${odd}/in`, "", k.MS_BIND);
    const seen = mountsBelow(tmp.path);
    expect(seen.map((mount) => mount.mountPoint.toString())).toEqual([`${odd}/in`, odd]);
    expect(seen[1]).toMatchObject({ type: "tmpfs", propagation: [] });
    expect(seen[1]?.source.toString()).toBe("berth-test");
    expect(seen[1]?.options).toContain("nosuid");
    expect(seen[1]?.superOptions).toContain("size=1024k");
    expect(() => linux.umount(odd)).toThrow("EBUSY");
    for (const mount of seen) linux.umount(mount.mountPoint.toString());
    expect(mountsBelow(tmp.path)).toEqual([]);
  });

  test("mountsBelow does not take a longer name for a directory below", () => {
    const [a, ab] = made("a", "ab") as [string, string];
    linux.mount("x", ab, "tmpfs", 0, "size=4k");
    expect(mountsBelow(a)).toEqual([]);
    expect(mountsBelow(ab).length).toBe(1);
    expect(mountsBelow("/").length).toBe(mounts().length);
  });
});

describe("network namespaces", () => {
  test("are pinned with lo up, and the thread comes home", () => {
    const home = readlinkSync("/proc/thread-self/ns/net");
    const path = `${tmp.path}/net`;
    linux.createNetns(path);
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(home);
    const inside = linux.inNetns(path, () => ({
      ns: readlinkSync("/proc/thread-self/ns/net"),
      routes: readFileSync("/proc/thread-self/net/fib_trie", "utf8"),
    }));
    expect(inside.ns).not.toBe(home);
    // The kernel gives lo its address when it comes up.
    expect(inside.routes).toContain("127.0.0.1");
    expect(() => linux.createNetns(path)).toThrow("EEXIST");
    expect(() =>
      linux.inNetns(path, () => {
        throw new Error("from inside");
      }),
    ).toThrow("from inside");
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(home);
    linux.removeNetns(path);
    linux.removeNetns(path);
    expect(existsSync(path)).toBe(false);
    expect(mountsBelow(tmp.path)).toEqual([]);
  });

  test("a failed creation leaves nothing", () => {
    expect(() => linux.createNetns(`${tmp.path}/no/net`)).toThrow("ENOENT");
    expect(mountsBelow(tmp.path)).toEqual([]);
  });
});
