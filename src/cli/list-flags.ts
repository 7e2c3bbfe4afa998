/** Flags of the commands that print lists. */
import type { FlagTable } from "./flags.ts";

export const filterFlag = {
  filter: { type: "list", short: "f", value: "KEY=VALUE", help: "Only what this is true for" },
} as const satisfies FlagTable;

/** Without the letter, where -f is --force. */
export const plainFilterFlag = {
  filter: { type: "list", value: "KEY=VALUE", help: "Only what this is true for" },
} as const satisfies FlagTable;

export const formatFlag = {
  format: { type: "string", value: "FORMAT", help: '"json", "table TEMPLATE" or a Go template' },
} as const satisfies FlagTable;

export const objectFormatFlag = {
  format: { type: "string", short: "f", value: "FORMAT", help: '"json" or a Go template' },
} as const satisfies FlagTable;

export const noTruncFlag = {
  "no-trunc": { type: "bool", help: "Show everything in full" },
} as const satisfies FlagTable;

export const noHeadingFlag = {
  noheading: { type: "bool", help: "No heading" },
} as const satisfies FlagTable;

export const quietFlag = {
  quiet: { type: "bool", short: "q", help: "Print only IDs" },
} as const satisfies FlagTable;

export const forceFlag = {
  force: { type: "bool", short: "f", help: "Do not ask" },
} as const satisfies FlagTable;
