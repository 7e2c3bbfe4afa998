/** From a reference to the hosts that are asked for it: mirrors in their order, then the location itself. */
import { fail } from "../core/error.ts";
import type { Reference } from "../image/image.ts";
import { repositoryName } from "../image/reference.ts";
import type { RegistryOptions } from "./registry.ts";
import { findRegistry, loadRegistriesConf } from "./registries-conf.ts";

/** One place a repository can be read from. */
export interface Source {
  /** Host and port as a person names it; decides credentials and certificates. */
  registry: string;
  /** Path on that host. */
  repository: string;
  /** Unverified TLS and plain HTTP are allowed. */
  insecure: boolean;
  /** Plain HTTP is allowed where TLS is not spoken. */
  plainHttp: boolean;
  /** False for mirrors: they are only read from. */
  writable: boolean;
}

/** At least one; the last is the location itself. Errors: permission-denied for a blocked registry. */
export function sourcesOf(reference: Reference, options: RegistryOptions): Source[] {
  const conf = loadRegistriesConf(options.registriesConf);
  const name = repositoryName(reference);
  const entry = findRegistry(conf, name);
  if (entry?.blocked === true) {
    throw blocked(reference.registry, name, entry.prefix);
  }
  if (entry === undefined) return [source(name, false, true, options)];
  const rest = entry.prefix.startsWith("*.")
    ? name.slice(reference.registry.length)
    : name.slice(entry.prefix.length);
  const pinned = reference.digest !== undefined;
  const mirrors = entry.mirrors
    .filter((mirror) => mirror.pull === "all" || (mirror.pull === "digest-only") === pinned)
    .map((mirror) => source(mirror.location + rest, mirror.insecure, false, options));
  const own = entry.location === "" ? name : entry.location + rest;
  return [...mirrors, source(own, entry.insecure, true, options)];
}

function blocked(registry: string, name: string, prefix: string): Error {
  return fail("permission-denied", `registry "${registry}" is blocked for "${name}"`, {
    reason: "registry-blocked",
    hint: `it is blocked in registries.conf under the prefix "${prefix}"`,
  });
}

function source(name: string, marked: boolean, writable: boolean, options: RegistryOptions): Source {
  const slash = name.indexOf("/");
  const registry = slash === -1 ? name : name.slice(0, slash);
  const repository = slash === -1 ? "" : name.slice(slash + 1);
  if (registry === "" || repository === "") {
    throw fail(
      "invalid-argument",
      `registries.conf turns the reference into "${name}", which has no repository`,
    );
  }
  const insecure = options.tlsVerify === undefined ? marked : !options.tlsVerify;
  const plainHttp = insecure || (options.tlsVerify === undefined && isLoopback(registry));
  return { registry, repository, insecure, plainHttp, writable };
}

/** A registry itself rather than one of its repositories; where registries.conf moves it, its new place. Errors: permission-denied for a blocked one. */
export function sourceOfHost(host: string, options: RegistryOptions): Source {
  const entry = findRegistry(loadRegistriesConf(options.registriesConf), host);
  if (entry?.blocked === true) throw blocked(host, host, entry.prefix);
  const place = entry === undefined || entry.location === "" ? host : entry.location;
  const { repository: _, ...rest } = source(
    `${place.split("/", 1)[0]}/-`,
    entry?.insecure === true,
    true,
    options,
  );
  return { ...rest, repository: "" };
}

/** 127.0.0.0/8, ::1 and localhost, with or without a port. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || name === "::1" || /^127(\.\d{1,3}){3}$/.test(name);
}
