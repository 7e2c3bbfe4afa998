/** Docker credential helpers: `docker-credential-NAME get`, the server on stdin, JSON on stdout. */
import { fail } from "../core/error.ts";
import type { Credentials } from "./registry.ts";

/** Undefined if the helper knows nothing of the server. Errors: unauthenticated naming the helper, never its output. */
export function askHelper(name: string, server: string): Credentials | undefined {
  if (!/^[A-Za-z0-9._-]+$/.test(name)) {
    throw fail("invalid-argument", `"${name}" is not the name of a credential helper`, {
      reason: "credential-helper",
    });
  }
  const program = `docker-credential-${name}`;
  let output: string;
  let exitCode: number | null;
  try {
    const run = Bun.spawnSync([program, "get"], {
      stdin: Buffer.from(server),
      stderr: "pipe",
      timeout: 30_000,
    });
    output = run.stdout.toString();
    exitCode = run.exitCode;
  } catch (error) {
    throw fail("unauthenticated", `credential helper "${program}" cannot be run`, {
      reason: "credential-helper",
      hint: `install "${program}" or take it out of the credentials file`,
      cause: error,
    });
  }
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
