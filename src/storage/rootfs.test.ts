import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { digestOf } from "../image/digest.ts";
import { linux } from "../sys/linux.ts";
import { destroy, plantLayer, storeAt, temporaryDir } from "./fixture.ts";
import { namesIn } from "./files.ts";
import type { Store } from "./store.ts";

let base: string;
let store: Store;

beforeEach(() => {
  base = temporaryDir("rootfs");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

test("a container sees its layers, writes to its own, and leaves nothing", () => {
  const bottom = plantLayer(store, digestOf("bottom"));
  const top = plantLayer(store, digestOf("top"), bottom);
  writeFileSync(`${store.paths.diff(bottom)}/a`, "bottom");
  writeFileSync(`${store.paths.diff(bottom)}/b`, "bottom");
  writeFileSync(`${store.paths.diff(top)}/b`, "top");
  chmodSync(store.paths.diff(top), 0o1751);
  chownSync(store.paths.diff(top), 12, 34);
  linux.setxattr(store.paths.diff(top), "user.mark", Buffer.from("m"));
  linux.setxattr(store.paths.diff(top), "trusted.overlay.opaque", Buffer.from("n"));

  const request = { id: "c1", chainId: top };
  store.rootfs.create(request);
  const root = store.rootfs.mount(request);
  expect(root).toBe(store.paths.merged("c1"));
  expect(store.rootfs.mount(request)).toBe(root);
  expect(store.rootfs.isMounted("c1")).toBe(true);
  expect(readFileSync(`${root}/a`, "utf8") + readFileSync(`${root}/b`, "utf8")).toBe("bottomtop");
  const { mode, uid, gid } = statSync(root);
  expect([mode & 0o7777, uid, gid]).toEqual([0o1751, 12, 34]);
  expect(Buffer.from(linux.getxattr(root, "user.mark") ?? []).toString()).toBe("m");
  expect(linux.getxattr(store.rootfs.upper("c1"), "trusted.overlay.opaque")).toBeUndefined();

  writeFileSync(`${root}/c`, "mine");
  expect(readFileSync(`${store.rootfs.upper("c1")}/c`, "utf8")).toBe("mine");
  store.rootfs.unmount("c1");
  store.rootfs.unmount("c1");
  expect(store.rootfs.isMounted("c1")).toBe(false);
  store.rootfs.mount(request);
  expect(readFileSync(`${root}/c`, "utf8")).toBe("mine");
  store.rootfs.remove("c1");
  store.rootfs.remove("c1");
  expect(existsSync(store.paths.container("c1"))).toBe(false);
  expect(namesIn(store.paths.trash)).toEqual([]);
  expect(existsSync(`${store.paths.diff(bottom)}/a`)).toBe(true);
});

test("made again after a kill it is complete; made again later it keeps what the container did", () => {
  const layer = plantLayer(store, digestOf("layer"));
  chmodSync(store.paths.diff(layer), 0o711);
  mkdirSync(store.paths.container("c1"));
  mkdirSync(`${store.paths.upper("c1")}.new`, 0o700);
  store.rootfs.create({ id: "c1", chainId: layer });
  expect(statSync(store.paths.upper("c1")).mode & 0o777).toBe(0o711);
  chmodSync(store.paths.upper("c1"), 0o700);
  store.rootfs.create({ id: "c1", chainId: layer });
  expect(statSync(store.paths.upper("c1")).mode & 0o777).toBe(0o700);
});

test("an empty root is writable, and a busy one is let go", () => {
  store.rootfs.create({ id: "c1" });
  const root = store.rootfs.mount({ id: "c1" });
  expect(readdirSync(root)).toEqual([]);
  expect(statSync(root).mode & 0o777).toBe(0o755);
  const fd = linux.open(root, 0);
  store.rootfs.remove("c1");
  linux.close(fd);
  expect(existsSync(root)).toBe(false);
});

test("a volatile root file system can be mounted again", () => {
  const request = { id: "c1", volatile: true };
  store.rootfs.create(request);
  for (let i = 0; i < 3; i++) {
    writeFileSync(`${store.rootfs.mount(request)}/f`, "x");
    store.rootfs.unmount("c1");
  }
  store.rootfs.remove("c1");
});

test("300 layers mount, 501 are refused before the kernel is asked", () => {
  let chain = plantLayer(store, digestOf("0"));
  store.db.tx(() => {
    for (let i = 1; i < 501; i++) {
      chain = plantLayer(store, digestOf(String(i)), chain);
      if (i === 299) store.rootfs.create({ id: "c300", chainId: chain });
      if (i === 299) writeFileSync(`${store.paths.diff(chain)}/deep`, "");
      if (i === 299) store.rootfs.mount({ id: "c300", chainId: chain });
    }
  });
  expect(readdirSync(store.paths.merged("c300"))).toEqual(["deep"]);
  store.rootfs.create({ id: "c501", chainId: chain });
  expect(() => store.rootfs.mount({ id: "c501", chainId: chain })).toThrow(
    expect.objectContaining({ reason: "too-many-layers" }),
  );
});

test("a missing layer is named", () => {
  const missing = digestOf("missing");
  expect(() => store.rootfs.create({ id: "c1", chainId: missing })).toThrow(
    expect.objectContaining({ kind: "not-found" }),
  );
  const top = plantLayer(store, digestOf("top"), missing);
  store.rootfs.create({ id: "c2", chainId: top });
  expect(() => store.rootfs.mount({ id: "c2", chainId: top })).toThrow(
    `layer "${missing}" is not in the store`,
  );
});

test("removal never enters what is mounted inside", () => {
  store.rootfs.create({ id: "c1" });
  const inner = `${store.paths.container("c1")}/inner`;
  mkdirSync(inner);
  mkdirSync(`${base}/treasure`);
  writeFileSync(`${base}/treasure/gold`, "");
  linux.mount(`${base}/treasure`, inner, "", 0x1000);
  expect(() => store.rootfs.remove("c1")).toThrow(expect.objectContaining({ reason: "mount-point" }));
  expect(existsSync(`${base}/treasure/gold`)).toBe(true);
  for (const name of namesIn(store.paths.trash)) linux.umount(`${store.paths.trash}/${name}/inner`);
});
