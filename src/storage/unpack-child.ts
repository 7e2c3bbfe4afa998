/**
 * The sandboxed child that unpacks archives, one after the other: see unpack-protocol.ts.
 *
 * Started by unpacker.ts as our own program with a hidden verb.
 */
import { readSync, writeSync } from "node:fs";
import type { TarSink } from "../archive/archive.ts";
import { createDigester } from "../archive/digest.ts";
import { inflate, InflateBuffers, type ReadInto } from "../archive/inflate.ts";
import { TarReader } from "../archive/tar-reader.ts";
import { kindOf, EngineError, messageOf } from "../core/error.ts";
import { linux } from "../sys/linux.ts";
import { Rooted } from "../sys/rooted.ts";
import type { Fd } from "../sys/sys.ts";
import type { UnpackJob, UnpackReply } from "./unpack-protocol.ts";
import { Extractor } from "./unpack-extract.ts";
import { checkLinks, harmless } from "./unpack-harmless.ts";
import { enterSandbox } from "./unpack-sandbox.ts";
import { keyOf, UnpackTree } from "./unpack-tree.ts";

interface Descriptors {
  directory: Fd;
  pipe: Fd;
}

/** Blocking: there is nothing else to do while no bytes come, and inflating has its own thread. */
function bytesOf(pipe: Fd): ReadInto {
  return (into) => readSync(pipe, into, 0, into.length, null);
}

async function unpack(
  job: UnpackJob,
  { directory, pipe, buffers }: Descriptors & { buffers: InflateBuffers },
): Promise<UnpackReply> {
  using root = Rooted.at(linux, directory);
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
  for await (const chunk of inflate(bytesOf(pipe), buffers)) {
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

async function replyTo(
  job: Uint8Array,
  given: Descriptors & { buffers: InflateBuffers },
): Promise<UnpackReply> {
  try {
    return await unpack(JSON.parse(Buffer.from(job).toString()) as UnpackJob, given);
  } catch (error) {
    return replyOf(error);
  } finally {
    // It may be that of a file with extended attributes, in a directory that would stay in use.
    process.chdir("/");
    linux.close(given.pipe);
  }
}

const SOCKET = 0;

/** Does one job after the other, until its owner has no more or one has failed. Never returns. */
export async function runUnpackChild(): Promise<never> {
  let status = 0;
  try {
    enterSandbox();
  } catch (error) {
    // The owner of the next job is told.
    writeSync(1, `${JSON.stringify(replyOf(error))}\n`);
    process.exit(1);
  }
  const buffers = new InflateBuffers();
  while (status === 0) {
    const { data, fds } = linux.receiveFds(SOCKET, 2);
    const [directory, pipe] = fds;
    if (directory === undefined || pipe === undefined) break;
    const reply = await replyTo(data, { directory, pipe, buffers });
    // A thread may still be at work on what an error has left.
    if ("error" in reply) status = 1;
    writeAll(`${JSON.stringify(reply)}\n`);
  }
  process.exit(status);
}

function writeAll(text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) done += writeSync(1, bytes, done);
}
