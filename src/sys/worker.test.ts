import { expect, test } from "bun:test";
import { readlinkSync } from "node:fs";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { linux } from "./linux.ts";

test("workers make calls of their own: errno, thread and namespaces do not mix", async () => {
  using tmp = tempDir("sys-worker");
  const home = readlinkSync("/proc/thread-self/ns/net");
  const program = `
    import { readlinkSync } from "node:fs";
    import { linux } from "${import.meta.dir}/linux.ts";
    import { call, tryCall } from "${import.meta.dir}/libc.ts";
    const errors = new Set();
    for (let i = 0; i < 20000; i++) errors.add(tryCall("close", -1));
    linux.createNetns("${tmp.path}/net");
    const inside = linux.inNetns("${tmp.path}/net", () => readlinkSync("/proc/thread-self/ns/net"));
    postMessage({ errors: [...errors], thread: call("gettid", ""), inside, after: readlinkSync("/proc/thread-self/ns/net") });`;
  const worker = new Worker(URL.createObjectURL(new Blob([program], { type: "application/javascript" })));
  const answer = new Promise<{ errors: number[]; thread: number; inside: string; after: string }>(
    (resolve, reject) => {
      worker.onmessage = (event) => resolve(event.data);
      worker.onerror = (event) => reject(new Error(event.message));
    },
  );
  const mine = new Set<string>();
  for (let i = 0; i < 20_000; i++) {
    try {
      linux.unlink(-100, "/berth-absent");
    } catch (error) {
      mine.add((error as Error).message);
    }
    if (i % 2000 === 0) await Bun.sleep(0);
  }
  const { errors, thread, inside, after } = await answer;
  worker.terminate();
  expect([...mine]).toEqual(['unlinkat "/berth-absent": ENOENT']);
  expect(errors).toEqual([-9]);
  expect(thread).not.toBe(process.pid);
  expect(after).toBe(home);
  expect(inside).not.toBe(home);
  linux.removeNetns(`${tmp.path}/net`);
});
