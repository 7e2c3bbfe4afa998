/** Flags of berth itself; they may stand before the command or among its own. */
import { isLevel, type Level } from "../core/log.ts";
import { fail } from "../core/error.ts";
import type { OpenOptions } from "../engine/engine.ts";
import type { FlagTable, FlagValues } from "./flags.ts";

export const globalFlags = {
  "additional-store": {
    type: "list",
    value: "DIR",
    help: "Another store whose images are used and never changed",
  },
  authfile: { type: "string", value: "FILE", help: "Credentials for registries" },
  "cgroup-manager": {
    type: "string",
    choices: ["cgroupfs", "systemd"],
    help: "Who makes the cgroups (cgroupfs, systemd)",
  },
  config: {
    type: "string",
    value: "DIR",
    hidden: true,
    help: "Directory of docker's client configuration: logins are in its config.json",
  },
  conmon: { type: "string", value: "PATH", help: "The container monitor" },
  debug: { type: "bool", short: "D", help: "Same as --log-level debug" },
  "events-backend": {
    type: "string",
    hidden: true,
    help: "Where events are kept (no effect: always in the store)",
  },
  "insecure-policy": { type: "bool", hidden: true, help: "Use images whatever the policy says" },
  "log-level": {
    type: "string",
    short: "l",
    value: "LEVEL",
    help: "Print messages of this level and above: error, warn, info, debug",
  },
  "registries-conf": { type: "string", value: "FILE", help: "Instead of /etc/containers/registries.conf" },
  root: { type: "string", value: "DIR", help: "Where images and containers are kept" },
  run: { type: "string", value: "DIR", aliases: ["runroot"], help: "Where the state of what runs is kept" },
  runtime: { type: "string", value: "NAME|PATH", help: "Low-level runtime: crun, runc, runsc or a path" },
  "runtime-flag": {
    type: "list",
    value: "FLAG",
    help: "Flag for every call of the runtime, without its dashes",
  },
  "signature-policy": {
    type: "string",
    value: "FILE",
    help: "Instead of /etc/containers/policy.json: which images may be used",
  },
  "storage-driver": {
    type: "string",
    choices: ["overlay", "overlay2"],
    hidden: true,
    help: "Only overlay exists",
  },
  trace: { type: "bool", help: "Print each step and each program started; stacks for internal errors" },
  version: { type: "bool", short: "v", help: "Print the version" },
  connection: { type: "string", hidden: true, unsupported: true, help: "Remote service" },
  context: { type: "string", hidden: true, unsupported: true, help: "Remote service" },
  host: { type: "string", short: "H", hidden: true, unsupported: true, help: "Remote service" },
  remote: { type: "bool", hidden: true, unsupported: true, help: "Remote service" },
  url: { type: "string", hidden: true, unsupported: true, help: "Remote service" },
} as const satisfies FlagTable;

export type GlobalValues = FlagValues<typeof globalFlags>;

/** The same flags for use among a command's own, which may claim the letters. */
export function globalFlagsWithoutLetters(): FlagTable {
  return Object.fromEntries(
    Object.entries(globalFlags as FlagTable).map(([name, spec]) => {
      const { short: _, ...rest } = spec;
      return [name, rest];
    }),
  );
}

export function logLevel(values: GlobalValues): Level {
  const level = values.debug ? "debug" : (values["log-level"] ?? process.env["BERTH_LOG_LEVEL"] ?? "warn");
  const known = level.toLowerCase() === "warning" ? "warn" : level.toLowerCase();
  if (known === "fatal" || known === "panic") return "error";
  if (!isLevel(known)) {
    throw fail("invalid-argument", `unknown log level "${level}"`, {
      hint: "choose error, warn, info, debug or trace",
    });
  }
  return known;
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${process.cwd()}/${path}`;
}

/** A runtime is a name to look up, unless it has a slash. */
function runtimePath(runtime: string): string {
  return runtime.includes("/") ? absolute(runtime) : runtime;
}

interface Setting {
  flag: keyof GlobalValues;
  env?: string;
  resolve: (text: string) => string;
}

const SETTINGS: Record<
  "root" | "run" | "runtime" | "conmon" | "cgroupDriver" | "registriesConf" | "authFile" | "policyFile",
  Setting
> = {
  root: { flag: "root", env: "BERTH_ROOT", resolve: absolute },
  run: { flag: "run", env: "BERTH_RUN", resolve: absolute },
  runtime: { flag: "runtime", env: "BERTH_RUNTIME", resolve: runtimePath },
  conmon: { flag: "conmon", resolve: absolute },
  cgroupDriver: { flag: "cgroup-manager", resolve: (text) => text },
  registriesConf: { flag: "registries-conf", env: "CONTAINERS_REGISTRIES_CONF", resolve: absolute },
  authFile: { flag: "authfile", env: "REGISTRY_AUTH_FILE", resolve: absolute },
  policyFile: { flag: "signature-policy", resolve: absolute },
};

/** What re-runs this very program: the compiled binary, or bun with the entry file. */
function selfArgv(): string[] {
  return Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main];
}

function additionalRoots(values: GlobalValues): string[] {
  const given = values["additional-store"];
  const inEnvironment = (process.env["BERTH_ADDITIONAL_STORES"] ?? "").split(":").filter(Boolean);
  if (given.includes("")) throw fail("invalid-argument", "--additional-store names no directory");
  return (given.length > 0 ? given : inEnvironment).map(absolute);
}

/** Flags win over the environment. `globalArgv` has every path absolute, because the monitor runs it from elsewhere. */
export function openOptions(values: GlobalValues): OpenOptions {
  const options: Record<string, unknown> = {};
  const argv = selfArgv();
  for (const [key, setting] of Object.entries(SETTINGS)) {
    const given = values[setting.flag] ?? (setting.env === undefined ? undefined : process.env[setting.env]);
    if (typeof given !== "string" || given === "") continue;
    options[key] = setting.resolve(given);
    argv.push(`--${setting.flag}`, setting.resolve(given));
  }
  const additionalStores = additionalRoots(values);
  for (const root of additionalStores) argv.push("--additional-store", root);
  if (options["authFile"] === undefined && values.config !== undefined) {
    options["authFile"] = absolute(`${values.config}/config.json`);
  }
  for (const flag of values["runtime-flag"]) argv.push("--runtime-flag", flag);
  if (values.debug) argv.push("--debug");
  return {
    ...options,
    additionalStores,
    runtimeFlags: values["runtime-flag"],
    ...(values["insecure-policy"] ? { insecurePolicy: true } : {}),
    globalArgv: argv,
    programArgv: selfArgv(),
  } as OpenOptions;
}
