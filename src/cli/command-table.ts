/**
 * Every command by name. Only summaries live here: the command itself is loaded when called, so
 * that start-up costs no more than the command needs.
 */
import { artifact } from "./artifact-table.ts";
import { manifest } from "./manifest-table.ts";
import type { AnyCommand } from "./command.ts";
import { imageTrust } from "./trust-table.ts";

export type Category = "containers" | "images" | "networks" | "system";

export interface Entry {
  summary: string;
  category?: Category;
  aliases?: readonly string[];
  hidden?: boolean;
  load?: () => Promise<AnyCommand>;
  /** A group's own commands; then there is no `load`. */
  commands?: EntryTable;
}

export type EntryTable = Readonly<Record<string, Entry>>;

const containerVerbs: EntryTable = {
  attach: {
    summary: "Join the terminal or streams of a running container",
    load: async () => (await import("./commands/attach.ts")).attachCommand,
  },
  commit: {
    summary: "Make an image from a container's changes",
    load: async () => (await import("./commands/commit.ts")).commitCommand,
  },
  cp: {
    summary: "Copy files between a container and the host",
    load: async () => (await import("./commands/cp.ts")).cpCommand,
  },
  create: {
    summary: "Create a container without starting it",
    load: async () => (await import("./commands/create.ts")).createCommand,
  },
  diff: {
    summary: "Show what changed in a container's or image's files",
    load: async () => (await import("./commands/diff.ts")).diffCommand,
  },
  exec: {
    summary: "Run another command in a running container",
    load: async () => (await import("./commands/exec.ts")).execCommand,
  },
  export: {
    summary: "Write a container's files as a tar archive",
    load: async () => (await import("./commands/export.ts")).exportCommand,
  },
  kill: {
    summary: "Send a signal to running containers",
    load: async () => (await import("./commands/kill.ts")).killCommand,
  },
  logs: {
    summary: "Show what a container has printed",
    load: async () => (await import("./commands/logs.ts")).logsCommand,
  },
  pause: {
    summary: "Freeze all processes of containers",
    load: async () => (await import("./commands/pause.ts")).pauseCommand,
  },
  port: {
    summary: "List the published ports of a container",
    load: async () => (await import("./commands/port.ts")).portCommand,
  },
  rename: {
    summary: "Give a container another name",
    load: async () => (await import("./commands/rename.ts")).renameCommand,
  },
  restart: {
    summary: "Stop and start containers",
    load: async () => (await import("./commands/restart.ts")).restartCommand,
  },
  rm: {
    summary: "Remove containers",
    aliases: ["remove"],
    load: async () => (await import("./commands/rm.ts")).rmCommand,
  },
  run: {
    summary: "Create a container and start it",
    load: async () => (await import("./commands/run.ts")).runCommand,
  },
  start: {
    summary: "Start containers that are not running",
    load: async () => (await import("./commands/start.ts")).startCommand,
  },
  stats: {
    summary: "Show what containers use of the machine, live",
    load: async () => (await import("./commands/stats.ts")).statsCommand,
  },
  stop: {
    summary: "Stop running containers",
    load: async () => (await import("./commands/stop.ts")).stopCommand,
  },
  top: {
    summary: "List the processes of a container",
    load: async () => (await import("./commands/top.ts")).topCommand,
  },
  unpause: {
    summary: "Let frozen containers go on",
    load: async () => (await import("./commands/pause.ts")).unpauseCommand,
  },
  wait: {
    summary: "Wait for containers to end and print their exit codes",
    load: async () => (await import("./commands/wait.ts")).waitCommand,
  },
};

const ps: Entry = {
  summary: "List containers",
  aliases: ["ls", "list"],
  category: "containers",
  load: async () => (await import("./commands/ps.ts")).psCommand,
};

const images: Entry = {
  summary: "List images",
  category: "images",
  load: async () => (await import("./commands/images.ts")).imagesCommand,
};

