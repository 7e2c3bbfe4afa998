/**
 * Who we are at a registry: looked up, kept and forgotten, in podman's order of places (registries.conf `credential-helpers`;
 * containers-auth.json(5); Docker's config.json). Keys are "host[:port][/path]", the longest that matches first.
 * A file that is not there is passed over, one that cannot be parsed is an error that names it and shows nothing of its content.
 */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import {
  type AuthFile,
  authFiles,
  DOCKER_SERVER,
  entryOf,
  type Login,
  loginIn,
  loginOf,
  primaryAuthFile,
  readAuthFile,
  removeEntries,
  removeEntry,
  setEntry,
  TOKEN_USER,
} from "./auth-file.ts";
import { askHelper, listHelper, makeHelperForget, tellHelper } from "./credential-helper.ts";
import type { RegistryOptions } from "./registry.ts";
import { AUTH_FILES, loadRegistriesConf } from "./registries-conf.ts";

export type { Login } from "./auth-file.ts";

/** `repository` is "host[:port][/path]". Errors: invalid-argument for an unreadable file, unauthenticated for a broken helper. */
export function findLogin(ctx: Ctx, repository: string, options: RegistryOptions): Login | undefined {
  if (options.anonymous === true) return undefined;
  if (options.credentials !== undefined)
    return loginOf(options.credentials.username, options.credentials.password);
  let broken: EngineError | undefined;
  for (const helper of loadRegistriesConf(options.registriesConf).credentialHelpers) {
    try {
      const login =
        helper === AUTH_FILES
          ? fromFiles(ctx, repository, options)
          : fromHelper(ctx, helper, hostOf(repository));
      if (login !== undefined) return login;
    } catch (error) {
      if (helper === AUTH_FILES || !(error instanceof EngineError)) throw error;
      // The next place may know; if none does, this is why.
      broken ??= error;
    }
  }
  if (broken !== undefined) throw broken;
  return undefined;
}

function fromFiles(ctx: Ctx, repository: string, options: RegistryOptions): Login | undefined {
  const keys = lookupKeys(repository);
  for (const path of authFiles(options.authFile)) {
    const file = readAuthFile(path);
    const login = file && fromFile(ctx, file, keys);
    if (login) return login;
  }
  return undefined;
}

/** "host/a/b" → ["host/a/b", "host/a", "host"]. */
function lookupKeys(repository: string): string[] {
  const parts = repository.split("/");
  return parts.map((_, i) => parts.slice(0, parts.length - i).join("/"));
}

function hostOf(key: string): string {
  return key.split("/", 1)[0] as string;
}

/** What a helper, and Docker, call the host. */
function serverOf(host: string): string {
  return host === "docker.io" ? DOCKER_SERVER : host;
}

function helperFor(file: AuthFile, host: string): string | undefined {
  const own = [host, serverOf(host)].find((key) => Object.hasOwn(file.credHelpers, key));
  const helper = own === undefined ? undefined : file.credHelpers[own];
  return typeof helper === "string" && helper !== "" ? helper : undefined;
}

function fromFile(ctx: Ctx, file: AuthFile, keys: string[]): Login | undefined {
  const host = keys.at(-1) as string;
  const helper = helperFor(file, host);
  if (helper !== undefined) return fromHelper(ctx, helper, host);
  const login = loginIn(file, keys);
  if (login !== undefined || file.credsStore === "") return login;
  return fromHelper(ctx, file.credsStore, host);
}

function fromHelper(ctx: Ctx, helper: string, host: string): Login | undefined {
  const answer = askHelper(ctx, helper, serverOf(host));
  return answer === undefined ? undefined : loginOf(answer.username, answer.password);
}

/** Which file a login goes to, and in whose manner. */
export interface KeepOptions {
  authFile?: string | undefined;
  /** docker's file, keys and credential store. */
  docker: boolean;
  registriesConf?: string | undefined;
}

/** The file that is written: the one that was named, else podman's or docker's. */
export function writtenAuthFile(options: KeepOptions): string {
  // docker knows nothing of podman's variable.
  const named = options.docker ? undefined : process.env["REGISTRY_AUTH_FILE"] || undefined;
  return options.authFile ?? named ?? primaryAuthFile(options.docker);
}

