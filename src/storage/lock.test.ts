import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { linux } from "../sys/linux.ts";
import { failureOf } from "./fixture.ts";
import { FileLock, withLock } from "./lock.ts";

const dir = mkdtempSync("/tmp/berth-storage-lock-");
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const request = (name: string) => ({ sys: linux, dir, name });

test("an exclusive lock keeps everybody out, and its file goes with it", () => {
  const first = FileLock.try(request("a"));
  expect(first).toBeDefined();
  expect(FileLock.try(request("a"))).toBeUndefined();
  expect(FileLock.try({ ...request("a"), mode: "shared" })).toBeUndefined();
  first?.release();
  first?.release();
  expect(existsSync(`${dir}/a`)).toBe(false);
  FileLock.sync(request("a")).release();
});

test("shared locks go together and keep an exclusive one out", () => {
  using _one = FileLock.try({ ...request("s"), mode: "shared" });
  const two = FileLock.try({ ...request("s"), mode: "shared" });
  expect(two).toBeDefined();
  two?.release();
  expect(FileLock.try(request("s"))).toBeUndefined();
});

test("any text is a name, and stays inside the directory", () => {
  for (const name of ["../../x", "", ".", "a/b", "ü".repeat(300), "\0"]) {
    using lock = FileLock.try(request(name));
    expect(lock).toBeDefined();
  }
  expect(existsSync(`${dir}/../../x`)).toBe(false);
  expect(readdirSync(dir).filter((name) => name !== "s")).toEqual([]);
});

test("waiting ends with the caller's patience", async () => {
  using _held = FileLock.try(request("w"));
  const stop = AbortSignal.timeout(30);
  const waiting = FileLock.acquire(createCtx({ signal: stop }), request("w"));
  expect(await failureOf(waiting)).toMatchObject({ kind: "canceled" });
});

test("twenty at once take turns although each unlinks the file", async () => {
  let inside = 0;
  let most = 0;
  const ctx = createCtx();
  await Promise.all(
    Array.from({ length: 20 }, () =>
      withLock(ctx, request("turn"), async () => {
        most = Math.max(most, ++inside);
        await Bun.sleep(1);
        inside--;
      }),
    ),
  );
  expect(most).toBe(1);
});

test("four processes count to 400 under a lock", async () => {
  const counter = `${dir}/../${dir.split("/").at(-1)}-count`;
  await Bun.write(counter, "0");
  const script = `
    import { linux } from "${import.meta.dir}/../sys/linux.ts";
    import { FileLock } from "${import.meta.dir}/lock.ts";
    import { readFileSync, writeFileSync } from "node:fs";
    for (let i = 0; i < 100; i++) {
      using lock = FileLock.sync({ sys: linux, dir: "${dir}", name: "count" });
      writeFileSync("${counter}", String(Number(readFileSync("${counter}", "utf8")) + 1));
    }`;
  const children = Array.from({ length: 4 }, () => Bun.spawn([process.execPath, "-e", script]));
  const codes = await Promise.all(children.map((child) => child.exited));
  expect(codes).toEqual([0, 0, 0, 0]);
  expect(await Bun.file(counter).text()).toBe("400");
  rmSync(counter);
});
