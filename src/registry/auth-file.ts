/**
 * Files of credentials: containers-auth.json(5) and Docker's config.json, read and changed. Keys of `auths` are
 * "host[:port][/path]"; Docker writes its own registry as "https://index.docker.io/v1/". `credHelpers` (by host) and `credsStore`
 * name programs `docker-credential-NAME` that keep the secret instead. What a change does not touch stays as it was.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { EngineError, fail, ioText } from "../core/error.ts";
import { hasCode } from "../sys/errno.ts";
import { home, runtimeDir, userConfigDir } from "./config-paths.ts";
import { updateFile } from "./file-update.ts";

/** A password, or a token that is exchanged for access tokens (OAuth 2 refresh token). */
export type Login = { username: string; password: string } | { identityToken: string; username?: string };

export interface AuthFile {
  path: string;
  auths: Record<string, Record<string, unknown>>;
  credHelpers: Record<string, unknown>;
  credsStore: string;
}

/** User name that marks the password as an identity token. */
export const TOKEN_USER = "<token>";

/** Docker's own registry as its own tools write it. */
export const DOCKER_SERVER = "https://index.docker.io/v1/";

/** Where `login` keeps what it is told, unless a file is named: podman's place, or docker's, which podman takes too if `$DOCKER_CONFIG` names it. */
export function primaryAuthFile(docker: boolean): string {
  return docker || process.env["DOCKER_CONFIG"] ? dockerFile() : sessionFile();
}

function dockerFile(): string {
  return join(process.env["DOCKER_CONFIG"] || join(home(), ".docker"), "config.json");
}

function sessionFile(): string {
  return join(runtimeDir() ?? `/run/containers/${process.getuid?.() ?? 0}`, "auth.json");
}

/** In the order they are looked at; one that was named is looked at alone. */
export function authFiles(explicit: string | undefined): string[] {
  const chosen = explicit ?? (process.env["REGISTRY_AUTH_FILE"] || undefined);
  if (chosen !== undefined) return [chosen];
  const usual = [sessionFile(), join(userConfigDir(), "auth.json"), dockerFile(), join(home(), ".dockercfg")];
  return [...new Set([primaryAuthFile(false), ...usual])];
}

/** Undefined if there is none. Errors: invalid-argument for one that cannot be parsed; nothing of its content is shown. */
export function readAuthFile(path: string): AuthFile | undefined {
  try {
    return parseAuthFile(path, readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof EngineError) throw error;
    if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) return undefined;
    throw fail("invalid-argument", `cannot read the credentials file "${path}": ${ioText(error)}`, {
      reason: "auth-file",
      cause: error,
    });
  }
}

export function parseAuthFile(path: string, text: string): AuthFile {
  const top = topOf(path, text);
  // .dockercfg has the keys at the top.
  const auths = path.endsWith(".dockercfg") ? top : table(top["auths"]);
  const credsStore = typeof top["credsStore"] === "string" ? top["credsStore"] : "";
  const entries = Object.entries(auths).map(([key, entry]) => [key, table(entry)] as const);
  return { path, auths: Object.fromEntries(entries), credHelpers: table(top["credHelpers"]), credsStore };
}

