/** The group `manifest` of the command table. */
import type { Entry } from "./command-table.ts";

export const manifest: Entry = {
  summary: "Everything about manifest lists: images for several platforms under one name",
  category: "images",
  commands: {
    add: {
      summary: "Add images to a manifest list",
      load: async () => (await import("./commands/manifest-add.ts")).manifestAddCommand,
    },
    annotate: {
      summary: "Say more of an entry of a manifest list",
      load: async () => (await import("./commands/manifest-annotate.ts")).manifestAnnotateCommand,
    },
    create: {
      summary: "Create a manifest list",
      load: async () => (await import("./commands/manifest-create.ts")).manifestCreateCommand,
    },
    exists: {
      summary: "Tell by the exit code whether a manifest list exists",
      load: async () => (await import("./commands/exists.ts")).manifestExistsCommand,
    },
    inspect: {
      summary: "Show a manifest list, here or on a registry",
      load: async () => (await import("./commands/manifest-inspect.ts")).manifestInspectCommand,
    },
    push: {
      summary: "Send a manifest list with its images to a registry or another place",
      load: async () => (await import("./commands/manifest-push.ts")).manifestPushCommand,
    },
    remove: {
      summary: "Remove entries from a manifest list",
      load: async () => (await import("./commands/manifest-remove.ts")).manifestRemoveCommand,
    },
    rm: {
      summary: "Remove manifest lists from the store",
      load: async () => (await import("./commands/manifest-rm.ts")).manifestRmCommand,
    },
  },
};
