/** Where registries' configuration files lie for this user (containers-registries.conf(5), containers-auth.json(5), containers-certs.d(5)). */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** `$XDG_CONFIG_HOME/containers`, else `~/.config/containers`. */
export function userConfigDir(): string {
  return join(process.env["XDG_CONFIG_HOME"] || join(home(), ".config"), "containers");
}

export function home(): string {
  return process.env["HOME"] || homedir();
}

/** The directory where logins of this session are kept, if there is one. */
export function runtimeDir(): string | undefined {
  const named = process.env["XDG_RUNTIME_DIR"];
  if (named !== undefined && named !== "") return join(named, "containers");
  return undefined;
}

export function firstExisting(paths: string[]): string | undefined {
  return paths.find((path) => existsSync(path));
}

/** What programs keep for themselves between calls: `$XDG_CACHE_HOME/containers`, for root /var/cache/containers. */
export function cacheDir(): string {
  const named = process.env["XDG_CACHE_HOME"];
  if (named !== undefined && named !== "") return join(named, "containers");
  return process.geteuid?.() === 0 ? "/var/cache/containers" : join(home(), ".cache", "containers");
}
