/** Where a container's output is kept. */
import type { StorePaths } from "../storage/paths.ts";
import type { ContainerRecord } from "./container.ts";

/** `--log-opt path=…`, else in the container's own directory. */
export function logPath(paths: Pick<StorePaths, "container">, { id, spec }: ContainerRecord): string {
  return spec.logOptions["path"] ?? `${paths.container(id)}/ctr.log`;
}
