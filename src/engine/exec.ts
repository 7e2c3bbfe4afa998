/** exec: one more command in a running container, under a monitor of its own. */
import { existsSync, mkdirSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail, isKind, messageOf } from "../core/error.ts";
import { newId } from "../core/id.ts";
import type { ContainerRecord } from "../container/container.ts";
import { isLive } from "../container/state.ts";
import { execProcess } from "../container/exec-process.ts";
import { type AttachIo, openAttach } from "../runtime/attach.ts";
import type { ExecRequest as RuntimeExec, ExecSession } from "../runtime/runtime.ts";
import { deleteTree } from "../storage/files.ts";
import { hasCode } from "../sys/errno.ts";
import type { Engine } from "./engine.ts";
import { refresh } from "./refresh.ts";
import { running, runtimeOf } from "./stop.ts";

export interface ExecRequest {
  container: string;
  command: string[];
  env: string[];
  workdir?: string;
  user?: string;
  privileged: boolean;
  terminal: boolean;
  /** Keep stdin open. */
  stdin: boolean;
  detach: boolean;
  /** Needed unless `detach`. */
  attach?: AttachIo;
}

/** Times 10 ms: how long a container may take to end before a failed session is an error of its own. */
const ENDING_TRIES = 200;

/**
 * The exit code is the command's, 0 after a detach. Errors: not-found, conflict (not running, paused), invalid-argument,
 * command-not-found (127), command-not-executable (126).
 */
export async function exec(
  ctx: Ctx,
  engine: Engine,
  request: ExecRequest,
): Promise<{ sessionId: string; exitCode: number }> {
  const record = running(engine, request.container, "exec in");
  if (record.state.status === "paused") {
    throw fail("conflict", `cannot exec in container ${record.name}: it is paused`, {
      reason: "paused",
      hint: `continue it first: berth unpause ${record.name}`,
    });
  }
  try {
    return await execIn(ctx, engine, record, request);
  } catch (error) {
    // Mostly the container is just ending: its first process takes the others along before it is gone itself.
    const isOdd = isKind(error, "internal");
    for (let tries = isOdd ? ENDING_TRIES : 0; tries > 0 && !hasEnded(engine, record); tries--) {
      await Bun.sleep(10);
    }
    throw hasEnded(engine, record) ? ended(record, error) : error;
  }
}

/** Whatever the runtime and its monitor then say of files and sockets that are gone. */
function ended({ name }: ContainerRecord, cause: unknown): Error {
  return fail("conflict", `container ${name} ended while a command was started in it`, {
    reason: "not-running",
    cause,
  });
}

function hasEnded(engine: Engine, { id, state }: ContainerRecord): boolean {
  const now = engine.records.get(id);
  if (now === undefined || !isLive(refresh(engine, now).state.status)) return true;
  return state.pid !== undefined && engine.sys.startTime(state.pid) !== state.pidStart;
}

async function execIn(
  ctx: Ctx,
  engine: Engine,
  record: ContainerRecord,
  request: ExecRequest,
): Promise<{ sessionId: string; exitCode: number }> {
  const sessionId = newId();
  const directory = `${engine.paths.runContainer(record.id)}/exec/${sessionId}`;
  const runtime = await runtimeOf(ctx, engine, record);
  const size = request.terminal && request.attach !== undefined ? engine.sys.windowSize(0) : undefined;
  const process = execProcess(engine, record, { ...request, ...(size === undefined ? {} : { size }) });
  makeDirectory(directory);
  // A detached session's files go with its exit command, or with the container.
  using done = new DisposableStack();
  // Not rmSync: it stops without a word where the session's monitor is just removing its own files.
  done.defer(() => deleteTree(engine.sys, directory));
  const session = await runtime.exec(
    ctx,
    record.id,
    sessionRequest(engine, record, { request, sessionId, directory, process }),
  );
  engine.events.add({
    type: "container",
    action: "exec",
    id: record.id,
    name: record.name,
    attributes: { image: record.spec.image, execID: sessionId },
  });
  if (request.detach || request.attach === undefined) {
    using _session = session;
    await session.start();
    done.move();
    return { sessionId, exitCode: 0 };
  }
  return { sessionId, exitCode: await converse(ctx, session, request.attach) };
}

/** Inside the container's own run directory, which must be there: one that is being removed must not get it back. */
function makeDirectory(path: string): void {
  const sessions = path.slice(0, path.lastIndexOf("/"));
  if (!existsSync(sessions)) {
    try {
      mkdirSync(sessions, { mode: 0o700 });
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
  }
  mkdirSync(path, { mode: 0o700 });
}

interface SessionFacts {
  request: ExecRequest;
  sessionId: string;
  directory: string;
  process: object;
}

function sessionRequest(engine: Engine, record: ContainerRecord, facts: SessionFacts): RuntimeExec {
  const { request, sessionId, directory } = facts;
  const exitCommand = [...engine.selfArgv, "container", "cleanup", "--exec", sessionId, record.id];
  return {
    id: record.id,
    sessionId,
    name: record.name,
    bundle: directory,
    process: facts.process,
    terminal: request.terminal,
    stdin: request.stdin,
    leaveStdinOpen: false,
    exitDir: directory,
    persistDir: `${directory}/persist`,
    pidFile: `${directory}/pid`,
    monitorPidFile: `${directory}/monitor.pid`,
    exitCommand: request.detach ? exitCommand : [],
    systemdCgroup: engine.systemdCgroup,
  };
}

async function converse(ctx: Ctx, session: ExecSession, io: AttachIo): Promise<number> {
  const stream = openAttach(ctx, {
    socket: session.attachSocket,
    controlFifo: session.controlFifo,
    io,
    onSignal: (signal) => ctx.log.area("exec").debug(`signal ${signal} is not passed to the session`),
  });
  try {
    await session.start();
  } catch (error) {
    stream.close();
    throw error;
  }
  const end = await stream.pump();
  if (end === "detached") return 0;
  try {
    return await session.wait();
  } catch (error) {
    throw fail("internal", `the session ended without a status: ${messageOf(error)}`, { cause: error });
  }
}
