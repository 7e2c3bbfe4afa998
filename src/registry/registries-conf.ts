/**
 * registries.conf, version 2 (containers-registries.conf(5)), with its drop-in directory: where a
 * reference is really fetched from, in which order, and whether that host may be talked to without
 * verified TLS.
 *
 * Only one main file is read: the one asked for, `$CONTAINERS_REGISTRIES_CONF`, the user's, or
 * /etc's; with a user's own file /etc's drop-ins are left aside as well. Drop-ins (`*.conf`, sorted by name) override
 * `[[registry]]` tables of the same prefix; within one file the first table of a prefix counts. Keys that nobody here knows are passed over.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fail, messageOf } from "../core/error.ts";
import { isHost } from "../image/reference.ts";
import { hasCode } from "../sys/errno.ts";
import { userConfigDir } from "./config-paths.ts";
import { checkAlias, flag, list, strings, text, trimmed } from "./registries-conf-values.ts";

export interface Mirror {
  /** Host with an optional port and path. */
  location: string;
  insecure: boolean;
  pull: "all" | "digest-only" | "tag-only";
}

export interface RegistryEntry {
  /** "host[:port][/path]", or "*.domain". */
  prefix: string;
  /** What replaces the prefix; the prefix itself when it was not given. */
  location: string;
  insecure: boolean;
  blocked: boolean;
  mirrors: Mirror[];
}

/** Whether a short name with several possible registries is asked about: always, where there is a terminal, or never. */
export type ShortNameMode = "enforcing" | "permissive" | "disabled";

export interface RegistriesConf {
  /** Hosts tried, in order, for a name without one. */
  unqualifiedSearch: string[];
  shortNameMode: ShortNameMode;
  registries: RegistryEntry[];
  /** Short name → full name. */
  aliases: Map<string, string>;
  /** In the order they are asked: "pass", "secretservice", or "containers-auth.json" for the files of credentials; at least one. */
  credentialHelpers: string[];
}

export const AUTH_FILES = "containers-auth.json";

const SYSTEM_FILE = "/etc/containers/registries.conf";

/** `path` overrides the search; then `path`.d is its drop-in directory. Errors: invalid-argument naming the file, not-found for an explicit path. */
export function loadRegistriesConf(path?: string): RegistriesConf {
  const conf: RegistriesConf = {
    unqualifiedSearch: [],
    shortNameMode: "permissive",
    registries: [],
    aliases: new Map(),
    credentialHelpers: [],
  };
  load(conf, path);
  if (conf.credentialHelpers.length === 0) conf.credentialHelpers = [AUTH_FILES];
  return conf;
}

function load(conf: RegistriesConf, path: string | undefined): void {
  const explicit = path ?? (process.env["CONTAINERS_REGISTRIES_CONF"] || undefined);
  if (explicit !== undefined) {
    if (!merge(conf, explicit)) {
      throw fail("not-found", `registries configuration "${explicit}" does not exist`, {
        reason: "registries-conf",
      });
    }
    mergeDirectory(conf, `${explicit}.d`);
    return;
  }
  const user = join(userConfigDir(), "registries.conf");
  if (!merge(conf, user)) {
    merge(conf, SYSTEM_FILE);
    mergeDirectory(conf, `${SYSTEM_FILE}.d`);
  }
  mergeDirectory(conf, `${user}.d`);
}

function mergeDirectory(conf: RegistriesConf, directory: string): void {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) return;
    throw error;
  }
  for (const name of names.filter((n) => n.endsWith(".conf")).toSorted()) merge(conf, join(directory, name));
}

/** False if there is no such file. */
function merge(conf: RegistriesConf, file: string): boolean {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) return false;
    throw error;
  }
  try {
    mergeTables(conf, Bun.TOML.parse(text) as Record<string, unknown>);
  } catch (error) {
    throw fail("invalid-argument", `invalid registries configuration "${file}": ${messageOf(error)}`, {
      reason: "registries-conf",
      cause: error,
    });
  }
  return true;
}

function mergeTables(conf: RegistriesConf, tables: Record<string, unknown>): void {
  if (tables["registries"] !== undefined)
    throw new Error("it is version 1, which is not supported; write [[registry]] tables");
  const search = tables["unqualified-search-registries"];
  if (search !== undefined) conf.unqualifiedSearch = searchList(search);
  const mode = tables["short-name-mode"];
  if (mode !== undefined && mode !== "") conf.shortNameMode = shortNameMode(mode);
  const helpers = tables["credential-helpers"];
  if (helpers !== undefined) conf.credentialHelpers = strings("credential-helpers", helpers);
  mergeRegistries(conf, list("registry", tables["registry"]));
  const aliases = tables["aliases"] ?? {};
  if (typeof aliases !== "object" || Array.isArray(aliases)) throw new Error("aliases is not a table");
  mergeAliases(conf.aliases, aliases as Record<string, unknown>);
}

