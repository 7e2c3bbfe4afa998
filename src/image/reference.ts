/**
 * Image references in Docker's grammar (distribution/reference): `[host[:port]/]path[:tag][@digest]`.
 * The first component is a host if it has a dot, a colon or an upper-case letter, or is "localhost"; otherwise the
 * registry is docker.io, whose one-component names live under "library/".
 */
import { fail } from "../core/error.ts";
import { excerpt, parseDigest } from "./digest.ts";
import { defined } from "./document.ts";
import type { Reference } from "./image.ts";

const DEFAULT_REGISTRY = "docker.io";
const LEGACY_DEFAULT_REGISTRY = "index.docker.io";
const OFFICIAL = "library/";
const MAX_REPOSITORY = 255;

const HOST =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?$/;
const PATH = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DIGEST = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}$/;

function malformed(text: string, problem = "", hint?: string): Error {
  const detail = problem === "" ? "" : `: ${problem}`;
  return fail("invalid-argument", `invalid reference format "${excerpt(text)}"${detail}`, {
    reason: "invalid-reference",
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Splits and normalises; adds no tag (see {@link withDefaultTag}). Errors: invalid-argument "invalid reference format …". */
export function parseReference(text: string): Reference {
  if (text === "") throw malformed(text, "the name is empty");
  // Longer than any valid reference: refused before a pattern sees it.
  if (text.length > 1024) throw malformed(text, "it is too long");
  if (/^[0-9a-f]{64}$/.test(text)) {
    throw malformed(text, "a name cannot be 64 hexadecimal digits", "put the repository in front of the id");
  }
  const [registry, rest] = splitRegistry(text);
  const [named, digest] = splitOnce(rest, "@");
  const [path, tag] = splitOnce(named, ":");
  const repository = registry === DEFAULT_REGISTRY && !path.includes("/") ? OFFICIAL + path : path;

  if (!HOST.test(registry)) throw malformed(text, `"${excerpt(registry)}" is not a host name`);
  checkPath(text, path, repository);
  checkSuffix(text, tag, digest);
  return defined<Reference>({
    registry,
    repository,
    tag,
    digest: digest === undefined ? undefined : parseDigest(digest),
  });
}

function splitOnce(text: string, separator: string): [head: string, tail: string | undefined] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function checkSuffix(text: string, tag: string | undefined, digest: string | undefined): void {
  if (tag !== undefined && !TAG.test(tag)) throw malformed(text, `"${excerpt(tag)}" is not a tag`);
  if (digest !== undefined && !DIGEST.test(digest)) {
    throw malformed(text, `"${excerpt(digest)}" is not a digest`);
  }
}

function checkPath(text: string, path: string, repository: string): void {
  if (path !== path.toLowerCase() && PATH.test(path.toLowerCase())) {
    throw malformed(text, `repository name "${path}" must be lowercase`);
  }
  if (!PATH.test(path)) {
    throw malformed(text, path === "" ? "the repository name is empty" : "");
  }
  if (repository.length > MAX_REPOSITORY) {
    throw malformed(text, `repository name must not be more than ${MAX_REPOSITORY} characters`);
  }
}

function splitRegistry(text: string): [registry: string, rest: string] {
  const slash = text.indexOf("/");
  const first = slash === -1 ? "" : text.slice(0, slash);
  const isHost = first === "localhost" || /[.:]/.test(first) || first !== first.toLowerCase();
  if (!isHost) return [DEFAULT_REGISTRY, text];
  return [first === LEGACY_DEFAULT_REGISTRY ? DEFAULT_REGISTRY : first, text.slice(slash + 1)];
}

/** Whether the text is "host" or "host:port". */
export function isHost(text: string): boolean {
  return HOST.test(text);
}

/** True if the text names its registry itself, so that no search list applies to it. */
export function isFullyQualified(text: string): boolean {
  const slash = text.indexOf("/");
  const first = slash === -1 ? "" : text.slice(0, slash);
  return first === "localhost" || /[.:]/.test(first) || first !== first.toLowerCase();
}

/** Adds "latest" where there is neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined
    ? { ...reference, tag: "latest" }
    : reference;
}

/** "docker.io/library/alpine": registry and repository. */
export function repositoryName(reference: Reference): string {
  return `${reference.registry}/${reference.repository}`;
}

/** The full form with what there is of tag and digest; parses back to the same reference. */
export function formatReference(reference: Reference): string {
  return repositoryName(reference) + suffix(reference);
}

/** Docker's short form of the repository: "alpine", "grafana/loki", "quay.io/x/y"; without tag and digest. */
export function familiarName(reference: Reference): string {
  const { registry, repository } = reference;
  if (registry !== DEFAULT_REGISTRY) return `${registry}/${repository}`;
  const path = repository.startsWith(OFFICIAL) ? repository.slice(OFFICIAL.length) : repository;
  // "library/a/b" must keep its prefix, and a path whose first component reads as a host must keep the registry.
  const short = path.includes("/") ? repository : path;
  return isFullyQualified(short) ? `${registry}/${repository}` : short;
}

/** Docker's short form with tag and digest: "alpine:3.20". */
export function familiarReference(reference: Reference): string {
  return familiarName(reference) + suffix(reference);
}

function suffix({ tag, digest }: Reference): string {
  return (tag === undefined ? "" : `:${tag}`) + (digest === undefined ? "" : `@${digest}`);
}

/** Whether the text is a tag by the distribution specification. */
export function isTag(text: string): boolean {
  return TAG.test(text);
}

/** Whether the tag stands for what is attached to a digest: "sha256-HEX" (referrers), with ".sig", ".att" or ".sbom" (cosign 2). */
export function isAttachmentTag(tag: string): boolean {
  return /^sha(256|512)-[0-9a-f]{64,128}(\.(sig|att|sbom))?$/.test(tag);
}
