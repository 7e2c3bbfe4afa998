/**
 * What the operations on containers stand on. `engine/open.ts` wires it; tests wire fakes. Each
 * member is made at its first use, so that a command pays only for what it touches.
 */
import type { Ctx } from "../core/ctx.ts";
import type { NetworkDriver } from "../network/network.ts";
import type { OciRuntime } from "../runtime/runtime.ts";
import type { ImageStore, LayerStore, RootfsStore } from "../storage/storage.ts";
import type { StorePaths } from "../storage/paths.ts";
import type { Db } from "../sys/db.ts";
import type { Sys } from "../sys/sys.ts";
import type { Events } from "./events.ts";
import type { Operations } from "./operations.ts";
import type { ContainerRecords } from "./records.ts";

export interface ContainerDeps {
  readonly sys: Sys;
  readonly db: Db;
  readonly paths: StorePaths;
  readonly records: ContainerRecords;
  readonly events: Events;
  readonly operations: Operations;
  readonly images: ImageStore;
  readonly layers: LayerStore;
  readonly rootfs: RootfsStore;
  readonly network: NetworkDriver;
  /** By name or path; "" is the default. Errors: not-found with the package to install. */
  runtime(ctx: Ctx, name: string): Promise<OciRuntime>;
  /** argv that re-runs this berth on this store; the monitor's exit command starts with it. */
  readonly selfArgv: string[];
  /** argv that starts this program as the sandboxed unpacker. */
  readonly unpackCommand: string[];
  readonly systemdCgroup: boolean;
  /** The store's own cgroup, parent of all its containers': "/berth". */
  readonly cgroup: string;
}
