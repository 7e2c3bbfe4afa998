/** Flags of the commands that name places outside the store: whom to be there, how far to trust it, which platform. */
import { fail } from "../core/error.ts";
import type { Platform } from "../image/image.ts";
import { hostPlatform, parsePlatform } from "../image/platform.ts";
import type { Credentials, RegistryOptions } from "../registry/registry.ts";
import { registryOptions } from "./container-spec.ts";
import type { FlagSpec, FlagTable } from "./flags.ts";

/** Which image of an index; skopeo's names and podman's. */
export const overrideFlags = {
  "override-arch": { type: "string", value: "ARCH", help: "Choose the image for this architecture" },
  "override-os": { type: "string", value: "OS", help: "Choose the image for this operating system" },
  "override-variant": { type: "string", value: "VARIANT", help: "Choose the image for this variant" },
  platform: { type: "string", value: "OS/ARCH[/VARIANT]", help: "Choose the image for this platform" },
} as const satisfies FlagTable;

interface OverrideValues {
  "override-arch"?: string | undefined;
  "override-os"?: string | undefined;
  "override-variant"?: string | undefined;
  platform?: string | undefined;
}

/** Errors: invalid-argument. */
export function overriddenPlatform(flags: OverrideValues): Platform | undefined {
  const { platform, "override-arch": architecture, "override-os": os, "override-variant": variant } = flags;
  if (platform !== undefined) return parsePlatform(platform);
  if (architecture === undefined && os === undefined && variant === undefined) return undefined;
  const host = hostPlatform();
  const parts = [
    os ?? host.os,
    architecture ?? host.architecture,
    ...(variant === undefined ? [] : [variant]),
  ];
  return parsePlatform(parts.join("/"));
}

const RETRY: FlagTable = {
  "retry-times": { type: "int", value: "N", help: "How often to try again after a failure (5)" },
};

/** Flags for one registry: inspect, tags, delete. */
export const oneRegistryFlags = {
  ...RETRY,
  "no-creds": { type: "bool", help: "Be nobody there" },
  username: { type: "string", value: "USER", help: "User name for the registry" },
  password: { type: "string", value: "PASSWORD", help: "Password for the registry" },
  "registry-token": { type: "string", hidden: true, unsupported: true, help: "Bearer token" },
  "daemon-host": { type: "string", hidden: true, unsupported: true, help: "Docker's daemon" },
  "shared-blob-dir": { type: "string", hidden: true, unsupported: true, help: "Shared blobs" },
} as const satisfies FlagTable;

/** Flags for source and destination. */
export const twoPlacesFlags: FlagTable = {
  authfile: { type: "string", value: "FILE", help: "Credentials for both registries" },
  "tls-verify": { type: "bool", default: true, help: "Require HTTPS with a valid certificate on both sides" },
  ...RETRY,
  ...sideFlags("src", "the source"),
  ...sideFlags("dest", "the destination"),
};

function sideFlags(side: string, where: string): FlagTable {
  const text = (value: string, help: string): FlagSpec => ({ type: "string", value, help });
  const refused = (help: string): FlagSpec => ({ type: "string", hidden: true, unsupported: true, help });
  return {
    [`${side}-authfile`]: text("FILE", `Credentials for ${where}`),
    [`${side}-cert-dir`]: text("DIR", `*.crt to trust and *.cert, *.key to show to ${where}`),
    [`${side}-creds`]: text("USER:PASSWORD", `Credentials for ${where}`),
    [`${side}-no-creds`]: { type: "bool", help: `Be nobody at ${where}` },
    [`${side}-username`]: text("USER", `User name for ${where}`),
    [`${side}-password`]: text("PASSWORD", `Password for ${where}`),
    [`${side}-tls-verify`]: {
      type: "bool",
      default: true,
      help: `Require HTTPS with a valid certificate at ${where}`,
    },
    [`${side}-daemon-host`]: refused("Docker's daemon"),
    [`${side}-registry-token`]: refused("Bearer token"),
    [`${side}-shared-blob-dir`]: refused("Shared blobs"),
  };
}

/** Any command's flags, by name: the sides differ only in a prefix. */
type Values = Readonly<Record<string, unknown>>;

/** The options for one side ("src", "dest"), or, without one, of a command that talks to one registry. Errors: invalid-argument, not-found. */
export function placeOptions(
  flags: Values,
  changed: ReadonlySet<string>,
  side?: "src" | "dest",
): RegistryOptions {
  const own = (name: string): string => (side === undefined ? name : `${side}-${name}`);
  const text = (name: string): string | undefined => flags[name] as string | undefined;
  const authfile = text(own("authfile")) ?? text("authfile");
  const tls = [own("tls-verify"), "tls-verify"].find((name) => changed.has(name));
  const options = registryOptions(
    {
      ...(authfile === undefined ? {} : { authfile }),
      creds: text(own("creds")),
      "cert-dir": text(own("cert-dir")),
      "tls-verify": tls === undefined || flags[tls] === true,
    },
    new Set(tls === undefined ? [] : ["tls-verify"]),
  );
  const credentials = separateCredentials(text(own("username")), text(own("password")));
  const retries = flags["retry-times"] as number | undefined;
  return {
    ...options,
    ...(credentials === undefined ? {} : { credentials }),
    ...(flags[own("no-creds")] === true ? { anonymous: true } : {}),
    ...(retries === undefined ? {} : { retry: { retries: Math.max(0, retries) } }),
  };
}

function separateCredentials(
  username: string | undefined,
  password: string | undefined,
): Credentials | undefined {
  if (username === undefined && password === undefined) return undefined;
  if (username !== undefined && password !== undefined) return { username, password };
  throw fail("invalid-argument", "a user name and a password must be given together", {
    reason: "arguments",
  });
}
