/** Docker credential helpers: `docker-credential-NAME get`, the server on stdin, JSON on stdout. */
import type { Ctx } from "../core/ctx.ts";
import { fail, messageOf } from "../core/error.ts";
import { run } from "../sys/spawn.ts";
import type { Credentials } from "./registry.ts";

/** Undefined if the helper knows nothing of the server. Errors: unauthenticated naming the helper, never its output. */
export function askHelper(ctx: Ctx, name: string, server: string): Credentials | undefined {
  if (!/^[A-Za-z0-9._-]+$/.test(name)) {
    throw fail("invalid-argument", `"${name}" is not the name of a credential helper`, {
      reason: "credential-helper",
    });
  }
  const program = `docker-credential-${name}`;
  let answer: { stdout: string; exitCode: number };
  try {
    answer = run(ctx, [program, "get"], { stdin: server, timeoutMs: 30_000, maxOutput: 1024 * 1024 });
  } catch (error) {
    throw fail("unauthenticated", `credential helper "${program}" cannot be run: ${messageOf(error)}`, {
      reason: "credential-helper",
      hint: `install "${program}" or take it out of the credentials file`,
      cause: error,
    });
  }
  const { stdout: output, exitCode } = answer;
  if (exitCode !== 0) {
    if (/credentials not found/i.test(output)) return undefined;
    throw fail(
      "unauthenticated",
      `credential helper "${program}" failed for "${server}" (status ${exitCode})`,
      {
        reason: "credential-helper",
      },
    );
  }
  return answerOf(program, output);
}

function answerOf(program: string, output: string): Credentials {
  try {
    const answer = JSON.parse(output) as Record<string, unknown>;
    const { Username: username, Secret: password } = answer;
    if (typeof username === "string" && typeof password === "string") return { username, password };
  } catch {
    // Reported below without the text, which may hold a secret.
  }
  throw fail("unauthenticated", `credential helper "${program}" gave an answer that cannot be read`, {
    reason: "credential-helper",
  });
}
