/** How `run`, `start`, `exec` and `attach` join their own streams to a container's. */
import { fail } from "../core/error.ts";
import type { AttachIo } from "../runtime/attach.ts";
import { isTerminal } from "./terminal.ts";
import type { Invocation } from "./command.ts";
import type { FlagTable } from "./flags.ts";

export const attachFlags = {
  "detach-keys": {
    type: "string",
    value: "KEYS",
    default: "ctrl-p,ctrl-q",
    help: "Keys that leave the container without stopping it",
  },
  "sig-proxy": { type: "bool", default: true, help: "Pass signals we get to the container" },
} as const satisfies FlagTable;

const STREAMS = ["stdin", "stdout", "stderr"];

export interface AttachRequest {
  interactive: boolean;
  tty: boolean;
  detachKeys: string;
  sigProxy: boolean;
  /** `-a`; empty means output, and input where it is interactive. */
  only?: readonly string[];
}

/** Errors: invalid-argument for a stream nobody knows. */
export function attachIo(request: AttachRequest): AttachIo {
  const only = (request.only ?? []).map((name) => name.toLowerCase());
  for (const name of only) {
    if (!STREAMS.includes(name)) {
      throw fail("invalid-argument", `invalid stream "${name}" for --attach`, {
        hint: "choose stdin, stdout or stderr",
      });
    }
  }
  const wants = (name: string): boolean => only.length === 0 || only.includes(name);
  return {
    stdin: request.interactive && wants("stdin"),
    stdout: wants("stdout"),
    stderr: wants("stderr"),
    terminal: request.tty,
    detachKeys: request.detachKeys,
    // A terminal in raw mode sends Ctrl-C as a byte: what comes as a signal then is for us as well.
    sigProxy: request.sigProxy,
  };
}

/** docker refuses a terminal where stdin is none; podman says so and goes on. */
export function checkTerminal(
  invocation: Pick<Invocation, "out" | "personality">,
  interactive: boolean,
  tty: boolean,
): void {
  if (!tty || !interactive || isTerminal(0)) return;
  if (invocation.personality.docker) throw fail("invalid-argument", "the input device is not a TTY");
  invocation.out.error(
    "warning: the input device is not a terminal: --tty with --interactive may not work as expected",
  );
}
