/** Compressions that only programs of the host can undo. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { spawn } from "../sys/spawn.ts";

/** The source through a program that reads standard input and writes standard output. Errors: data-loss, not-found naming the program's package, and those of the source. */
export async function* throughProgram(
  ctx: Ctx,
  argv: string[],
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const child = spawn(ctx, argv, { stdio: ["pipe", "pipe", "pipe"], signal: ctx.signal });
  const complaint = new Response(child.stderr).text();
  const feeding = feed(child.stdin as Bun.FileSink, source);
  let isComplete = false;
  try {
    for await (const chunk of child.stdout as ReadableStream<Uint8Array>) yield chunk;
    isComplete = true;
  } finally {
    if (!isComplete) child.kill(9);
  }
  const { exitCode } = await child.exited;
  const sourceError = await feeding;
  if (sourceError !== undefined) throw sourceError.error;
  if (exitCode === 0) return;
  const said = (await complaint)
    .trim()
    .replace(/\p{Cc}+/gu, " ")
    .slice(0, 300);
  throw fail("data-loss", `cannot decompress the archive: ${said === "" ? `${argv[0]} failed` : said}`, {
    reason: "corrupt",
  });
}

/** What the source threw. A program that stops reading is found by its exit code. */
async function feed(
  sink: Bun.FileSink,
  source: AsyncIterable<Uint8Array>,
): Promise<{ error: unknown } | undefined> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next;
      try {
        next = await iterator.next();
      } catch (error) {
        return { error };
      }
      if (next.done === true) return undefined;
      await sink.write(next.value);
      await sink.flush();
    }
  } catch {
    await iterator.return?.();
    return undefined;
  } finally {
    await Promise.resolve(sink.end()).catch(() => {});
  }
}
