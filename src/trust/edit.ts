/** Changes to a policy file: one scope at a time, everything else as it was. */
import {
  fsyncSync,
  mkdirSync,
  openSync,
  closeSync,
  realpathSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { fail, ioText } from "../core/error.ts";
import { parsePolicy, type PolicyBytes } from "./policy.ts";

export interface ScopeChange {
  /** Of the transport "docker"; "default" for what no scope decides. */
  scope: string;
  /** In the file's own words; checked like the rest of the file before anything is written. */
  requirements: object[];
}

/** The new text. `before` undefined: there was no file, and what it does not name stays allowed. Errors: invalid-argument, from either text. */
export function changedPolicy(file: string, before: Uint8Array | undefined, change: ScopeChange): Uint8Array {
  const accept = { default: [{ type: "insecureAcceptAnything" }] };
  // What is broken is not mended by adding to it.
  if (before !== undefined) parsePolicy({ file, bytes: before });
  const policy = (before === undefined ? accept : JSON.parse(Buffer.from(before).toString())) as {
    default: object[];
    transports?: Record<string, Record<string, object[]>>;
  };
  if (change.scope === "default") policy.default = change.requirements;
  else {
    policy.transports ??= {};
    const docker = (policy.transports["docker"] ??= {});
    docker[change.scope] = change.requirements;
  }
  const bytes = Buffer.from(`${JSON.stringify(policy, null, 4)}\n`);
  parsePolicy({ file, bytes });
  return bytes;
}

/** Whole or not at all; through a link, to where it leads. Errors: permission-denied that names the file. */
export function writePolicy({ file, bytes }: PolicyBytes): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    const target = resolved(file);
    const aside = `${target}.${process.pid}.tmp`;
    try {
      const fd = openSync(aside, "wx", 0o644);
      try {
        writeSync(fd, bytes);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(aside, target);
    } catch (error) {
      rmSync(aside, { force: true });
      throw error;
    }
  } catch (error) {
    throw fail("permission-denied", `cannot write the policy "${file}": ${ioText(error)}`, {
      reason: "policy-file",
      cause: error,
    });
  }
}

function resolved(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    return file;
  }
}
