/** The group `image trust` of the command table. */
import type { Entry } from "./command-table.ts";

export const imageTrust: Entry = {
  summary: "Which images may be used",
  category: "images",
  commands: {
    set: {
      summary: "Change what images of a registry must be to be used",
      load: async () => (await import("./commands/image-trust.ts")).imageTrustSetCommand,
    },
    show: {
      summary: "Show the policy",
      load: async () => (await import("./commands/image-trust.ts")).imageTrustShowCommand,
    },
  },
};
