/** Short names ("alpine") → fully qualified references, by the aliases and the search list of registries.conf. */
import { fail } from "../core/error.ts";
import type { Reference } from "../image/image.ts";
import { isFullyQualified, parseReference } from "../image/reference.ts";
import type { RegistryOptions } from "./registry.ts";
import { loadRegistriesConf } from "./registries-conf.ts";

/**
 * In the order they are to be tried; at least one. A name that says its registry is that one alone; else an alias, else the search list,
 * else docker.io. Errors: invalid-argument for a malformed reference.
 */
export function qualifiedNames(text: string, options: RegistryOptions): Reference[] {
  const name = text.replace(/^docker:\/\//, "");
  const parsed = parseReference(name);
  if (isFullyQualified(name)) return [parsed];
  const conf = loadRegistriesConf(options.registriesConf);
  const suffix = { ...(parsed.tag && { tag: parsed.tag }), ...(parsed.digest && { digest: parsed.digest }) };
  const bare = name.split(/[:@]/, 1)[0] as string;
  const alias = conf.aliases[bare];
  if (alias !== undefined) return [{ ...repositoryOf(alias), ...suffix }];
  const hosts = conf.unqualifiedSearch;
  return hosts.length === 0
    ? [parsed]
    : hosts.map((host) => ({ ...repositoryOf(`${host}/${bare}`), ...suffix }));
}

/** Errors: invalid-argument: the configuration, not the user, is wrong. */
function repositoryOf(name: string): Reference {
  const { registry, repository, tag, digest } = parseReference(name);
  if (tag === undefined && digest === undefined && isFullyQualified(name)) return { registry, repository };
  throw fail("invalid-argument", `registries.conf: "${name}" is not a registry and a repository`, {
    reason: "registries-conf",
  });
}
