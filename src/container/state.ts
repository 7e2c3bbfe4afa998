/**
 * What has really become of a container: its record joined with the monitor's exit file, the
 * boot id and the life of its pid. Reads only; whoever holds the container's lock writes the result
 * back (`engine/cleanup.ts`).
 */
import type { ContainerRecord, ContainerState, Status } from "./container.ts";

export interface Probes {
  bootId(): string;
  /** The monitor's exit file: status and the time it was written (epoch ms), or undefined. */
  exitOf(id: string): { code: number; atMs: number } | undefined;
  /** Start time of the process in clock ticks, or undefined when there is none (or only a zombie). */
  startTime(pid: number): number | undefined;
}

/** Status of a container nobody could report on: its monitor was killed, or the machine went down. */
const UNKNOWN_EXIT = 255;

export function observe(record: ContainerRecord, probes: Probes): ContainerState {
  const { state } = record;
  if (!isLive(state.status)) return state;
  const known = ended(record, probes);
  if (known !== undefined) return known;
  if (state.bootId !== undefined && state.bootId !== probes.bootId())
    return lost(state, "the host was restarted");
  // Between the process's end and the exit file the monitor is at work: it still counts as running.
  if (isMonitored(state, probes)) return state;
  // The monitor may have written it between the first look and its own end.
  return ended(record, probes) ?? lost(state, "its monitor is gone");
}

/**
 * True while somebody is there who will tell of the container's end. Without a monitor its output leads nowhere and its end has no
 * status, so such a container counts as ended, and whoever cleans up after it kills what is left.
 */
export function isMonitored(
  { monitorPid, monitorStart }: ContainerState,
  probes: Pick<Probes, "startTime">,
): boolean {
  if (monitorPid === undefined) return false;
  const start = probes.startTime(monitorPid);
  return start !== undefined && (monitorStart === undefined || start === monitorStart);
}

function ended({ id, state }: ContainerRecord, probes: Probes): ContainerState | undefined {
  const exit = probes.exitOf(id);
  if (exit === undefined) return undefined;
  return { ...state, status: "exited", exitCode: exit.code, finishedAt: new Date(exit.atMs).toISOString() };
}

/** True when a container's process may exist. */
export function isLive(status: Status): boolean {
  return status === "running" || status === "paused" || status === "initialized";
}

export function canStart(status: Status): boolean {
  return status === "created" || status === "exited" || status === "initialized";
}

export function canRemove(status: Status): boolean {
  return !isLive(status) || status === "initialized";
}

function lost(state: ContainerState, why: string): ContainerState {
  return {
    ...state,
    status: state.status === "initialized" ? "created" : "exited",
    exitCode: state.exitCode ?? UNKNOWN_EXIT,
    finishedAt: state.finishedAt ?? state.startedAt ?? new Date().toISOString(),
    error: why,
  };
}