const imageVerbs: EntryTable = {
  copy: {
    summary: "Copy an image between registries, the store, layouts, archives and directories",
    load: async () => (await import("./commands/copy.ts")).copyCommand,
  },
  history: {
    summary: "Show the steps an image was made of",
    load: async () => (await import("./commands/history.ts")).historyCommand,
  },
  import: {
    summary: "Make an image from a root file system archive",
    load: async () => (await import("./commands/import.ts")).importCommand,
  },
  load: {
    summary: "Load images from an archive or an OCI layout",
    load: async () => (await import("./commands/load.ts")).loadCommand,
  },
  pull: {
    summary: "Fetch images from a registry",
    load: async () => (await import("./commands/pull.ts")).pullCommand,
  },
  push: {
    summary: "Send an image to a registry",
    load: async () => (await import("./commands/push.ts")).pushCommand,
  },
  save: {
    summary: "Write images to an archive",
    load: async () => (await import("./commands/save.ts")).saveCommand,
  },
  tag: {
    summary: "Give an image another name",
    load: async () => (await import("./commands/tag.ts")).tagCommand,
  },
  untag: {
    summary: "Take names away from an image",
    load: async () => (await import("./commands/tag.ts")).untagCommand,
  },
};

const registryVerbs: EntryTable = {
  login: {
    summary: "Log into a registry",
    load: async () => (await import("./commands/login.ts")).loginCommand,
  },
  logout: {
    summary: "Forget the login of a registry",
    load: async () => (await import("./commands/logout.ts")).logoutCommand,
  },
  search: {
    summary: "Look for images on registries",
    load: async () => (await import("./commands/search.ts")).searchCommand,
  },
};

const rmi: Entry = {
  summary: "Remove images",
  load: async () => (await import("./commands/rmi.ts")).rmiCommand,
};

const container: Entry = {
  summary: "Everything about containers",
  category: "containers",
  commands: {
    ...containerVerbs,
    cleanup: {
      summary: "Undo what a stopped container still holds",
      load: async () => (await import("./commands/container-cleanup.ts")).containerCleanupCommand,
    },
    exists: {
      summary: "Tell by the exit code whether a container exists",
      load: async () => (await import("./commands/exists.ts")).containerExistsCommand,
    },
    inspect: {
      summary: "Show containers in full",
      load: async () => (await import("./commands/inspect.ts")).containerInspectCommand,
    },
    ls: { ...ps, aliases: ["ps", "list"] },
    prune: {
      summary: "Remove all stopped containers",
      load: async () => (await import("./commands/container-prune.ts")).containerPruneCommand,
    },
  },
};

const image: Entry = {
  summary: "Everything about images",
  category: "images",
  commands: {
    ...imageVerbs,
    diff: containerVerbs["diff"] as Entry,
    exists: {
      summary: "Tell by the exit code whether an image exists",
      load: async () => (await import("./commands/exists.ts")).imageExistsCommand,
    },
    inspect: {
      summary: "Show images in full",
      load: async () => (await import("./commands/inspect.ts")).imageInspectCommand,
    },
    ls: { ...images, aliases: ["list"] },
    mount: {
      summary: "Mount images read-only, or list what is mounted",
      load: async () => (await import("./commands/image-mount.ts")).imageMountCommand,
    },
    prune: {
      summary: "Remove images nobody uses",
      load: async () => (await import("./commands/image-prune.ts")).imagePruneCommand,
    },
    rm: { ...rmi, aliases: ["remove"] },
    sync: {
      summary: "Copy all images of a repository, a directory or a list elsewhere",
      load: async () => (await import("./commands/image-sync.ts")).imageSyncCommand,
    },
    tags: {
      summary: "List the tags of a repository on its registry",
      load: async () => (await import("./commands/image-tags.ts")).imageTagsCommand,
    },
    search: registryVerbs["search"] as Entry,
    tree: {
      summary: "Show the layers of an image as a tree",
      load: async () => (await import("./commands/image-tree.ts")).imageTreeCommand,
    },
    trust: imageTrust,
    unmount: {
      summary: "Undo the mounts of images",
      aliases: ["umount"],
      load: async () => (await import("./commands/image-mount.ts")).imageUnmountCommand,
    },
  },
};

