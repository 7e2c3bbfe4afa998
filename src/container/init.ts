/**
 * The start of a container in two steps: `prepare` makes everything up to the point where the runtime
 * holds the created process (its attach socket is there, nothing has run yet), `launch` lets it run.
 * Between the two whoever wants the output attaches.
 */
import { mkdirSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { failpoint } from "../core/failpoint.ts";
import { now } from "../core/time.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { MonitorRequest, OciRuntime } from "../runtime/runtime.ts";
import { chainIds } from "../image/chain.ts";
import { bootId } from "../sys/host.ts";
import { writeBundle } from "./bundle.ts";
import { connect, type Connected } from "./connect.ts";
import type { ContainerRecord, ContainerState } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";
import { logPath } from "./log-path.ts";
import { removeExitFile, teardown } from "./teardown.ts";

export interface Prepared {
  record: ContainerRecord;
  runtime: OciRuntime;
  /** What becomes of the record's state when it runs. */
  state: ContainerState;
  attachSocket: string;
  controlFifo: string;
  monitorPid: number;
}

export interface PrepareRequest {
  record: ContainerRecord;
  image: ImageRecord | undefined;
  /** Seconds the monitor waits before it runs its exit command: a foreground `run` cleans up itself and is quicker. */
  exitDelaySeconds: number;
}

/** The container's lock and an operation row are the caller's. Undoes everything on an error. */
export async function prepare(ctx: Ctx, deps: ContainerDeps, request: PrepareRequest): Promise<Prepared> {
  const { record, image } = request;
  const trace = (hop: string): void => ctx.log.trace(() => hop);
  await using undo = new AsyncDisposableStack();
  const runtime = await deps.runtime(ctx, record.spec.runtime);
  const started = { ...record, state: { ...record.state, runtimePath: runtime.info.path } };
  undo.defer(() => teardown(ctx, deps, started));
  // Of a life whose cleanup was broken off at its very end; it must not be taken for this one's.
  removeExitFile(deps, record.id);
  mkdirSync(`${deps.paths.runContainer(record.id)}/persist`, { recursive: true, mode: 0o700 });
  const top = image === undefined ? undefined : chainIds(image.config.rootfs.diff_ids).at(-1);
  // Nobody will ask for the files of a container that goes with its end: no sync at its unmount.
  const layers = {
    id: record.id,
    volatile: record.spec.autoRemove,
    ...(top === undefined ? {} : { chainId: top }),
  };
  deps.rootfs.create(layers);
  const rootfs = deps.rootfs.mount(layers);
  trace("mounted");
  failpoint("start.mounted");
  const connected = connect(ctx, deps, record);
  trace("connected");
  failpoint("start.connected");
  const bundle = await writeBundle(ctx, deps, {
    record,
    image: image?.config,
    rootfs,
    connected,
    runtime: runtime.info,
  });
  trace("bundle");
  const { pid, monitorPid } = await runtime.create(ctx, monitorRequest(deps, request, bundle));
  trace(`created by ${runtime.info.name}: pid ${pid}`);
  failpoint("start.created");
  undo.move();
  return {
    record,
    runtime,
    state: liveState(deps, record, { pid, monitorPid, connected, runtime }),
    attachSocket: `${bundle}/attach`,
    controlFifo: `${bundle}/ctl`,
    monitorPid,
  };
}

/** Lets the prepared process run and says so in the record. Undoes everything on an error. */
export async function launch(ctx: Ctx, deps: ContainerDeps, prepared: Prepared): Promise<ContainerRecord> {
  const { record, runtime } = prepared;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => teardown(ctx, deps, { ...record, state: prepared.state }));
  runtime.start(ctx, record.id);
  ctx.log.trace(() => "started");
  failpoint("start.started");
  const state: ContainerState = { ...prepared.state, status: "running", startedAt: now() };
  deps.db.tx(() => {
    deps.records.replaceState(record.id, state);
    deps.operations.end(record.id);
    deps.events.add({
      type: "container",
      action: "start",
      id: record.id,
      name: record.name,
      attributes: { image: record.spec.image, ...record.spec.labels },
    });
  });
  undo.move();
  return { ...record, state };
}

interface Live {
  pid: number;
  monitorPid: number;
  connected: Connected;
  runtime: OciRuntime;
}

function liveState(deps: ContainerDeps, record: ContainerRecord, live: Live): ContainerState {
  const { exitCode: _e, error: _x, stoppedByUser: _s, ...before } = record.state;
  const pidStart = deps.sys.startTime(live.pid);
  const monitorStart = deps.sys.startTime(live.monitorPid);
  return {
    ...before,
    status: "initialized",
    pid: live.pid,
    ...(pidStart === undefined ? {} : { pidStart }),
    monitorPid: live.monitorPid,
    ...(monitorStart === undefined ? {} : { monitorStart }),
    bootId: bootId(),
    runtimeName: live.runtime.info.name,
    runtimePath: live.runtime.info.path,
    ...(live.connected.netnsPath === undefined ? {} : { netns: live.connected.netnsPath }),
    ...(live.connected.attachment === undefined ? {} : { attachment: live.connected.attachment }),
  };
}

function monitorRequest(deps: ContainerDeps, request: PrepareRequest, bundle: string): MonitorRequest {
  const { record } = request;
  const { spec } = record;
  return {
    id: record.id,
    name: record.name,
    bundle,
    terminal: spec.terminal,
    stdin: spec.openStdin,
    // A terminal is left and come back to.
    leaveStdinOpen: spec.openStdin && (spec.terminal || spec.stdinOnce !== true),
    logDriver: spec.logDriver,
    logPath: logPath(deps.paths, record),
    ...(spec.logOptions["max-size"] === undefined ? {} : { logMaxSize: Number(spec.logOptions["max-size"]) }),
    exitDir: deps.paths.exits,
    persistDir: `${bundle}/persist`,
    pidFile: `${bundle}/pid`,
    monitorPidFile: `${bundle}/monitor.pid`,
    exitCommand: [...deps.selfArgv, "container", "cleanup", record.id],
    ...(request.exitDelaySeconds === 0 ? {} : { exitDelaySeconds: request.exitDelaySeconds }),
    ...(spec.timeoutSeconds === undefined ? {} : { timeoutSeconds: spec.timeoutSeconds }),
    systemdCgroup: deps.systemdCgroup,
  };
}
