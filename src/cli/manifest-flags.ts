/** Flags that say what an entry of a manifest list is for, and what they mean. */
import type { EntryChange } from "../engine/manifest-edit.ts";
import type { FlagTable, FlagValues } from "./flags.ts";

export const entryFlags = {
  annotation: { type: "list", value: "KEY=VALUE", help: "Annotation of the entry" },
  arch: { type: "string", value: "ARCH", help: "Architecture the entry is for" },
  features: { type: "csv", value: "FEATURE", help: "CPU features the entry needs" },
  index: { type: "bool", help: "--annotation is of the list itself" },
  os: { type: "string", value: "OS", help: "Operating system the entry is for" },
  "os-features": { type: "csv", value: "FEATURE", help: "Features of the operating system the entry needs" },
  "os-version": {
    type: "string",
    value: "VERSION",
    help: "Version of the operating system the entry is for",
  },
  variant: { type: "string", value: "VARIANT", help: "Variant of the architecture the entry is for" },
  // podman's for artifacts, and for what berth's artifact command does.
  subject: { type: "string", hidden: true, unsupported: true, help: "Subject" },
} as const satisfies FlagTable;

/** Absent members: nothing was said of them. Annotations that are the list's own are left to the caller. */
export function entryChange(flags: FlagValues<typeof entryFlags>): EntryChange {
  const change: EntryChange = {};
  if (flags.os !== undefined) change.os = flags.os;
  if (flags.arch !== undefined) change.architecture = flags.arch;
  if (flags.variant !== undefined) change.variant = flags.variant;
  if (flags["os-version"] !== undefined) change.osVersion = flags["os-version"];
  if (flags["os-features"].length > 0) change.osFeatures = flags["os-features"];
  if (flags.features.length > 0) change.features = flags.features;
  if (flags.annotation.length > 0 && !flags.index) change.annotations = annotationsOf(flags.annotation);
  return change;
}

/** "key=value", also without a value. */
export function annotationsOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      return at === -1 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** podman names lists, as images, without the algorithm. */
export function shownId(digest: string): string {
  return digest.replace(/^sha256:/, "");
}
