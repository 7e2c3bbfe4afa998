/** Linked as `skopeo`, the binary has that program's commands and takes its flags in front of them. */
import type { EntryTable } from "./command-table.ts";
import { type FlagTable, parseFlags } from "./flags.ts";
import { globalFlags } from "./global-flags.ts";

export const skopeoTable: EntryTable = {
  copy: {
    summary: "Copy an image from one place to another",
    category: "images",
    load: async () => (await import("./commands/copy.ts")).copyCommand,
  },
  delete: {
    summary: "Delete an image on its registry",
    category: "images",
    load: async () => (await import("./commands/delete-remote.ts")).deleteCommand,
  },
  inspect: {
    summary: "Show an image where it lies",
    category: "images",
    load: async () => (await import("./commands/inspect-remote.ts")).remoteInspectCommand,
  },
  "list-tags": {
    summary: "List the tags of a repository",
    category: "images",
    load: async () => (await import("./commands/image-tags.ts")).imageTagsCommand,
  },
  login: {
    summary: "Log in to a registry",
    category: "images",
    load: async () => (await import("./commands/login.ts")).loginCommand,
  },
  logout: {
    summary: "Forget the login of a registry",
    category: "images",
    load: async () => (await import("./commands/logout.ts")).logoutCommand,
  },
  sync: {
    summary: "Copy all images of a repository, a directory or a list elsewhere",
    category: "images",
    load: async () => (await import("./commands/image-sync.ts")).imageSyncCommand,
  },
};

const MOVED = ["override-arch", "override-os", "override-variant"] as const;
/** Commands that choose an image of an index. */
const CHOOSERS = new Set(["copy", "inspect", "sync"]);

const skopeoFlags: FlagTable = {
  "command-timeout": { type: "duration", hidden: true, unsupported: true, help: "Time limit" },
  "override-arch": { type: "string", help: "Architecture" },
  "override-os": { type: "string", help: "Operating system" },
  "override-variant": { type: "string", help: "Variant" },
  policy: { type: "string", help: "Instead of /etc/containers/policy.json" },
  "registries.d": { type: "string", help: "No effect: signatures are looked for beside the image" },
  tmpdir: { type: "string", help: "No effect: nothing needs it" },
};

/** skopeo's own flags in front of the command as the ones berth and its commands have. Errors: as parseFlags. */
export function skopeoArgv(argv: readonly string[]): string[] {
  const { values, args, changed, help } = parseFlags({ ...globalFlags, ...skopeoFlags }, argv, {
    interspersed: false,
  });
  const written = (name: string): string[] =>
    [values[name]].flat().map((value) => `--${name}=${String(value)}`);
  const own = [...changed].filter((name) => Object.hasOwn(globalFlags, name)).flatMap(written);
  if (values["policy"] !== undefined) own.push(`--signature-policy=${String(values["policy"])}`);
  const [word, ...rest] = args;
  if (word === undefined) return help ? [...own, "--help"] : own;
  const moved = CHOOSERS.has(word) ? MOVED.filter((name) => changed.has(name)).flatMap(written) : [];
  return [...own, ...(help ? ["help"] : []), word, ...moved, ...rest];
}
