/**
 * The YAML file of sync, as in skopeo-sync(1): per registry the repositories with their tags, digests, or a pattern for tags.
 *
 *     registry.example.com:
 *       images: {busybox: [], redis: ["1.0", "sha256:…"]}
 *       images-by-tag-regex: {nginx: ^1\.13\.[12]-alpine$}
 *       images-by-semver: {alpine: ">= 3.12"}
 *       credentials: {username: john, password: secret}
 *       tls-verify: true
 *       cert-dir: /home/john/certs
 */
import { isAbsolute } from "node:path";
import { asObject, invalid, optionalObject, optionalString, optionalStrings } from "../image/document.ts";
import { excerpt, isDigest } from "../image/digest.ts";
import type { Reference } from "../image/image.ts";
import { parseReference } from "../image/reference.ts";
import type { RegistryOptions } from "../registry/registry.ts";

const WHAT = "sync list";

export interface SyncSource {
  /** With tag or digest: this one. Without: the tags that `tags` takes. */
  repository: Reference;
  /** All where absent. */
  tags?: (tag: string) => boolean;
  /** What the list says of how to get there. */
  registry: RegistryOptions;
}

const KEYS = new Set([
  "images",
  "images-by-tag-regex",
  "images-by-semver",
  "credentials",
  "tls-verify",
  "cert-dir",
]);

/** Errors: invalid-argument naming registry and key. */
export function parseSyncList(text: string): SyncSource[] {
  let value: unknown;
  try {
    value = Bun.YAML.parse(text);
  } catch (error) {
    throw invalid(WHAT, `not YAML (${(error as Error).message})`, error);
  }
  const registries = Object.entries(asObject(WHAT, "document", value));
  if (registries.length === 0) throw invalid(WHAT, "it names no registry");
  return registries.flatMap(([name, entry]) => sourcesOf(name, entry));
}

function sourcesOf(name: string, value: unknown): SyncSource[] {
  const fields = asObject(WHAT, `"${excerpt(name)}"`, value);
  const unknown = Object.keys(fields).find((key) => !KEYS.has(key));
  if (unknown !== undefined)
    throw invalid(WHAT, `"${excerpt(name)}" has an unknown key "${excerpt(unknown)}"`);
  const registry = optionsOf(name, fields);
  const list = (key: string): [string, unknown][] =>
    Object.entries(optionalObject(WHAT, `"${name}" ${key}`, fields[key]) ?? {});
  const repository = (path: string): Reference => repositoryOf(name, path);
  return [
    ...list("images").flatMap(([path, wanted]) =>
      namedOnes(repository(path), optionalStrings(WHAT, `images "${path}"`, wanted)).map((one) => ({
        repository: one,
        registry,
      })),
    ),
    ...list("images-by-tag-regex").map(([path, pattern]) => ({
      repository: repository(path),
      tags: byPattern(path, pattern),
      registry,
    })),
    ...list("images-by-semver").map(([path, range]) => ({
      repository: repository(path),
      tags: byVersion(path, range),
      registry,
    })),
  ];
}

function repositoryOf(registry: string, path: string): Reference {
  const reference = parseReference(`${registry}/${path}`);
  if (reference.tag === undefined && reference.digest === undefined) return reference;
  throw invalid(WHAT, `"${excerpt(path)}" has a tag: tags stand in a list below the repository`);
}

/** Tags and digests; an empty list is the whole repository. */
function namedOnes(repository: Reference, wanted: string[] | undefined): Reference[] {
  if (wanted === undefined || wanted.length === 0) return [repository];
  return wanted.map((one) => {
    const separator = isDigest(one) ? "@" : ":";
    const { registry, repository: path } = repository;
    return parseReference(`${registry}/${path}${separator}${one}`);
  });
}

function byPattern(path: string, value: unknown): (tag: string) => boolean {
  const pattern = optionalString(WHAT, `images-by-tag-regex "${path}"`, value) ?? "";
  try {
    const compiled = new RegExp(pattern);
    return (tag) => compiled.test(tag);
  } catch (error) {
    throw invalid(
      WHAT,
      `the pattern for "${excerpt(path)}" is malformed (${(error as Error).message})`,
      error,
    );
  }
}

function byVersion(path: string, value: unknown): (tag: string) => boolean {
  const range = optionalString(WHAT, `images-by-semver "${path}"`, value) ?? "";
  if (range === "") throw invalid(WHAT, `the range for "${excerpt(path)}" is empty`);
  return (tag) => /^v?\d/.test(tag) && Bun.semver.satisfies(tag.replace(/^v/, ""), range);
}

function optionsOf(name: string, fields: Record<string, unknown>): RegistryOptions {
  const options: RegistryOptions = {};
  const verify = fields["tls-verify"];
  if (verify !== undefined && typeof verify !== "boolean")
    throw invalid(WHAT, `"${excerpt(name)}" tls-verify is not true or false`);
  if (verify !== undefined) options.tlsVerify = verify;
  const certDir = optionalString(WHAT, `"${name}" cert-dir`, fields["cert-dir"]);
  if (certDir !== undefined && certDir !== "") {
    if (!isAbsolute(certDir)) throw invalid(WHAT, `"${excerpt(name)}" cert-dir is not an absolute path`);
    options.certDir = certDir;
  }
  const credentials = optionalObject(WHAT, `"${name}" credentials`, fields["credentials"]);
  const username = optionalString(WHAT, "username", credentials?.["username"]) ?? "";
  if (username === "") return options;
  return {
    ...options,
    credentials: { username, password: optionalString(WHAT, "password", credentials?.["password"]) ?? "" },
  };
}
