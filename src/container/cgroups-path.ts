/** Where a container's cgroup is. */
import type { ContainerRecord } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";

/** "/berth/ID" below the parent that was asked for; "slice:berth:ID" with systemd. */
export function cgroupsPath(deps: ContainerDeps, record: ContainerRecord): string {
  const parent = record.spec.cgroupParent;
  if (deps.systemdCgroup) return `${parent ?? "machine.slice"}:berth:${record.id}`;
  return `${parent === undefined ? deps.cgroup : `/${parent.replace(/^\/+|\/+$/g, "")}`}/${record.id}`;
}
