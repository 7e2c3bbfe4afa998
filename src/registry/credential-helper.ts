/**
 * Docker credential helpers: programs `docker-credential-NAME` with the verbs get, store, erase and list. What they need comes on
 * stdin and what they know on stdout, so that no secret is ever in an argument. Errors name the helper, never its output.
 */
import type { Ctx } from "../core/ctx.ts";
import { type EngineError, fail, messageOf } from "../core/error.ts";
import { run, type RunResult } from "../sys/spawn.ts";
import type { Credentials } from "./registry.ts";

/** A helper may open a window and wait for a person. */
const PATIENCE_MS = 60_000;

/** Undefined if the helper knows nothing of the server. Errors: unauthenticated. */
export function askHelper(ctx: Ctx, name: string, server: string): Credentials | undefined {
  const answer = call(ctx, name, { verb: "get", input: server });
  if (isUnknown(answer)) return undefined;
  check(name, server, answer);
  const { Username: username, Secret: password } = parse(name, answer);
  if (typeof username !== "string" || typeof password !== "string") throw unreadable(name);
  return { username, password };
}

/** Errors: unauthenticated. */
export function tellHelper(ctx: Ctx, name: string, request: Credentials & { server: string }): void {
  const { server, username, password } = request;
  const input = JSON.stringify({ ServerURL: server, Username: username, Secret: password });
  check(name, server, call(ctx, name, { verb: "store", input }));
}

/** False if it knew nothing of the server. Errors: unauthenticated. */
export function makeHelperForget(ctx: Ctx, name: string, server: string): boolean {
  // Some helpers take an erase of what they do not have for a success.
  if (isUnknown(call(ctx, name, { verb: "get", input: server }))) return false;
  const answer = call(ctx, name, { verb: "erase", input: server });
  if (isUnknown(answer)) return false;
  check(name, server, answer);
  return true;
}

/** Servers it has credentials for, with their user names. Errors: unauthenticated. */
export function listHelper(ctx: Ctx, name: string): Map<string, string> {
  const answer = call(ctx, name, { verb: "list", input: "" });
  check(name, "all servers", answer);
  const entries = Object.entries(parse(name, answer));
  return new Map(entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

function programOf(name: string): string {
  if (/^[A-Za-z0-9._-]+$/.test(name)) return `docker-credential-${name}`;
  throw fail("invalid-argument", `"${name}" is not the name of a credential helper`, {
    reason: "credential-helper",
  });
}

function call(ctx: Ctx, name: string, { verb, input }: { verb: string; input: string }): RunResult {
  const program = programOf(name);
  try {
    return run(ctx, [program, verb], { stdin: input, timeoutMs: PATIENCE_MS, maxOutput: 1024 * 1024 });
  } catch (error) {
    throw fail("unauthenticated", `credential helper "${program}" cannot be run: ${messageOf(error)}`, {
      reason: "credential-helper",
      hint: `install "${program}" or take it out of the credentials file`,
      cause: error,
    });
  }
}

function isUnknown({ exitCode, stdout }: RunResult): boolean {
  return exitCode !== 0 && /credentials not found/i.test(stdout);
}

function check(name: string, server: string, { exitCode }: RunResult): void {
  if (exitCode === 0) return;
  const program = programOf(name);
  throw fail(
    "unauthenticated",
    `credential helper "${program}" failed for "${server}" (status ${exitCode})`,
    { reason: "credential-helper" },
  );
}

function parse(name: string, { stdout }: RunResult): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(stdout.trim() === "" ? "{}" : stdout);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Reported without the text, which may hold a secret.
  }
  throw unreadable(name);
}

function unreadable(name: string): EngineError {
  const program = programOf(name);
  return fail("unauthenticated", `credential helper "${program}" gave an answer that cannot be read`, {
    reason: "credential-helper",
  });
}
