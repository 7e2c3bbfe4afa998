/** What `login`, `logout` and `search` say about registries and about where logins are kept. */
import { resolve } from "node:path";
import { fail } from "../core/error.ts";
import type { RegistryOptions } from "../registry/registry.ts";
import type { Invocation } from "./command.ts";
import { registryFlags } from "./container-flags.ts";
import { registryOptions } from "./container-spec.ts";
import type { FlagTable } from "./flags.ts";

export const keepFlags = {
  authfile: registryFlags.authfile,
  "compat-auth-file": {
    type: "string",
    value: "FILE",
    help: "Keep it in this file in docker's format, as in ~/.docker/config.json",
  },
} as const satisfies FlagTable;

export const loginFlags = {
  ...keepFlags,
  "cert-dir": registryFlags["cert-dir"],
  "tls-verify": registryFlags["tls-verify"],
} as const satisfies FlagTable;

export interface LoginValues {
  authfile?: string | undefined;
  "compat-auth-file"?: string | undefined;
  "cert-dir"?: string | undefined;
  "tls-verify"?: boolean;
}

/** Errors: invalid-argument if both files are named. */
export function loginRequest(
  invocation: Pick<Invocation, "options" | "changed" | "personality">,
  flags: LoginValues,
): { registry: RegistryOptions; docker: boolean } {
  const compatible = flags["compat-auth-file"];
  if (compatible !== undefined && flags.authfile !== undefined) {
    throw fail("invalid-argument", "--authfile and --compat-auth-file cannot be used together", {
      reason: "arguments",
    });
  }
  const { authfile: _, ...rest } = { "tls-verify": true, ...flags };
  const registry = registryOptions(rest, invocation.changed);
  const options = invocation.options();
  const named = compatible ?? flags.authfile;
  // Made by a login where it is missing.
  const authFile = named === undefined ? options.authFile : resolve(named);
  return {
    registry: {
      ...registry,
      ...(options.registriesConf === undefined ? {} : { registriesConf: options.registriesConf }),
      ...(authFile === undefined ? {} : { authFile }),
    },
    docker: compatible !== undefined || (invocation.personality.docker && flags.authfile === undefined),
  };
}