function searchList(value: unknown): string[] {
  return strings("unqualified-search-registries", value).map((entry) => {
    const host = trimmed("unqualified-search-registries", entry);
    if (!isHost(host)) throw new Error(`unqualified-search-registries: "${entry}" is not a host`);
    return host;
  });
}

function shortNameMode(value: unknown): ShortNameMode {
  if (value === "enforcing" || value === "permissive" || value === "disabled") return value;
  throw new Error(`short-name-mode "${String(value)}" is not enforcing, permissive or disabled`);
}

function mergeRegistries(conf: RegistriesConf, tables: Record<string, unknown>[]): void {
  const fresh = new Map<string, RegistryEntry>();
  const all = tables.map((table, index) => registryEntry(`registry[${index}]`, table));
  for (const entry of all) {
    checkConflicts(entry, all);
    if (!fresh.has(entry.prefix)) fresh.set(entry.prefix, entry);
  }
  conf.registries = [...conf.registries.filter((known) => !fresh.has(known.prefix)), ...fresh.values()];
}

/** One place cannot be both trusted and not. */
function checkConflicts(entry: RegistryEntry, all: RegistryEntry[]): void {
  const place = entry.location || entry.prefix;
  for (const other of all) {
    if ((other.location || other.prefix) !== place) continue;
    for (const key of ["insecure", "blocked"] as const) {
      if (entry[key] !== other[key]) throw new Error(`"${place}" is defined twice with different "${key}"`);
    }
  }
}

/** Adds a file's `[aliases]`; an empty value takes an alias of an earlier file away. */
export function mergeAliases(into: Map<string, string>, table: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(table)) {
    into.set(name, checkAlias(name, text(`aliases."${name}"`, value)));
  }
}

function registryEntry(at: string, table: Record<string, unknown>): RegistryEntry {
  const location = trimmed(`${at}.location`, table["location"]);
  const given = trimmed(`${at}.prefix`, table["prefix"]);
  const prefix = given || location;
  if (prefix === "") throw new Error(`${at} has neither prefix nor location`);
  const wildcard = prefix.startsWith("*.");
  if (prefix.includes("*", wildcard ? 1 : 0) || (wildcard && /[/:@]/.test(prefix))) {
    throw new Error(
      `${at}.prefix "${prefix}": a wildcard stands for a host name only, as in "*.example.com"`,
    );
  }
  if (location === "" && !wildcard) throw new Error(`${at} has the prefix "${prefix}" but no location`);
  if (table["pull-from-mirror"] !== undefined && table["pull-from-mirror"] !== "")
    throw new Error(`${at}.pull-from-mirror belongs into a [[registry.mirror]]`);
  const digestOnly = flag(`${at}.mirror-by-digest-only`, table["mirror-by-digest-only"]);
  return {
    prefix,
    location,
    insecure: flag(`${at}.insecure`, table["insecure"]),
    blocked: flag(`${at}.blocked`, table["blocked"]),
    mirrors: list(`${at}.mirror`, table["mirror"]).map((mirror, index) =>
      mirrorOf(`${at}.mirror[${index}]`, mirror, digestOnly),
    ),
  };
}

function mirrorOf(at: string, table: Record<string, unknown>, digestOnly: boolean): Mirror {
  const location = trimmed(`${at}.location`, table["location"]);
  if (location === "") throw new Error(`${at} has no location`);
  const pull = table["pull-from-mirror"] ?? "";
  if (pull !== "" && digestOnly)
    throw new Error(`${at}.pull-from-mirror cannot be used with mirror-by-digest-only`);
  if (pull !== "" && pull !== "all" && pull !== "digest-only" && pull !== "tag-only") {
    throw new Error(`${at}.pull-from-mirror "${String(pull)}" is not all, digest-only or tag-only`);
  }
  return {
    location,
    insecure: flag(`${at}.insecure`, table["insecure"]),
    pull: pull === "" ? (digestOnly ? "digest-only" : "all") : pull,
  };
}

/** The entry with the longest matching prefix. `name` is "host/path" with or without tag and digest. */
export function findRegistry(conf: RegistriesConf, name: string): RegistryEntry | undefined {
  const host = name.split("/", 1)[0] as string;
  let best: RegistryEntry | undefined;
  for (const entry of conf.registries) {
    if (matches(entry.prefix, name, host) && entry.prefix.length > (best?.prefix.length ?? 0)) best = entry;
  }
  return best;
}

function matches(prefix: string, name: string, host: string): boolean {
  if (prefix.startsWith("*.")) return host.replace(/:\d+$/, "").endsWith(prefix.slice(1));
  return name === prefix || (name.startsWith(prefix) && "/:@".includes(name.charAt(prefix.length)));
}
