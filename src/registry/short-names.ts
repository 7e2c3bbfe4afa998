/**
 * Short names ("alpine") → fully qualified references: by the aliases somebody chose before (short-name-aliases.conf, a file that
 * machines write), those of registries.conf, and its search list. Where the list leaves several registries, a person is asked
 * if there is one (`short-name-mode`), and the answer is kept once the image could be had.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Ctx } from "../core/ctx.ts";
import { fail, ioText, messageOf } from "../core/error.ts";
import type { Reference } from "../image/image.ts";
import { formatReference, isFullyQualified, parseReference, repositoryName } from "../image/reference.ts";
import { hasCode } from "../sys/errno.ts";
import { updateFile } from "./file-update.ts";
import { cacheDir } from "./config-paths.ts";
import type { RegistryOptions } from "./registry.ts";
import { loadRegistriesConf, mergeAliases, type RegistriesConf } from "./registries-conf.ts";

/** Where an image under some name is to be looked for. */
export interface Resolution {
  /** In the order they are to be tried; at least one. */
  names: Reference[];
  /** To be called with the name that worked: keeps for later calls, podman's among them, what a person has chosen. */
  remember: (reference: Reference) => void;
}

interface Known {
  names: Reference[];
  /** From the search list: may have to be asked about. */
  searched: boolean;
  mode: RegistriesConf["shortNameMode"];
}

/**
 * In the order they are to be tried; at least one. A name that says its registry is that one alone; else an alias, else the search list,
 * else docker.io. Asks nobody. Errors: invalid-argument for a malformed reference.
 */
export function qualifiedNames(text: string, options: RegistryOptions): Reference[] {
  return candidates(text, options).names;
}

/** As `qualifiedNames`, but asks by `options.choose` where the mode says so. Errors: invalid-argument where it must be asked and nobody can answer. */
export async function resolveShortName(
  ctx: Ctx,
  text: string,
  options: RegistryOptions,
): Promise<Resolution> {
  const { names, searched, mode } = candidates(text, options);
  const unasked = { names, remember: () => {} };
  if (!searched || names.length < 2 || mode === "disabled") return unasked;
  const shown = names.map(formatReference);
  const answer = await options.choose?.(ctx, { name: text, candidates: shown });
  const chosen = names[shown.indexOf(answer ?? "")];
  const remember = (reference: Reference): void => rememberChoice(ctx, { text, reference }, options);
  if (chosen !== undefined) return { names: [chosen], remember };
  if (mode === "permissive") return unasked;
  throw fail(
    "invalid-argument",
    `short name "${text}" may mean several images and there is no terminal to ask on`,
    {
      reason: "short-name-enforced",
      hint: `say which one: ${shown.join(", ")}`,
    },
  );
}

function candidates(text: string, options: RegistryOptions): Known {
  const name = text.replace(/^docker:\/\//, "");
  const parsed = parseReference(name);
  if (isFullyQualified(name)) return { names: [parsed], searched: false, mode: "disabled" };
  const conf = loadRegistriesConf(options.registriesConf);
  const mode = conf.shortNameMode;
  const suffix = { ...(parsed.tag && { tag: parsed.tag }), ...(parsed.digest && { digest: parsed.digest }) };
  const bare = name.split(/[:@]/, 1)[0] as string;
  const alias = chosenAliases(aliasFile(options)).get(bare) ?? conf.aliases.get(bare) ?? "";
  if (alias !== "") return { names: [{ ...repositoryOf(alias), ...suffix }], searched: false, mode };
  const hosts = conf.unqualifiedSearch;
  if (hosts.length === 0) return { names: [parsed], searched: false, mode };
  const names = hosts.map((host) => ({ ...repositoryOf(`${host}/${bare}`), ...suffix }));
  return { names, searched: true, mode };
}

/** The name is good: whoever read the configuration has checked it. */
function repositoryOf(name: string): Reference {
  const { registry, repository } = parseReference(name);
  return { registry, repository };
}

function aliasFile(options: RegistryOptions): string {
  return options.shortNameAliases ?? join(cacheDir(), "short-name-aliases.conf");
}

function chosenAliases(file: string): Map<string, string> {
  const aliases = new Map<string, string>();
  try {
    readAliases(aliases, readFileSync(file, "utf8"));
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) return aliases;
    throw fail("invalid-argument", `invalid short name aliases "${file}": ${messageOf(error)}`, {
      reason: "short-name-aliases",
      hint: "mend the file or remove it",
      cause: error,
    });
  }
  return aliases;
}

function readAliases(into: Map<string, string>, text: string): void {
  const { aliases = {} } = Bun.TOML.parse(text) as { aliases?: unknown };
  if (typeof aliases !== "object" || aliases === null) throw new Error("aliases is not a table");
  mergeAliases(into, aliases as Record<string, unknown>);
}

/** Best effort: a failure is a debug line. */
function rememberChoice(
  ctx: Ctx,
  choice: { text: string; reference: Reference },
  options: RegistryOptions,
): void {
  const file = aliasFile(options);
  const bare = choice.text.replace(/^docker:\/\//, "").split(/[:@]/, 1)[0] as string;
  try {
    updateFile({ path: file, directoryMode: 0o700, mode: 0o600 }, (before) => {
      const aliases = new Map<string, string>();
      if (before !== undefined) readAliases(aliases, before);
      aliases.set(bare, repositoryName(choice.reference));
      // Both sides have been parsed as names: nothing in them needs an escape.
      const lines = [...aliases].map(([name, value]) => `  "${name}" = "${value}"\n`);
      return `[aliases]\n${lines.toSorted().join("")}`;
    });
  } catch (error) {
    ctx.log.debug(`cannot remember the short name "${bare}" in "${file}": ${ioText(error)}`);
  }
}