/** An empty file is as good as none: `podman login` and `touch` leave such. */
function topOf(path: string, text: string): Record<string, unknown> {
  try {
    const value: unknown = text.trim() === "" ? {} : JSON.parse(text);
    if (isTable(value)) return value;
  } catch {
    // Said below: the parser's own words would show a piece of the file.
  }
  throw fail(
    "invalid-argument",
    `cannot read the credentials file "${path}": it is not a valid JSON object`,
    {
      reason: "auth-file",
      hint: "mend the file or move it away",
    },
  );
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function table(value: unknown): Record<string, unknown> {
  return isTable(value) ? value : {};
}

/** Old keys are URLs: only their host counts, and Docker's own hosts are one. */
function normalKey(key: string): string {
  const url = /^https?:\/\/([^/]+)/.exec(key);
  const plain = url === null ? key.replace(/\/+$/, "") : (url[1] as string);
  return plain === "index.docker.io" || plain === "registry-1.docker.io" ? "docker.io" : plain;
}

/** The login of the first of these keys that has one. Errors: invalid-argument for a malformed entry. */
export function loginIn(file: AuthFile, keys: string[]): Login | undefined {
  for (const key of keys) {
    const same = Object.keys(file.auths).filter((known) => known !== key && normalKey(known) === key);
    for (const spelling of [key, ...same]) {
      const login = decode(file, spelling);
      if (login !== undefined) return login;
    }
  }
  return undefined;
}

function decode(file: AuthFile, key: string): Login | undefined {
  const entry = Object.hasOwn(file.auths, key) ? file.auths[key] : undefined;
  if (entry === undefined) return undefined;
  const { username, password, auth, identitytoken } = entry;
  const pair = typeof auth === "string" && auth !== "" ? decodePair(file, key, auth) : undefined;
  if (typeof identitytoken === "string" && identitytoken !== "") {
    const name = typeof username === "string" && username !== "" ? username : pair?.username;
    return { identityToken: identitytoken, ...(name === undefined ? {} : { username: name }) };
  }
  if (typeof username === "string" && typeof password === "string" && username !== "") {
    return loginOf(username, password);
  }
  return pair === undefined ? undefined : loginOf(pair.username, pair.password);
}

function decodePair(file: AuthFile, key: string, auth: string): { username: string; password: string } {
  const text = Buffer.from(auth, "base64").toString();
  const colon = text.indexOf(":");
  if (colon < 1) {
    throw fail("invalid-argument", `credentials for "${key}" in "${file.path}" are malformed`, {
      reason: "auth-file",
      hint: "log in to the registry again",
    });
  }
  // Some writers pad the password with NUL bytes.
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, "") };
}

export function loginOf(username: string, password: string): Login {
  return username === TOKEN_USER ? { identityToken: password } : { username, password };
}

/** What stands in `auths` for a login: podman and docker read the same. */
export function entryOf(login: Login): Record<string, string> {
  const encode = (name: string, secret: string): string =>
    Buffer.from(`${name}:${secret}`).toString("base64");
  if (!("identityToken" in login)) return { auth: encode(login.username, login.password) };
  return { auth: encode(login.username ?? TOKEN_USER, ""), identitytoken: login.identityToken };
}

/** Puts an entry into the file, made if it is missing. Errors: invalid-argument (a file nobody can read), permission-denied. */
export function setEntry(path: string, key: string, entry: Record<string, string>): void {
  change(path, (auths) => {
    auths[key] = entry;
    return true;
  });
}

/** Takes the entries away that mean this key; false if there was none. Errors: as `setEntry`. */
export function removeEntry(path: string, key: string): boolean {
  let found = false;
  change(path, (auths) => {
    for (const known of Object.keys(auths)) {
      if (normalKey(known) !== key) continue;
      delete auths[known];
      found = true;
    }
    return found;
  });
  return found;
}

/** Takes all entries away. Errors: as `setEntry`. */
export function removeEntries(path: string): void {
  change(path, (auths) => {
    for (const key of Object.keys(auths)) delete auths[key];
    return true;
  });
}

/** `edit` says whether it has changed anything. */
function change(path: string, edit: (auths: Record<string, unknown>) => boolean): void {
  try {
    updateFile({ path, mode: 0o600, directoryMode: 0o700 }, (before) => {
      const top = topOf(path, before ?? "");
      const auths = path.endsWith(".dockercfg") ? top : table(top["auths"]);
      if (!edit(auths)) return undefined;
      if (auths !== top) top["auths"] = auths;
      return JSON.stringify(top, undefined, "\t");
    });
  } catch (error) {
    if (!hasCode(error, "EACCES", "EROFS", "EPERM", "ENOTDIR", "EISDIR", "ENOSPC", "EDQUOT")) throw error;
    throw fail("permission-denied", `cannot write the credentials file "${path}": ${ioText(error)}`, {
      reason: "auth-file",
      cause: error,
    });
  }
}
