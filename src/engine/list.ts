/** `ps`: the containers of the store with what has really become of them. Takes no lock. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { humanDuration, parseTimestamp } from "../core/time.ts";
import type { ContainerRecord, ContainerState } from "../container/container.ts";
import type { Engine, Filter } from "./engine.ts";
import { hasLabel, matcher, nameMatches, type Test } from "./filter.ts";
import { refresh, refreshAll } from "./refresh.ts";

export interface ContainerSummary {
  record: ContainerRecord;
  imageName: string;
  imageId: string;
  command: string[];
  /** For people: "Up 3 minutes", "Exited (0) 2 hours ago". */
  status: string;
  /** "created", "running", "paused", "exited" … */
  state: string;
  /** Bytes; only when sizes were asked for. */
  size?: { rw: number; rootFs: number };
  /** 0 when not running. */
  pid: number;
}

export interface ListRequest {
  all: boolean;
  filters: Filter[];
  size?: boolean;
  /** The newest container only, whatever its state. */
  latest?: boolean;
  /** The n newest, whatever their state. */
  last?: number;
}

/** Oldest first. Errors: invalid-argument for an unknown filter. */
export function list(_ctx: Ctx, engine: Engine, request: ListRequest): ContainerSummary[] {
  const matches = matcher(request.filters, containerTests(engine));
  let records = refreshAll(engine).filter(matches);
  const newest = request.latest === true ? 1 : request.last;
  const everything = request.all || newest !== undefined || request.filters.some((f) => f.key === "status");
  if (!everything)
    records = records.filter((r) => r.state.status === "running" || r.state.status === "paused");
  if (newest !== undefined && newest >= 0) records = records.slice(-newest);
  return records.map((record) => summarise(engine, record, request.size === true));
}

/** The container of this name, id or unique id prefix, refreshed. Errors: not-found, conflict. */
export function resolveContainer(engine: Engine, nameOrId: string): ContainerRecord {
  return refresh(engine, engine.records.resolve(nameOrId));
}

/** The container created last. Errors: not-found when there is none. */
export function latest(engine: Engine): ContainerRecord {
  const record = engine.records.latest();
  if (record === undefined)
    throw fail("not-found", "there is no container yet", { reason: "no-such-container" });
  return refresh(engine, record);
}

function statusText(state: ContainerState, nowMs: number = Date.now()): string {
  const since = (time: string | undefined): string => humanDuration(nowMs - Date.parse(time ?? ""));
  switch (state.status) {
    case "running":
      return `Up ${since(state.startedAt)}`;
    case "paused":
      return `Up ${since(state.startedAt)} (Paused)`;
    case "exited":
      return `Exited (${state.exitCode ?? 0}) ${since(state.finishedAt)} ago`;
    case "initialized":
      return "Initialized";
    case "removing":
      return "Removal In Progress";
    case "created":
      return "Created";
  }
}

function summarise(engine: Engine, record: ContainerRecord, size: boolean): ContainerSummary {
  const { spec, state } = record;
  const summary: ContainerSummary = {
    record,
    imageName: spec.image,
    imageId: spec.imageId ?? "",
    command: spec.argv ?? [...(spec.entrypoint ?? []), ...spec.command],
    status: statusText(state),
    state: state.status,
    pid: state.status === "running" || state.status === "paused" ? (state.pid ?? 0) : 0,
  };
  if (size) {
    // Loaded here, because listing is the one verb that must start at once.
    const { sizeOf } = require("./size.ts") as typeof import("./size.ts");
    summary.size = sizeOf(engine, record);
  }
  return summary;
}

/** The filters of ps, container prune and wait on several. */
export function containerTests(engine: Engine): Record<string, Test<ContainerRecord>> {
  const createdMs = (r: ContainerRecord): number => Date.parse(r.created);
  const anchor = (name: string): number => createdMs(engine.records.resolve(name));
  return {
    id: (value, r) => r.id.startsWith(value) || nameMatches(`^${value}`, r.id),
    name: (value, r) => nameMatches(value, r.name),
    label: (value, r) => hasLabel(value, r.spec.labels),
    annotation: (value, r) => hasLabel(value, r.spec.annotations),
    status: (value, r) => r.state.status === (value === "stopped" ? "exited" : value),
    exited: (value, r) => r.state.status === "exited" && r.state.exitCode === Number(value),
    ancestor: (value, r) => isAncestor(engine, value, r),
    before: (value, r) => createdMs(r) < anchor(value),
    since: (value, r) => createdMs(r) > anchor(value),
    until: (value, r) => createdMs(r) < parseTimestamp(value),
    network: (value, r) => r.spec.network === value || r.state.attachment?.network === value,
    volume: (value, r) => r.spec.mounts.some((m) => m.source === value || m.target === value),
    command: (value, r) => (r.spec.argv ?? r.spec.command)[0] === value,
    "restart-policy": (value, r) => r.spec.restart.policy === value,
    publish: (value, r) => r.spec.ports.some((p) => String(p.hostPort) === value.split("/")[0]),
    health: (value) => value === "none",
    pod: () => false,
  };
}

function isAncestor(engine: Engine, wanted: string, record: ContainerRecord): boolean {
  const { image, imageId } = record.spec;
  if (image === wanted || imageId?.replace("sha256:", "").startsWith(wanted.replace("sha256:", "")) === true)
    return true;
  return engine.images.find(wanted)?.id === imageId && imageId !== undefined;
}
