/**
 * The one error class of the engine (DESIGN §5).
 *
 * `kind` is for programs and decides the exit code, the HTTP status and the gRPC code through
 * `error-table.ts`; `reason` is a stable identifier for tests and scripts; `message` is for
 * people: lower case, no full stop, the object in quotes, never a secret. `hint` says what to do
 * next. A failed undo is attached as an entry of `undoErrors`, never thrown in place of the first.
 */
import type { Kind } from "./error-table.ts";

export interface ErrorFacts {
  reason?: string;
  hint?: string;
  data?: Record<string, unknown>;
  cause?: unknown;
}

export class EngineError extends Error {
  readonly kind: Kind;
  readonly reason: string;
  readonly hint: string | undefined;
  readonly data: Record<string, unknown>;
  readonly undoErrors: unknown[] = [];

  constructor(kind: Kind, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = "EngineError";
    this.kind = kind;
    this.reason = facts.reason ?? kind;
    this.hint = facts.hint;
    this.data = facts.data ?? {};
  }
}

/** Short form used at every throw site: `throw fail("not-found", 'no such container "x"')`. */
export function fail(kind: Kind, message: string, facts?: ErrorFacts): EngineError {
  return new EngineError(kind, message, facts);
}

/** The kind of anything that was thrown; what is not ours is a bug and therefore `internal`. */
export function kindOf(error: unknown): Kind {
  return error instanceof EngineError ? error.kind : "internal";
}

/** One line for people, whatever was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof SuppressedError) return messageOf(error.suppressed);
  return error instanceof Error ? error.message : String(error);
}

/** Of a failed system call only what went wrong ("no such file or directory"), without the code, call and path around it. */
export function ioText(error: unknown): string {
  const text = messageOf(error);
  return /^E[A-Z0-9]+: (.+?), [a-z_]+(?: '.*)?$/s.exec(text)?.[1] ?? text;
}

/** True for an {@link EngineError} of this kind. */
export function isKind(error: unknown, kind: Kind): error is EngineError {
  return error instanceof EngineError && error.kind === kind;
}
