import { expect, test } from "bun:test";
import { createCtx } from "../core/ctx.ts";
import { Watchdog } from "./watchdog.ts";

test("ends a standstill, but not one of this process itself, nor one that was announced", async () => {
  using dog = new Watchdog(createCtx(), 100);
  Bun.sleepSync(300);
  await Bun.sleep(15);
  expect(dog.stalled).toBe(false);
  dog.touch(200);
  await Bun.sleep(150);
  expect(dog.stalled).toBe(false);
  dog.rest();
  await Bun.sleep(150);
  expect(dog.stalled).toBe(false);
  dog.touch();
  for (const deadline = Date.now() + 5000; !dog.stalled && Date.now() < deadline;) await Bun.sleep(10);
  expect([dog.stalled, dog.signal.aborted]).toEqual([true, true]);
});
