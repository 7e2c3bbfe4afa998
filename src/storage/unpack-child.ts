/**
 * The sandboxed child that unpacks one archive: compressed bytes on stdin, one line of JSON on stdout.
 *
 * Started by `spawnUnpack` (unpack.ts) as our own program with a hidden verb and the request as its last argument.
 */
import { readSync, writeSync } from "node:fs";
import type { TarSink } from "../archive/archive.ts";
import { decompress } from "../archive/compress.ts";
import { createDigester } from "../archive/digest.ts";
import { TarReader } from "../archive/tar-reader.ts";
import { kindOf, EngineError, messageOf } from "../core/error.ts";
import { linux } from "../sys/linux.ts";
import { Rooted } from "../sys/rooted.ts";
import type { UnpackJob, UnpackReply } from "./unpack-protocol.ts";
import { Extractor } from "./unpack-extract.ts";
import { checkLinks, harmless } from "./unpack-harmless.ts";
import { enterSandbox } from "./unpack-sandbox.ts";
import { keyOf, UnpackTree } from "./unpack-tree.ts";

const READ_SIZE = 256 * 1024;

// Blocking reads: there is nothing else to do while no bytes come, and inflating has its own thread.
async function* stdin(): AsyncGenerator<Uint8Array> {
  for (;;) {
    const buffer = Buffer.allocUnsafeSlow(READ_SIZE);
    const length = readSync(0, buffer, 0, READ_SIZE, null);
    if (length === 0) return;
    yield buffer.subarray(0, length);
  }
}

async function unpack(job: UnpackJob): Promise<UnpackReply> {
  enterSandbox(job.target);
  using root = Rooted.open(linux, "/");
  using tree = new UnpackTree(linux, root, job.overlayXattr);
  using extractor = new Extractor(linux, tree, {
    mode: job.mode,
    unprivileged: job.overlayXattr === "user",
    inside: job.inside,
    above: job.above,
  });
  if (job.above === "prepared") tree.adopt();
  const sink = owned(extractor, job.owner);
  const reader = new TarReader(job.harmless === true ? harmless(sink) : sink, job.limits);
  const digester = createDigester();
  for await (const chunk of decompress(stdin())) {
    digester.update(chunk);
    reader.write(chunk);
  }
  reader.end();
  extractor.finish();
  if (job.harmless === true) checkLinks(linux, root);
  return {
    diffId: digester.digest(),
    size: extractor.size,
    entries: reader.entries,
    implied: tree.implied.map(keyOf),
    missing: extractor.missing.map(keyOf),
    warnings: extractor.warnings,
  };
}

/** The sink with every entry given to the owner. */
function owned(sink: TarSink, owner: UnpackJob["owner"]): TarSink {
  if (owner === undefined) return sink;
  return {
    entry: (entry) => sink.entry({ ...entry, ...owner }),
    data: (chunk, offset) => sink.data(chunk, offset),
    endEntry: () => sink.endEntry(),
  };
}

function replyOf(error: unknown): UnpackReply {
  const { reason, hint, data } =
    error instanceof EngineError ? error : { reason: "internal", hint: undefined, data: {} };
  const message = messageOf(error);
  return { error: { kind: kindOf(error), reason, message, data, ...(hint === undefined ? {} : { hint }) } };
}

/** Never returns: the process is this job's alone. */
export async function runUnpackChild(): Promise<never> {
  let reply: UnpackReply;
  try {
    reply = await unpack(JSON.parse(process.argv.at(-1) as string) as UnpackJob);
  } catch (error) {
    reply = replyOf(error);
  }
  writeSync(1, `${JSON.stringify(reply)}\n`);
  process.exit("error" in reply ? 1 : 0);
}
