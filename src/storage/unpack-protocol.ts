/**
 * What an unpacker and its owner say to each other. There: one message of JSON a job over the socket that is the unpacker's standard input,
 * with two descriptors, the directory and the pipe that the archive comes through. Back: one line of JSON a job.
 */
import type { TarLimits } from "../archive/archive.ts";
import type { Kind } from "../core/error-table.ts";

export interface UnpackJob {
  overlayXattr: "trusted" | "user";
  mode: "layer" | "plain";
  /** Directory within the target that names are relative to; resolved inside the target. */
  inside?: string | undefined;
  limits?: Partial<TarLimits> | undefined;
  owner?: { uid: number; gid: number } | undefined;
  above?: "first" | "prepared" | undefined;
  harmless?: boolean | undefined;
}

export interface UnpackDone {
  diffId: string;
  size: number;
  entries: number;
  /** Paths as latin1 text, so that every byte survives JSON. */
  implied: string[];
  missing: string[];
  warnings: string[];
}

export interface UnpackFailed {
  error: { kind: Kind; reason: string; message: string; hint?: string; data: Record<string, unknown> };
}

export type UnpackReply = UnpackDone | UnpackFailed;
