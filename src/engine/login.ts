/** login and logout: whom registries take us for from now on. Neither needs the store. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { isHost, parseReference } from "../image/reference.ts";
import type { RegistryOptions } from "../registry/registry.ts";

/** What a person logs into. */
export interface LoginTarget {
  /** "host[:port]". */
  host: string;
  /** "host[:port][/path]": what the login is kept under. */
  key: string;
}

export interface LoginRequest {
  target: LoginTarget;
  /** With `credentials` those are checked and kept; without, what is kept already is checked. */
  registry: RegistryOptions;
  /** Kept in docker's file and manner. */
  docker: boolean;
}

/**
 * `text` is "host[:port][/path]", a URL's scheme and path being left off as docker and podman do; absent, the first registry of the search list, or
 * docker.io. Errors: invalid-argument.
 */
export async function loginTarget(
  text: string | undefined,
  request: { docker: boolean; registry: RegistryOptions },
): Promise<LoginTarget> {
  if (text === undefined) return defaultTarget(request);
  const url = /^https?:\/\/([^/]*)/.exec(text);
  const key = canonical(url?.[1] ?? (request.docker ? text.replace(/\/.*$/s, "") : text.replace(/\/+$/, "")));
  const host = key.split("/", 1)[0] as string;
  if (!isHost(host)) throw malformed(text, "it does not begin with a host name");
  if (key !== host) checkPath(text, key);
  return { host, key };
}

async function defaultTarget({
  docker,
  registry,
}: {
  docker: boolean;
  registry: RegistryOptions;
}): Promise<LoginTarget> {
  const { loadRegistriesConf } = await import("../registry/registries-conf.ts");
  const [first] = docker ? [] : loadRegistriesConf(registry.registriesConf).unqualifiedSearch;
  const host = canonical(first ?? "docker.io");
  return { host, key: host };
}

function canonical(key: string): string {
  return key.replace(/^(?:index|registry-1)\.docker\.io(?=\/|$)/, "docker.io");
}

function checkPath(text: string, key: string): void {
  // A first component without a dot is a host here, whatever it would be in an image's name.
  const { tag, digest } = parseReference(`localhost/${key.slice(key.indexOf("/") + 1)}`);
  if (tag !== undefined || digest !== undefined) throw malformed(text, "it must not have a tag or digest");
}

function malformed(text: string, why: string): Error {
  return fail("invalid-argument", `invalid registry "${text.slice(0, 200)}": ${why}`, {
    reason: "registry-name",
    hint: "write it as HOST[:PORT] or HOST[:PORT]/NAMESPACE",
  });
}

/** The user name kept for it; undefined if nobody is logged in. Errors: those of the files and helpers. */
export async function loggedInAs(ctx: Ctx, { target, registry }: LoginRequest): Promise<string | undefined> {
  const { findLogin } = await import("../registry/credentials.ts");
  const login = findLogin(ctx, target.key, registry);
  return login === undefined ? undefined : (login.username ?? "<token>");
}

/** Asks the registry first, and keeps what it has taken; says where. Errors: unauthenticated (bad-credentials), unavailable, invalid-argument, permission-denied. */
export async function login(ctx: Ctx, request: LoginRequest): Promise<string> {
  const { target, registry, docker } = request;
  const { checkLogin } = await import("../registry/check-login.ts");
  const checked = await checkLogin(ctx, { ...target, options: registry });
  const { keepLogin, writtenAuthFile } = await import("../registry/credentials.ts");
  const place = { docker, authFile: registry.authFile, registriesConf: registry.registriesConf };
  if (registry.credentials === undefined || checked === undefined) return writtenAuthFile(place);
  return keepLogin(ctx, { key: target.key, login: checked }, place);
}

/** Errors: not-found if nobody was logged in there, unless `docker`, which does not mind. */
export async function logout(ctx: Ctx, request: LoginRequest): Promise<void> {
  const { target, registry, docker } = request;
  const { findLogin, forgetLogin } = await import("../registry/credentials.ts");
  const place = { docker, authFile: registry.authFile, registriesConf: registry.registriesConf };
  if (forgetLogin(ctx, target.key, place) || docker) return;
  const elsewhere = findLogin(ctx, target.key, registry) !== undefined;
  throw fail("not-found", `not logged into ${target.key}`, {
    reason: "not-logged-in",
    ...(elsewhere
      ? { hint: "a login is kept in another file: name it with --authfile, or use --compat-auth-file" }
      : {}),
  });
}

/** Every login of the file that `login` writes, and of its helpers. */
export async function logoutAll(ctx: Ctx, { registry, docker }: Omit<LoginRequest, "target">): Promise<void> {
  const { forgetAll } = await import("../registry/credentials.ts");
  forgetAll(ctx, { docker, authFile: registry.authFile, registriesConf: registry.registriesConf });
}