const network: Entry = {
  summary: "Everything about networks",
  category: "networks",
  commands: {
    exists: {
      summary: "Tell by the exit code whether a network exists",
      load: async () => (await import("./commands/exists.ts")).networkExistsCommand,
    },
    inspect: {
      summary: "Show networks in full",
      load: async () => (await import("./commands/inspect.ts")).networkInspectCommand,
    },
    ls: {
      summary: "List networks",
      aliases: ["list"],
      load: async () => (await import("./commands/network-ls.ts")).networkLsCommand,
    },
  },
};

const info: Entry = {
  summary: "Show the host, the store and the programs berth uses",
  category: "system",
  load: async () => (await import("./commands/info.ts")).infoCommand,
};

const events: Entry = {
  summary: "Show what happens in the engine",
  category: "system",
  load: async () => (await import("./commands/events.ts")).eventsCommand,
};

const system: Entry = {
  summary: "Care of the store",
  category: "system",
  commands: {
    check: {
      summary: "Look for damage and leftovers in the store",
      load: async () => (await import("./commands/system-check.ts")).systemCheckCommand,
    },
    df: {
      summary: "Show what takes space on disk",
      load: async () => (await import("./commands/system-df.ts")).systemDfCommand,
    },
    events,
    info,
    prune: {
      summary: "Remove everything that is not in use",
      load: async () => (await import("./commands/system-prune.ts")).systemPruneCommand,
    },
    reset: {
      summary: "Remove everything of the store",
      load: async () => (await import("./commands/system-reset.ts")).systemResetCommand,
    },
  },
};

function inCategory(category: Category, table: EntryTable): EntryTable {
  return Object.fromEntries(Object.entries(table).map(([name, entry]) => [name, { ...entry, category }]));
}

export const commandTable: EntryTable = {
  ...inCategory("containers", containerVerbs),
  ps,
  container,
  ...inCategory("images", imageVerbs),
  ...inCategory("images", registryVerbs),
  images,
  rmi: { ...rmi, category: "images" },
  image,
  artifact,
  manifest,
  network,
  completion: {
    summary: "Print a completion script for a shell",
    category: "system",
    load: async () => (await import("./commands/completion.ts")).completionCommand,
  },
  events,
  info,
  inspect: {
    summary: "Show containers, images or networks in full",
    category: "system",
    load: async () => (await import("./commands/inspect.ts")).inspectCommand,
  },
  system,
  version: {
    summary: "Show the version",
    category: "system",
    load: async () => (await import("./commands/version.ts")).versionCommand,
  },
  __complete: {
    summary: "Answer a shell's question",
    hidden: true,
    load: async () => (await import("./commands/complete.ts")).completeCommand,
  },
};

/** The entry by its name or one of its aliases. */
export function findEntry(table: EntryTable, word: string): { name: string; entry: Entry } | undefined {
  if (Object.hasOwn(table, word)) return { name: word, entry: table[word] as Entry };
  for (const [name, entry] of Object.entries(table))
    if (entry.aliases?.includes(word) === true) return { name, entry };
  return undefined;
}

/** Where a command is documented: `container run` is `run`. */
export function canonicalPath(path: readonly string[], entry: Entry): string[] {
  const name = path.at(-1) as string;
  const same = (candidate: Entry | undefined): boolean =>
    entry.load !== undefined && candidate?.load === entry.load;
  if (same(commandTable[name])) return [name];
  const other = Object.entries(commandTable).find(([, candidate]) => same(candidate));
  return other === undefined ? [...path] : [other[0]];
}
