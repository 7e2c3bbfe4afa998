/** What the commands that make artifacts of files have in common. */
import type { ComposeRequest } from "../engine/artifact-compose.ts";
import type { FlagTable } from "./flags.ts";

/** How files become an artifact; `annotation` is each command's own, because podman and oras mean different things by it. */
export const composeFlags = {
  config: { type: "string", value: "FILE[:TYPE]", help: "A config for it, instead of the empty one" },
  "file-type": { type: "string", value: "TYPE", help: "Media type of the files that have none of their own" },
  type: {
    type: "string",
    value: "TYPE",
    aliases: ["artifact-type"],
    help: "Type of the artifact (a media type)",
  },
} as const satisfies FlagTable;

interface ComposeValues {
  config?: string | undefined;
  "file-type"?: string | undefined;
  type?: string | undefined;
}

export interface Annotations {
  manifest: Record<string, string>;
  files: Record<string, string>;
}

export function composeRequest(
  flags: ComposeValues,
  files: string[],
  annotations: Annotations,
): Omit<ComposeRequest, "subject"> {
  return {
    pack: { files, fileType: flags["file-type"], annotations: annotations.files },
    type: flags.type,
    config: flags.config,
    annotations: annotations.manifest,
  };
}

/** As podman prints digests of artifacts: the hexadecimal part alone. */
export function bare(digest: string): string {
  return digest.replace(/^[a-z0-9]+:/, "");
}
