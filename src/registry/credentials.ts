/**
 * Who we are at a registry: containers-auth.json(5) and Docker's config.json, looked up in podman's order.
 *
 * Keys are "host[:port][/path]", longest match first; Docker writes its own registry as
 * "https://index.docker.io/v1/". `credHelpers` and `credsStore` name programs
 * `docker-credential-NAME` that keep the secret. A file that is not there is passed over, one
 * that cannot be parsed is an error that names it and shows nothing of its content.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { hasCode } from "../sys/errno.ts";
import { home, runtimeDir, userConfigDir } from "./config-paths.ts";
import { askHelper } from "./credential-helper.ts";
import type { RegistryOptions } from "./registry.ts";

/** A password, or a token that is exchanged for access tokens (OAuth 2 refresh token). */
export type Login = { username: string; password: string } | { identityToken: string };

interface AuthFile {
  path: string;
  auths: Record<string, Record<string, unknown>>;
  credHelpers: Record<string, unknown>;
  credsStore: string;
}

/** User name that marks the password as an identity token. */
const TOKEN_USER = "<token>";

/** `repository` is "host[:port]/path". Errors: invalid-argument for an unreadable file, unauthenticated for a broken helper. */
export function findLogin(ctx: Ctx, repository: string, options: RegistryOptions): Login | undefined {
  if (options.credentials !== undefined)
    return loginOf(options.credentials.username, options.credentials.password);
  const keys = lookupKeys(repository);
  for (const path of authFiles(options.authFile)) {
    const file = readAuthFile(path);
    const login = file && loginFrom(ctx, file, keys, repository);
    if (login) return login;
  }
  return undefined;
}

function authFiles(explicit: string | undefined): string[] {
  const chosen = explicit ?? (process.env["REGISTRY_AUTH_FILE"] || undefined);
  if (chosen !== undefined) return [chosen];
  const session = runtimeDir() ?? `/run/containers/${process.getuid?.() ?? 0}`;
  const docker = process.env["DOCKER_CONFIG"] || join(home(), ".docker");
  return [
    join(session, "auth.json"),
    join(userConfigDir(), "auth.json"),
    join(docker, "config.json"),
    join(home(), ".dockercfg"),
  ];
}

function readAuthFile(path: string): AuthFile | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) return undefined;
    throw fail("invalid-argument", `cannot read the credentials file "${path}": it is not valid JSON`, {
      reason: "auth-file",
    });
  }
  const top = table(value);
  // .dockercfg has the keys at the top.
  const auths = path.endsWith(".dockercfg") ? top : table(top["auths"]);
  const credsStore = typeof top["credsStore"] === "string" ? top["credsStore"] : "";
  const entries = Object.entries(auths).map(([key, entry]) => [key, table(entry)] as const);
  return { path, auths: Object.fromEntries(entries), credHelpers: table(top["credHelpers"]), credsStore };
}

function table(value: unknown): Record<string, unknown> {
  const isTable = typeof value === "object" && value !== null && !Array.isArray(value);
  return isTable ? (value as Record<string, unknown>) : {};
}

/** "host/a/b" → ["host/a/b", "host/a", "host"]. */
function lookupKeys(repository: string): string[] {
  const parts = repository.split("/");
  return parts.map((_, i) => parts.slice(0, parts.length - i).join("/"));
}

function loginFrom(ctx: Ctx, file: AuthFile, keys: string[], repository: string): Login | undefined {
  const host = keys.at(-1) as string;
  const server = host === "docker.io" ? "https://index.docker.io/v1/" : host;
  const helper = file.credHelpers[host] ?? file.credHelpers[server];
  if (typeof helper === "string" && helper !== "") return fromHelper(ctx, helper, server);
  const byKey = new Map(Object.entries(file.auths).map(([key, entry]) => [normalKey(key), entry]));
  for (const key of keys) {
    const login = decode(file, byKey.get(key), repository);
    if (login !== undefined) return login;
  }
  return file.credsStore === "" ? undefined : fromHelper(ctx, file.credsStore, server);
}

/** Old keys are URLs: only their host counts, and Docker's own hosts are one. */
function normalKey(key: string): string {
  const url = /^https?:\/\/([^/]+)/.exec(key);
  const plain = url === null ? key.replace(/\/+$/, "") : (url[1] as string);
  return plain === "index.docker.io" || plain === "registry-1.docker.io" ? "docker.io" : plain;
}

function decode(
  file: AuthFile,
  entry: Record<string, unknown> | undefined,
  repository: string,
): Login | undefined {
  if (entry === undefined) return undefined;
  const token = entry["identitytoken"];
  if (typeof token === "string" && token !== "") return { identityToken: token };
  const { username, password, auth } = entry;
  if (typeof username === "string" && typeof password === "string" && username !== "") {
    return loginOf(username, password);
  }
  if (typeof auth !== "string" || auth === "") return undefined;
  const text = Buffer.from(auth, "base64").toString();
  const colon = text.indexOf(":");
  if (colon < 1) {
    throw fail("invalid-argument", `credentials for "${repository}" in "${file.path}" are malformed`, {
      reason: "auth-file",
      hint: "log in to the registry again",
    });
  }
  // Some writers pad the password with NUL bytes.
  return loginOf(text.slice(0, colon), text.slice(colon + 1).replace(/\0+$/, ""));
}

function loginOf(username: string, password: string): Login {
  return username === TOKEN_USER ? { identityToken: password } : { username, password };
}

function fromHelper(ctx: Ctx, helper: string, server: string): Login | undefined {
  const answer = askHelper(ctx, helper, server);
  return answer === undefined ? undefined : loginOf(answer.username, answer.password);
}