function helpersOf(options: KeepOptions): string[] {
  return options.docker ? [AUTH_FILES] : loadRegistriesConf(options.registriesConf).credentialHelpers;
}

/**
 * Keeps the login under the key, "host[:port][/path]"; says where (a path, or the helper's program). Errors: invalid-argument
 * (a path where only hosts can be kept, a file nobody can read), permission-denied, unauthenticated (a broken helper).
 */
export function keepLogin(
  ctx: Ctx,
  { key, login }: { key: string; login: Login },
  options: KeepOptions,
): string {
  let broken: EngineError | undefined;
  for (const helper of helpersOf(options)) {
    try {
      return helper === AUTH_FILES
        ? keepInFile(ctx, { key, login }, options)
        : keepInHelper(ctx, { key, login }, helper);
    } catch (error) {
      if (helper === AUTH_FILES || !(error instanceof EngineError)) throw error;
      broken ??= error;
    }
  }
  throw broken as EngineError;
}

function keepInFile(ctx: Ctx, { key, login }: { key: string; login: Login }, options: KeepOptions): string {
  const path = writtenAuthFile(options);
  if (options.docker && key.includes("/")) throw noPath(key, `in "${path}", a file in docker's format`);
  const file = readAuthFile(path);
  const own = file && helperFor(file, hostOf(key));
  const stored = options.docker ? serverOf(key) : key;
  const helper = own ?? (options.docker && file ? file.credsStore : "");
  if (helper === "") {
    setEntry(path, stored, entryOf(login));
    return path;
  }
  const where = keepInHelper(ctx, { key, login }, helper);
  // Docker notes whom its store knows.
  if (own === undefined) setEntry(path, stored, {});
  return where;
}

function keepInHelper(ctx: Ctx, { key, login }: { key: string; login: Login }, helper: string): string {
  const program = `docker-credential-${helper}`;
  if (key.includes("/")) throw noPath(key, `by the credential helper "${program}"`);
  const secret = "identityToken" in login ? { username: TOKEN_USER, password: login.identityToken } : login;
  tellHelper(ctx, helper, { server: serverOf(key), ...secret });
  return program;
}

function noPath(key: string, where: string): EngineError {
  return fail(
    "invalid-argument",
    `credentials for "${key}" cannot be kept ${where}: only for whole registries`,
    {
      reason: "credentials-path",
      hint: `log in to "${hostOf(key)}"`,
    },
  );
}

/** False if nothing was kept under the key. Errors: as `keepLogin`. */
export function forgetLogin(ctx: Ctx, key: string, options: KeepOptions): boolean {
  let found = false;
  for (const helper of helpersOf(options)) {
    if (helper === AUTH_FILES) found = forgetInFile(ctx, key, options) || found;
    else if (!key.includes("/")) found = makeHelperForget(ctx, helper, serverOf(key)) || found;
  }
  return found;
}

function forgetInFile(ctx: Ctx, key: string, options: KeepOptions): boolean {
  const path = writtenAuthFile(options);
  const file = readAuthFile(path);
  if (file === undefined) return false;
  const inFile = removeEntry(path, key);
  const helper = helperFor(file, hostOf(key)) ?? (options.docker ? file.credsStore : "");
  if (helper === "" || key.includes("/")) return inFile;
  return makeHelperForget(ctx, helper, serverOf(key)) || inFile;
}

/** Everything in the written file, and in the helpers named for it. Errors: as `keepLogin`. */
export function forgetAll(ctx: Ctx, options: KeepOptions): void {
  for (const helper of helpersOf(options)) {
    if (helper !== AUTH_FILES) {
      for (const server of listHelper(ctx, helper).keys()) makeHelperForget(ctx, helper, server);
      continue;
    }
    const path = writtenAuthFile(options);
    const file = readAuthFile(path);
    if (file === undefined) continue;
    for (const [host, name] of Object.entries(file.credHelpers)) {
      if (typeof name === "string" && name !== "") makeHelperForget(ctx, name, host);
    }
    removeEntries(path);
  }
}
