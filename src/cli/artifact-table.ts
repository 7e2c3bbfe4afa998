/** The group `artifact` of the command table. */
import type { Entry } from "./command-table.ts";

export const artifact: Entry = {
  summary: "Everything about artifacts",
  category: "images",
  commands: {
    add: {
      summary: "Make an artifact of files",
      load: async () => (await import("./commands/artifact-add.ts")).artifactAddCommand,
    },
    attach: {
      summary: "Attach files to an image or artifact",
      load: async () => (await import("./commands/artifact-attach.ts")).artifactAttachCommand,
    },
    extract: {
      summary: "Write the files of an artifact into a directory",
      load: async () => (await import("./commands/artifact-extract.ts")).artifactExtractCommand,
    },
    inspect: {
      summary: "Show an artifact in full",
      load: async () => (await import("./commands/artifact-inspect.ts")).artifactInspectCommand,
    },
    ls: {
      summary: "List artifacts",
      aliases: ["list"],
      load: async () => (await import("./commands/artifact-ls.ts")).artifactLsCommand,
    },
    pull: {
      summary: "Fetch an artifact from a registry",
      load: async () => (await import("./commands/artifact-pull.ts")).artifactPullCommand,
    },
    push: {
      summary: "Send an artifact to a registry",
      load: async () => (await import("./commands/artifact-push.ts")).artifactPushCommand,
    },
    referrers: {
      summary: "Show what is attached to an image or artifact",
      load: async () => (await import("./commands/artifact-referrers.ts")).artifactReferrersCommand,
    },
    rm: {
      summary: "Remove artifacts",
      aliases: ["remove"],
      load: async () => (await import("./commands/artifact-rm.ts")).artifactRmCommand,
    },
  },
};
