/**
 * registries.conf, version 2 (containers-registries.conf(5)), with its drop-in directory: where a
 * reference is really fetched from, in which order, and whether that host may be talked to without
 * verified TLS.
 *
 * Only one main file is read: the one asked for, `$CONTAINERS_REGISTRIES_CONF`, the user's, or
 * /etc's. Drop-ins (`*.conf`, sorted by name) override `[[registry]]` tables of the same prefix.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../core/error.ts";
import { hasCode } from "../sys/errno.ts";
import { userConfigDir } from "./config-paths.ts";

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

export interface RegistriesConf {
  /** Hosts tried, in order, for a name without one. */
  unqualifiedSearch: string[];
  registries: RegistryEntry[];
  /** Short name → full name. */
  aliases: Record<string, string>;
  /** "pass", "secretservice", or "containers-auth.json". */
  credentialHelpers: string[];
}

const SYSTEM_FILE = "/etc/containers/registries.conf";

/** `path` overrides the search; then `path`.d is its drop-in directory. Errors: invalid-argument naming the file, not-found for an explicit path. */
export function loadRegistriesConf(path?: string): RegistriesConf {
  const conf: RegistriesConf = { unqualifiedSearch: [], registries: [], aliases: {}, credentialHelpers: [] };
  const explicit = path ?? (process.env["CONTAINERS_REGISTRIES_CONF"] || undefined);
  if (explicit !== undefined) {
    if (!merge(conf, explicit)) {
      throw fail("not-found", `registries configuration "${explicit}" does not exist`, {
        reason: "registries-conf",
      });
    }
    mergeDirectory(conf, `${explicit}.d`);
    return conf;
  }
  const user = join(userConfigDir(), "registries.conf");
  if (!merge(conf, user)) merge(conf, SYSTEM_FILE);
  mergeDirectory(conf, `${SYSTEM_FILE}.d`);
  mergeDirectory(conf, `${user}.d`);
  return conf;
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
    throw fail(
      "invalid-argument",
      `invalid registries configuration "${file}": ${(error as Error).message}`,
      {
        reason: "registries-conf",
        cause: error,
      },
    );
  }
  return true;
}

function mergeTables(conf: RegistriesConf, tables: Record<string, unknown>): void {
  if (tables["registries"] !== undefined)
    throw new Error("it is version 1, which is not supported; write [[registry]] tables");
  const search = tables["unqualified-search-registries"];
  if (search !== undefined) conf.unqualifiedSearch = strings("unqualified-search-registries", search);
  const helpers = tables["credential-helpers"];
  if (helpers !== undefined) conf.credentialHelpers = strings("credential-helpers", helpers);
  for (const table of list("registry", tables["registry"])) {
    const entry = registryEntry(table);
    conf.registries = [...conf.registries.filter((known) => known.prefix !== entry.prefix), entry];
  }
  const aliases = tables["aliases"] ?? {};
  if (typeof aliases !== "object" || aliases === null) throw new Error("aliases is not a table");
  for (const [name, value] of Object.entries(aliases)) {
    // An empty value takes an alias of an earlier file away.
    if (value === "") delete conf.aliases[name];
    else conf.aliases[name] = text(`alias "${name}"`, value);
  }
}

function registryEntry(table: Record<string, unknown>): RegistryEntry {
  const location = trimmed("location", table["location"]);
  const prefix = trimmed("prefix", table["prefix"]) || location;
  if (prefix === "") throw new Error("a [[registry]] has neither prefix nor location");
  const wildcard = prefix.startsWith("*.");
  if (prefix.includes("*", wildcard ? 1 : 0) || (wildcard && /[/:]/.test(prefix))) {
    throw new Error(`prefix "${prefix}": a wildcard stands for a host name only, as in "*.example.com"`);
  }
  const digestOnly = flag("mirror-by-digest-only", table["mirror-by-digest-only"]);
  return {
    prefix,
    location: location || (wildcard ? "" : prefix),
    insecure: flag("insecure", table["insecure"]),
    blocked: flag("blocked", table["blocked"]),
    mirrors: list("mirror", table["mirror"]).map((mirror) => mirrorOf(mirror, digestOnly)),
  };
}

function mirrorOf(table: Record<string, unknown>, digestOnly: boolean): Mirror {
  const location = trimmed("mirror location", table["location"]);
  if (location === "") throw new Error("a [[registry.mirror]] has no location");
  const pull = table["pull-from-mirror"] ?? "";
  if (pull !== "" && digestOnly)
    throw new Error("pull-from-mirror cannot be used with mirror-by-digest-only");
  if (pull !== "" && pull !== "all" && pull !== "digest-only" && pull !== "tag-only") {
    throw new Error(`pull-from-mirror "${String(pull)}" is not all, digest-only or tag-only`);
  }
  return {
    location,
    insecure: flag("insecure", table["insecure"]),
    pull: pull === "" ? (digestOnly ? "digest-only" : "all") : pull,
  };
}

function text(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new Error(`${name} is not a string`);
}

function trimmed(name: string, value: unknown): string {
  const given = value === undefined ? "" : text(name, value).replace(/\/+$/, "");
  if (/^[a-z]+:\/\//.test(given)) throw new Error(`${name} "${given}" must not have a scheme`);
  return given;
}

function flag(name: string, value: unknown): boolean {
  if (value === undefined || typeof value === "boolean") return value === true;
  throw new Error(`${name} is not true or false`);
}

function strings(name: string, value: unknown): string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw new Error(`${name} is not a list of strings`);
}

function list(name: string, value: unknown): Record<string, unknown>[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "object" && item !== null)) {
    return value as Record<string, unknown>[];
  }
  throw new Error(`${name} is not a list of tables`);
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
