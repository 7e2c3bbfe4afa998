/**
 * Image configs (image-spec config.md; Docker's extensions Healthcheck, OnBuild, Shell are kept).
 * Every optional field may be null. `rootfs.type` must be "layers"; the history may not speak of more
 * layers than there are.
 */
import { parseDigest } from "./digest.ts";
import {
  asObject,
  defined,
  invalid,
  type JsonObject,
  optionalList,
  optionalNumber,
  optionalObject,
  optionalString,
  optionalStringMap,
  optionalStrings,
  parseDocument,
} from "./document.ts";
import type { ContainerConfig, Digest, Healthcheck, HistoryEntry, ImageConfig } from "./image.ts";
import { hostPlatform } from "./platform.ts";

/** Bytes; far above any real config and small enough to hold. */
export const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

const WHAT = "image config";

/** Errors: invalid-argument, resource-exhausted. Missing os and architecture are read as this host's, as Docker does. */
export function parseConfig(bytes: Uint8Array): ImageConfig {
  const { fields } = parseDocument(WHAT, bytes, MAX_CONFIG_BYTES);
  const text = (key: string) => optionalString(WHAT, key, fields[key]);
  const host = hostPlatform();
  const diffIds = diffIdsOf(fields["rootfs"]);
  const history = (optionalList(WHAT, "history", fields["history"]) ?? []).map(historyEntry);
  const named = history.filter((entry) => entry.empty_layer !== true).length;
  if (named > diffIds.length) {
    throw invalid(WHAT, `the history names ${named} layers but rootfs has ${diffIds.length}`);
  }
  return defined<ImageConfig>({
    created: text("created"),
    author: text("author"),
    architecture: text("architecture") || host.architecture,
    os: text("os") || host.os,
    variant: text("variant") || undefined,
    "os.version": text("os.version"),
    config: containerConfig(optionalObject(WHAT, "config", fields["config"]) ?? {}),
    rootfs: { type: "layers", diff_ids: diffIds },
    history,
  });
}

function diffIdsOf(value: unknown): Digest[] {
  const rootfs = asObject(WHAT, "rootfs", value);
  if (rootfs["type"] !== "layers") throw invalid(WHAT, 'rootfs.type is not "layers"');
  return (optionalStrings(WHAT, "rootfs.diff_ids", rootfs["diff_ids"]) ?? []).map(parseDigest);
}

function historyEntry(value: unknown, i: number): HistoryEntry {
  const field = `history[${i}]`;
  const entry = asObject(WHAT, field, value);
  const text = (key: string) => optionalString(WHAT, `${field}.${key}`, entry[key]);
  return defined<HistoryEntry>({
    created: text("created"),
    created_by: text("created_by"),
    author: text("author"),
    comment: text("comment"),
    empty_layer: entry["empty_layer"] === true ? true : undefined,
  });
}

function containerConfig(fields: JsonObject): ContainerConfig {
  const text = (key: string) => optionalString(WHAT, `config.${key}`, fields[key]) || undefined;
  const list = (key: string) => optionalStrings(WHAT, `config.${key}`, fields[key]);
  const set = (key: string) => objectSet(`config.${key}`, fields[key]);
  return defined<ContainerConfig>({
    User: text("User"),
    ExposedPorts: set("ExposedPorts"),
    Env: list("Env"),
    Entrypoint: command("Entrypoint", fields["Entrypoint"]),
    Cmd: command("Cmd", fields["Cmd"]),
    Volumes: set("Volumes"),
    WorkingDir: text("WorkingDir"),
    Labels: optionalStringMap(WHAT, "config.Labels", fields["Labels"]),
    StopSignal: text("StopSignal"),
    Healthcheck: healthcheck(fields["Healthcheck"]),
    Shell: list("Shell"),
    OnBuild: list("OnBuild"),
  });
}

/** Old Docker wrote a lone string for an argv of one. */
function command(key: string, value: unknown): string[] | undefined {
  return typeof value === "string" ? [value] : optionalStrings(WHAT, `config.${key}`, value);
}

/** A Go set: the keys matter, the values are `{}` or null. */
function objectSet(field: string, value: unknown): Record<string, object> | undefined {
  const fields = optionalObject(WHAT, field, value);
  if (fields === undefined) return undefined;
  const set = Object.create(null) as Record<string, object>;
  for (const key of Object.keys(fields)) set[key] = {};
  return set;
}

function healthcheck(value: unknown): Healthcheck | undefined {
  const fields = optionalObject(WHAT, "config.Healthcheck", value);
  if (fields === undefined) return undefined;
  const number = (key: string) => optionalNumber(WHAT, `config.Healthcheck.${key}`, fields[key]);
  return defined<Healthcheck>({
    Test: optionalStrings(WHAT, "config.Healthcheck.Test", fields["Test"]),
    Interval: number("Interval"),
    Timeout: number("Timeout"),
    StartPeriod: number("StartPeriod"),
    StartInterval: number("StartInterval"),
    Retries: number("Retries"),
  });
}
