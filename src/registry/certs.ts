/**
 * TLS material for a host (containers-certs.d(5), Docker's certs.d): `<dir>/<host[:port]>/` with `*.crt` (authorities),
 * `*.cert` and `*.key` of one name (client certificate). Authorities found there are trusted in
 * addition to the system's.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../core/error.ts";
import { hasCode } from "../sys/errno.ts";
import { firstExisting, userConfigDir } from "./config-paths.ts";

export interface TlsMaterial {
  /** PEM. */
  ca: string[];
  cert?: string;
  key?: string;
}

const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/** What to offer and whom to trust at `host` ("quay.io", "127.0.0.1:5000"). `certDir` is used in place of the usual directories. Errors: invalid-argument for a certificate without its key. */
export function tlsMaterial(host: string, certDir?: string): TlsMaterial {
  const material: TlsMaterial = { ca: systemAuthorities() };
  const roots = [join(userConfigDir(), "certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"];
  if (certDir !== undefined) addDirectory(material, certDir);
  else roots.some((root) => addDirectory(material, join(root, host.toLowerCase())));
  return material;
}

/** The host's own bundle: authorities an administrator added are in it, Bun's built-in list does not have them. */
function systemAuthorities(): string[] {
  const path = process.env["SSL_CERT_FILE"] || firstExisting(SYSTEM_BUNDLES);
  try {
    return path === undefined ? [] : [readFileSync(path, "utf8")];
  } catch {
    return [];
  }
}

/** False if there is no such directory: the next place is then looked at. */
function addDirectory(material: TlsMaterial, directory: string): boolean {
  let names: string[];
  try {
    names = readdirSync(directory).toSorted();
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) return false;
    throw error;
  }
  for (const name of names) {
    if (name.endsWith(".crt")) material.ca.push(readFileSync(join(directory, name), "utf8"));
    if (!name.endsWith(".cert")) continue;
    const key = name.replace(/\.cert$/, ".key");
    if (!names.includes(key)) {
      throw fail(
        "invalid-argument",
        `client certificate "${join(directory, name)}" has no key "${key}" beside it`,
        {
          reason: "certs-d",
        },
      );
    }
    material.cert ??= readFileSync(join(directory, name), "utf8");
    material.key ??= readFileSync(join(directory, key), "utf8");
  }
  return true;
}
