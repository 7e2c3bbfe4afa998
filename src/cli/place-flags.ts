/** What the flags of remote-flags.ts say: whom to be at a registry, how far to trust it, which platform. */
import { fail } from "../core/error.ts";
import type { Platform } from "../image/image.ts";
import { hostPlatform, parsePlatform } from "../image/platform.ts";
import type { Credentials, RegistryOptions } from "../registry/registry.ts";
import { patience, registryOptions } from "./container-spec.ts";

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
  const retry = patience(flags);
  return {
    ...options,
    ...(credentials === undefined ? {} : { credentials }),
    ...(flags[own("no-creds")] === true ? { anonymous: true } : {}),
    ...(retry === undefined ? {} : { retry }),
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
