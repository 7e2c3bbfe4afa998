/**
 * The engine: one store and one set of verbs behind the command line, the Docker API and the CRI.
 * A verb is a function `(ctx, engine, request)` in a file of its name in this folder.
 */
import type { ContainerDeps } from "../container/deps.ts";
import type { ContentStore, ManifestStore } from "../storage/storage.ts";
import type { Store } from "../storage/store.ts";

export interface OpenOptions {
  /** State that survives a reboot. Default /var/lib/berth. */
  root?: string;
  /** State that does not. Default /run/berth. */
  run?: string;
  /** Runtime used where a container does not name one; "" or absent: crun where it works, else runc. */
  runtime?: string;
  runtimeFlags?: string[];
  conmon?: string;
  cgroupDriver?: "cgroupfs" | "systemd";
  registriesConf?: string;
  authFile?: string;
  /** Instead of the user's and the system's policy.json. */
  policyFile?: string;
  /** No policy is asked. */
  insecurePolicy?: boolean;
  /** Roots of stores that are read as well, but never written. */
  additionalStores?: string[];
  /** argv prefix that runs this berth again on this store: the monitor's exit command starts with it. */
  globalArgv: string[];
  /** argv of this program without any options: starts its hidden verbs. */
  programArgv: string[];
}

export interface Engine extends ContainerDeps, Disposable {
  readonly options: OpenOptions;
  readonly store: Store;
  readonly leases: Store["leases"];
  readonly content: ContentStore;
  readonly manifests: ManifestStore;
  /** Ids of containers that this process has seen to have ended without anybody there to clean up after them (`settleOrphans`). */
  readonly orphans: Set<string>;
  close(): void;
}

/** One `--filter key=value`; `negate` for the `key!=value` form of labels. */
export interface Filter {
  key: string;
  value: string;
  negate?: boolean;
}
