/**
 * Ends what may still be alive of a container whose life nobody watched to its end: its command was killed in the middle of a
 * start, its monitor is gone, or the runtime has forgotten it. Not on the way of a container that ended by itself: this looks at every process.
 */
import { cgroupMode, freezeState, killCgroup, removeCgroup, setFrozen } from "../sys/cgroup.ts";
import { SIGKILL } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { bootId } from "../sys/host.ts";
import { findProcesses } from "../sys/process-table.ts";
import { cgroupsPath } from "./cgroups-path.ts";
import type { ContainerRecord } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";

const TRIES = 500;

/**
 * Kills its monitors (the container's and its sessions') and every runtime that is still creating it; what they would have
 * written afterwards, and the exit command, must not come after the cleanup. To be called before the runtime is told to delete it.
 */
export function killMonitors(deps: ContainerDeps, id: string): void {
  const bundle = deps.paths.runContainer(id);
  // A monitor forks, and starts its runtime, while we look: only an empty look is the end of it.
  for (let tries = 0; tries < TRIES; tries++) {
    const found = findProcesses((argv) => worksOn(argv, bundle)).filter((pid) => !isOurs(pid));
    if (found.length === 0) return;
    for (const pid of found) killQuietly(deps, pid);
    Bun.sleepSync(1);
  }
}

/** Kills its first process and everything in its cgroup, and removes the cgroup. To be called when the runtime knows it no longer. */
export function killProcesses(deps: ContainerDeps, record: ContainerRecord): void {
  const { pid, pidStart, bootId: boot } = record.state;
  const isAlive = (): boolean =>
    pid !== undefined && pidStart !== undefined && deps.sys.startTime(pid) === pidStart;
  if (boot === bootId()) {
    for (let tries = 0; tries < TRIES && isAlive(); tries++) {
      killQuietly(deps, pid as number);
      Bun.sleepSync(1);
    }
  }
  // With the systemd driver the cgroup is a scope, and goes with its last process.
  if (deps.systemdCgroup) return;
  const host = cgroupMode();
  const cgroup = cgroupsPath(deps, record);
  // The frozen do not die.
  if ((freezeState(host, cgroup) ?? "thawed") !== "thawed") setFrozen(host, cgroup, false);
  killCgroup(host, cgroup);
  removeCgroup(host, cgroup, cgroup.slice(0, cgroup.lastIndexOf("/")));
}

/** conmon gets its bundle after `-b`, runtimes after `--bundle`; a session's lies below the container's. */
function worksOn(argv: string[], bundle: string): boolean {
  return argv.some((arg, i) => {
    const before = argv[i - 1];
    return (
      (before === "-b" || before === "--bundle") && (arg === bundle || arg.startsWith(`${bundle}/exec/`))
    );
  });
}

/** This process, and the monitor that started it as its exit command. */
function isOurs(pid: number): boolean {
  return pid === process.pid || pid === process.ppid;
}

function killQuietly(deps: ContainerDeps, pid: number): void {
  try {
    deps.sys.kill(pid, SIGKILL);
  } catch (error) {
    if (!hasCode(error, "ESRCH")) throw error;
  }
}
