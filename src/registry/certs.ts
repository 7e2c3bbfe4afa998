/**
 * TLS material for a host (containers-certs.d(5), Docker's certs.d): `<dir>/<host[:port]>/` with `*.crt` (authorities),
 * `*.cert` and `*.key` of one name (client certificate). Authorities found there are trusted in
 * addition to the system's. A port may also be written `host_5000_`, as containerd does where a colon cannot be in a file name.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fail, ioText } from "../core/error.ts";
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

/** Where Docker's own registry is really spoken to; its certificates may stand under the name people use. */
const DOCKER_HOST = "registry-1.docker.io";

export interface CertPlaces {
  /** Used in place of the usual directories. */
  certDir?: string | undefined;
  /** Whom a client certificate in `certDir` is for: the registry as it was named, with an optional port. */
  registry: string;
}

/**
 * What to offer and whom to trust at `host` ("quay.io", "127.0.0.1:5000"). Errors: invalid-argument for half a client certificate
 * or a `certDir` that is not there, permission-denied for a file that cannot be read.
 */
export function tlsMaterial(host: string, places: CertPlaces): TlsMaterial {
  const material: TlsMaterial = { ca: systemAuthorities() };
  const { certDir, registry } = places;
  if (certDir !== undefined) {
    if (!addDirectory(material, certDir)) throw noDirectory(certDir);
    // Token services and blob hosts are trusted by the same authorities, but are not told who we are.
    return bareHost(host) === bareHost(registry) ? material : { ca: material.ca };
  }
  const roots = [join(userConfigDir(), "certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"];
  const names = spellings(host.toLowerCase());
  names.some((name) => roots.some((root) => addDirectory(material, join(root, name))));
  return material;
}

function spellings(host: string): string[] {
  const underscored = host.replace(/:(\d+)$/, "_$1_");
  return [...new Set([host, underscored, ...(host === DOCKER_HOST ? ["docker.io"] : [])])];
}

function bareHost(host: string): string {
  const name = host.toLowerCase().replace(/:\d+$/, "");
  return name === "docker.io" ? DOCKER_HOST : name;
}

function noDirectory(path: string): Error {
  return fail("invalid-argument", `certificate directory "${path}" cannot be read`, {
    reason: "certs-d",
    hint: "give --cert-dir a directory with *.crt, *.cert and *.key files",
  });
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
    if (name.endsWith(".crt")) material.ca.push(readPem(directory, name));
    if (name.endsWith(".cert")) addPair(material, directory, { names, stem: name.slice(0, -5) });
    if (name.endsWith(".key")) partner(directory, names, { has: name, needs: `${name.slice(0, -4)}.cert` });
  }
  return true;
}

function addPair(
  material: TlsMaterial,
  directory: string,
  { names, stem }: { names: string[]; stem: string },
): void {
  partner(directory, names, { has: `${stem}.cert`, needs: `${stem}.key` });
  material.cert ??= readPem(directory, `${stem}.cert`);
  material.key ??= readPem(directory, `${stem}.key`);
}

function partner(directory: string, names: string[], { has, needs }: { has: string; needs: string }): void {
  if (names.includes(needs)) return;
  const what = has.endsWith(".cert") ? "client certificate" : "key";
  throw fail("invalid-argument", `${what} "${join(directory, has)}" has no "${needs}" beside it`, {
    reason: "certs-d",
  });
}

function readPem(directory: string, name: string): string {
  try {
    return readFileSync(join(directory, name), "utf8");
  } catch (error) {
    throw fail("permission-denied", `cannot read "${join(directory, name)}": ${ioText(error)}`, {
      reason: "certs-d",
      cause: error,
    });
  }
}
