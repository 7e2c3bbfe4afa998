/** What `spawnUnpack` and its child say to each other: one JSON argument there, one line of JSON back. */
import type { TarLimits } from "../archive/archive.ts";
import type { Kind } from "../core/error-table.ts";

export interface UnpackJob {
  target: string;
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
