/**
 * What commands that were killed, or a machine that went down, have left half done. Called by the first
 * command that sees it (`needsRecovery` costs two small queries and one file); every step may itself be killed and is then
 * found again.
 *
 * - An operation whose owner is dead: `remove` is finished; `start` is undone; a `run` that never came up takes its container with it; what a commit had paused goes on.
 * - A lease whose owner is dead: half-made blobs, layers and directories go.
 * - Another boot than the one the run directory belongs to: whatever ran has exited, addresses and ports are given back.
 */
import { writeFileSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { messageOf } from "../core/error.ts";
import type { ContainerRecord } from "../container/container.ts";
import type { Operation } from "../container/operations.ts";
import { isLive } from "../container/state.ts";
import { teardown } from "../container/teardown.ts";
import { recover as reapStore } from "../storage/recover.ts";
import { bootId } from "../sys/host.ts";
import { forget, settle, withoutRunFacts } from "./cleanup.ts";
import type { Engine } from "./engine.ts";
import { lockContainer } from "./lock.ts";
import { bootFile, isNewBoot } from "./needs-recovery.ts";
import { refresh } from "./refresh.ts";
import { runtimeOf } from "./stop.ts";

export async function recover(ctx: Ctx, engine: Engine): Promise<void> {
  const isBoot = isNewBoot(engine);
  if (isBoot) await afterBoot(ctx, engine);
  const operations = engine.operations.abandoned();
  for (const operation of operations) {
    await attempt(ctx, `operation on ${operation.container.slice(0, 12)}`, () =>
      resolveOperation(ctx, engine, operation),
    );
  }
  // After a boot even without a dead lease: a power cut may have taken the row and left the file. And a removal may have left its trash.
  if (isBoot || operations.length > 0 || engine.leases.dead().length > 0)
    await attempt(ctx, "leases", () => recoverStore(ctx, engine));
}

/** One thing that cannot be put right must not keep the others, or the command itself, from going on. */
async function attempt(ctx: Ctx, what: string, body: () => void | Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    ctx.log.warn(`recovery of ${what} failed: ${messageOf(error)}; berth system check tells more`);
  }
}

async function resolveOperation(ctx: Ctx, engine: Engine, operation: Operation): Promise<void> {
  using _lock = await lockContainer(ctx, engine, operation.container);
  // Its owner may have ended it, or another command may have resolved it, while we waited for the lock.
  const current = engine.operations.abandoned().find((o) => o.container === operation.container);
  if (current === undefined) return;
  const record = engine.records.get(operation.container);
  if (record === undefined) {
    engine.rootfs.remove(operation.container);
    return engine.operations.end(operation.container);
  }
  if (current.verb === "pause") return await goOn(ctx, engine, record);
  ctx.log.area("engine").debug(`undoing a ${current.verb} of ${record.name} that was broken off`);
  await teardown(ctx, engine, record);
  if (current.verb === "start") {
    const status = record.state.finishedAt === undefined ? "created" : "exited";
    engine.db.tx(() => {
      engine.records.replaceState(record.id, { ...withoutRunFacts(record.state), status });
      engine.operations.end(record.id);
    });
    return;
  }
  await forget(engine, record, current.verb === "remove" ? ["remove"] : []);
}

/** A commit was killed while its container stood still. */
async function goOn(ctx: Ctx, engine: Engine, record: ContainerRecord): Promise<void> {
  if (isLive(refresh(engine, record).state.status)) {
    const runtime = await runtimeOf(ctx, engine, record);
    if (runtime.state(ctx, record.id)?.status === "paused") runtime.resume(ctx, record.id);
    engine.db.tx(() => {
      if (record.state.status === "paused") engine.records.update(record.id, { status: "running" });
      engine.operations.end(record.id);
    });
  } else engine.operations.end(record.id);
}

function recoverStore(ctx: Ctx, engine: Engine): void {
  const { leases, leftovers } = reapStore(engine.store);
  ctx.log.area("engine").debug(`undid ${leases.length} leases and ${leftovers.length} leftovers`);
}

async function afterBoot(ctx: Ctx, engine: Engine): Promise<void> {
  const live = engine.records.list().filter((record: ContainerRecord) => isLive(record.state.status));
  for (const record of live)
    await attempt(ctx, record.name, async () => void (await settle(ctx, engine, record.id)));
  for (const id of engine.network.leaseHolders()) {
    const record = engine.records.get(id);
    if (record === undefined || !isLive(record.state.status))
      await attempt(ctx, `the network of ${id.slice(0, 12)}`, () => engine.network.detach(ctx, id));
  }
  writeFileSync(bootFile(engine), bootId(), { mode: 0o600 });
}
