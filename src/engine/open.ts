/**
 * The one place that wires an engine. Opening makes the directories if they are missing; every part is made at its
 * first use, and its code is loaded then (`require` because a getter cannot wait): loading all of them costs more than all of `ps`.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail, ioText } from "../core/error.ts";
import { Events } from "../container/events.ts";
import { Operations } from "../container/operations.ts";
import { ContainerRecords } from "../container/records.ts";
import { containerSchema } from "../container/schema.ts";
import type { NetworkDriver } from "../network/network.ts";
import { networkSchema } from "../network/schema.ts";
import type { OciRuntime } from "../runtime/runtime.ts";
import { ensureDirs, storePaths, type StorePaths } from "../storage/paths.ts";
import { storageSchema } from "../storage/schema.ts";
import type { Store } from "../storage/store.ts";
import { Db } from "../sys/db.ts";
import { bootId } from "../sys/host.ts";
import type { Sys } from "../sys/sys.ts";
import type { Engine, OpenOptions } from "./engine.ts";

/** Raised with every change of a schema. */
const SCHEMA_VERSION = 2;

const DEFAULT_ROOT = "/var/lib/berth";
const DEFAULT_RUN = "/run/berth";

/** The caller closes it. Errors: permission-denied (not root), conflict (newer store), data-loss. */
export function openEngine(ctx: Ctx, options: OpenOptions): Engine {
  const root = absolute("root", options.root ?? process.env["BERTH_ROOT"] ?? DEFAULT_ROOT);
  const run = absolute("run", options.run ?? process.env["BERTH_RUN"] ?? DEFAULT_RUN);
  const paths = storePaths(root, run);
  makeDirs(paths);
  ctx.log.trace(() => `store ${root}`);
  return new WiredEngine(ctx, paths, options);
}

function absolute(what: string, path: string): string {
  if (path === "") throw fail("invalid-argument", `the ${what} directory has an empty path`);
  // Overlay options and sockets are made of these paths.
  if (/[\0\n]/.test(path)) throw fail("invalid-argument", `the ${what} directory's path has a newline in it`);
  const full = path.startsWith("/") ? path : `${process.cwd()}/${path}`;
  return full.replace(/\/+$/, "") || "/";
}

function makeDirs(paths: StorePaths): void {
  try {
    ensureDirs(paths);
  } catch (error) {
    throw fail("permission-denied", `cannot open the store "${paths.root}": ${ioText(error)}`, {
      reason: "store-open",
      hint:
        process.geteuid?.() === 0
          ? "choose another place with --root and --run"
          : "berth needs root for now: try sudo",
      cause: error,
    });
  }
}

/** Stores other than the default one have a cgroup of their own, so that one can be taken apart without the others. */
function cgroupOf(root: string): string {
  return root === DEFAULT_ROOT ? "/berth" : `/berth-${Bun.hash(root).toString(16).padStart(16, "0")}`;
}

class WiredEngine implements Engine {
  readonly options: OpenOptions;
  readonly paths: StorePaths;
  readonly selfArgv: string[];
  readonly unpackCommand: string[];
  readonly systemdCgroup: boolean;
  readonly cgroup: string;
  readonly orphans = new Set<string>();
  readonly #ctx: Ctx;
  readonly #runtimes = new Map<string, Promise<OciRuntime>>();
  #db: Db | undefined;
  #store: Store | undefined;
  #network: NetworkDriver | undefined;
  #records: ContainerRecords | undefined;
  #events: Events | undefined;
  #operations: Operations | undefined;

  constructor(ctx: Ctx, paths: StorePaths, options: OpenOptions) {
    this.#ctx = ctx;
    this.paths = paths;
    this.options = options;
    this.selfArgv = options.globalArgv;
    this.unpackCommand = [...options.programArgv, "__unpack"];
    this.systemdCgroup = options.cgroupDriver === "systemd";
    this.cgroup = cgroupOf(paths.root);
  }

  get sys(): Sys {
    return (require("../sys/linux.ts") as typeof import("../sys/linux.ts")).linux;
  }

  get db(): Db {
    this.#db ??= Db.open(
      this.paths.db,
      SCHEMA_VERSION,
      [storageSchema, networkSchema, containerSchema].join("\n"),
    );
    return this.#db;
  }

  get records(): ContainerRecords {
    return (this.#records ??= new ContainerRecords(this.db));
  }

  get events(): Events {
    return (this.#events ??= new Events(this.db));
  }

  get operations(): Operations {
    return (this.#operations ??= new Operations(this.db, this));
  }

  get store(): Store {
    if (this.#store !== undefined) return this.#store;
    const { openStore } = require("../storage/store.ts") as typeof import("../storage/store.ts");
    const { openAdditionalStores } =
      require("./additional-stores.ts") as typeof import("./additional-stores.ts");
    const { sys, paths } = this;
    const owner = () => ({ pid: process.pid, startTime: sys.startTime(process.pid) ?? 0, bootId: bootId() });
    const given = this.options.additionalStores ?? [];
    const elsewhere = { sys, own: paths, version: SCHEMA_VERSION, owner, given };
    this.#store = openStore({
      db: this.db,
      sys,
      paths,
      unpackCommand: this.unpackCommand,
      owner,
      additional: openAdditionalStores(this.#ctx, elsewhere),
    });
    return this.#store;
  }

  get leases(): Store["leases"] {
    return this.store.leases;
  }

  get content(): Store["content"] {
    return this.store.content;
  }

  get layers(): Store["layers"] {
    return this.store.layers;
  }

  get images(): Store["images"] {
    return this.store.images;
  }

  get manifests(): Store["manifests"] {
    return this.store.manifests;
  }

  get rootfs(): Store["rootfs"] {
    return this.store.rootfs;
  }

  get network(): NetworkDriver {
    if (this.#network !== undefined) return this.#network;
    const { createNetworkDriver } = require("../network/bridge.ts") as typeof import("../network/bridge.ts");
    this.#network = createNetworkDriver({
      db: this.db,
      sys: this.sys,
      netnsDir: this.paths.netns,
      root: this.paths.root,
    });
    return this.#network;
  }

  runtime(ctx: Ctx, name: string): Promise<OciRuntime> {
    let runtime = this.#runtimes.get(name);
    if (runtime === undefined) {
      runtime = this.#openRuntime(ctx, name);
      this.#runtimes.set(name, runtime);
    }
    return runtime;
  }

  async #openRuntime(ctx: Ctx, name: string): Promise<OciRuntime> {
    const [{ discoverRuntime, findMonitor }, { createRuntime }] = await Promise.all([
      import("../runtime/discover.ts"),
      import("../runtime/oci.ts"),
    ]);
    const { runtimeFlags } = this.options;
    const request = {
      name,
      runDir: this.paths.run,
      ...(runtimeFlags === undefined ? {} : { flags: runtimeFlags }),
    };
    const info = discoverRuntime(ctx, request);
    return createRuntime({ runDir: this.paths.run, conmon: findMonitor(this.options.conmon) }, info);
  }

  close(): void {
    this.#db?.close();
    this.#db = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
