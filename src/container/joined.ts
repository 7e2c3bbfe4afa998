/** Namespace files of other containers for `--pid`, `--ipc`, `--uts` and `--cgroupns container:NAME`. */
import { fail } from "../core/error.ts";
import type { ContainerSpec } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";
import type { JoinedNamespaces } from "./spec-input.ts";

const KINDS = ["pid", "ipc", "uts", "cgroup"] as const;

/** Errors: not-found; conflict when the other does not run, or keeps its IPC namespace for itself. */
export function joinedNamespaces(deps: ContainerDeps, spec: ContainerSpec): JoinedNamespaces {
  const joined: JoinedNamespaces = {};
  const modes = { pid: spec.pid, ipc: spec.ipc, uts: spec.uts, cgroup: spec.cgroupns };
  for (const kind of KINDS) {
    if (!modes[kind].startsWith("container:")) continue;
    const name = modes[kind].slice("container:".length);
    const other = deps.records.resolve(name);
    const { pid, pidStart } = other.state;
    if (pid === undefined || deps.sys.startTime(pid) !== pidStart) {
      throw fail(
        "conflict",
        `cannot join the ${kind} namespace of container ${other.name}: it is not running`,
      );
    }
    if (kind === "ipc" && other.spec.ipc !== "shareable") {
      throw fail(
        "conflict",
        `cannot join the ipc namespace of container ${other.name}: it is not shareable`,
        {
          hint: "create that container with --ipc shareable",
        },
      );
    }
    joined[kind] = `/proc/${pid}/ns/${kind}`;
  }
  return joined;
}
