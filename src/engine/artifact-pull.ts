/** artifact pull and extract: from a registry into the store or straight into a directory, and from the store into one. */
import { statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { artifactFiles, type ArtifactFile, TITLE } from "../image/artifact.ts";
import { digestHex } from "../image/digest.ts";
import type { Descriptor, Digest, Manifest } from "../image/image.ts";
import { formatReference, repositoryName } from "../image/reference.ts";
import { runOrdered } from "../storage/ordered.ts";
import { admit } from "./admit.ts";
import { manifestOf, resolveArtifact } from "./artifact-list.ts";
import { artifactIn, openRemote, type Remote, type RemoteRequest } from "./artifact-remote.ts";
import { writeFiles, type Written } from "./artifact-write.ts";
import { counted, stepId } from "./blob-step.ts";
import type { Engine } from "./engine.ts";
import { signaturesAt } from "./signatures.ts";
import { underLease } from "./under-lease.ts";

const CONCURRENCY = 4;

/** Into the store, under its name. Errors: not-found, invalid-argument (an image), data-loss, those of the registry. */
export async function pullArtifact(
  ctx: Ctx,
  engine: Engine,
  request: RemoteRequest,
): Promise<{ digest: Digest; reference: string }> {
  const { remote, manifest } = await openArtifact(ctx, engine, request);
  const { reference, bytes, descriptor } = remote;
  const { digest, mediaType } = descriptor;
  const unique = new Map([manifest.config, ...manifest.layers].map((one) => [one.digest, one]));
  return await underLease(engine, async (lease) => {
    await runOrdered(ctx, CONCURRENCY, [...unique.values()], async (inner, blob) => {
      const id = stepId(blob.digest);
      const existed = engine.content.has(blob.digest);
      const step = { id, status: "downloading" as const, total: blob.size };
      const source = counted(inner, remote.client.blob(inner, blob), step);
      await engine.content.ingest(inner, source, blob, lease);
      ctx.progress({ id, status: existed ? "exists" : "done", current: blob.size, total: blob.size });
    });
    const name = formatReference(reference);
    engine.manifests.put({
      bytes,
      digest,
      mediaType,
      names: reference.digest === undefined ? [name] : [],
      repoDigests: [`${repositoryName(reference)}@${digest}`],
    });
    engine.events.add({ type: "artifact", action: "pull", id: digest, name, attributes: {} });
    return { digest, reference: name };
  });
}

/** Nothing of it is believed before the policy has been asked. */
async function openArtifact(
  ctx: Ctx,
  engine: Engine,
  request: RemoteRequest,
): Promise<{ remote: Remote; manifest: Manifest }> {
  const remote = await openRemote(ctx, engine, request);
  const manifest = artifactIn(remote);
  const { reference, bytes, client } = remote;
  const documents = [{ digest: remote.descriptor.digest, bytes }];
  await admit(ctx, engine, {
    candidate: { transport: "docker", reference, documents },
    signatures: signaturesAt(client),
  });
  return { remote, manifest };
}

/** Which of an artifact's files; both absent: all. */
export interface Selection {
  title?: string | undefined;
  digest?: string | undefined;
}

export interface PullFilesRequest extends RemoteRequest, Selection {
  directory: string;
  overwrite: boolean;
}

/** Into a directory, without a copy in the store. Errors: as {@link pullArtifact} and `writeFiles`. */
export async function pullFiles(
  ctx: Ctx,
  engine: Engine,
  request: PullFilesRequest,
): Promise<{ digest: Digest; files: Written[] }> {
  const { remote, manifest } = await openArtifact(ctx, engine, request);
  const files = await writeFiles(ctx, engine, {
    files: selected(manifest, request, formatReference(remote.reference)),
    directory: request.directory,
    overwrite: request.overwrite,
    blob: (inner, descriptor) => blobOf(inner, engine, remote, descriptor),
  });
  return { digest: remote.descriptor.digest, files };
}

function blobOf(
  ctx: Ctx,
  engine: Engine,
  { client }: Remote,
  descriptor: Descriptor,
): AsyncIterable<Uint8Array> {
  const { digest } = descriptor;
  return engine.content.has(digest) ? engine.content.stream(digest) : client.blob(ctx, descriptor);
}

export interface ExtractRequest extends Selection {
  artifact: string;
  /** A directory, made if missing; the name of the file, for one file where there is no such directory. */
  target: string;
  overwrite: boolean;
}

/** From the store. Errors: not-found, as `writeFiles`. */
export async function extractArtifact(
  ctx: Ctx,
  engine: Engine,
  request: ExtractRequest,
): Promise<{ digest: Digest; files: Written[] }> {
  const record = resolveArtifact(engine, request.artifact);
  using lease = engine.leases.take("pull");
  lease.protect("blob", record.digest);
  const wanted = selected(manifestOf(record), request, request.artifact);
  const files = await writeFiles(ctx, engine, {
    ...placed(wanted, request.target),
    overwrite: request.overwrite,
    blob: (_ctx, { digest }) => engine.content.stream(digest),
  });
  return { digest: record.digest, files };
}

/** As podman has it: one file goes to a target that is no directory under the target's own name. */
function placed(files: ArtifactFile[], target: string): { files: ArtifactFile[]; directory: string } {
  const [only] = files;
  const isDirectory = statSync(target, { throwIfNoEntry: false })?.isDirectory() ?? target.endsWith("/");
  if (isDirectory || files.length !== 1 || only === undefined || only.directory) {
    return { files, directory: target };
  }
  const path = resolve(target);
  return { files: [{ ...only, path: basename(path) }], directory: dirname(path) };
}

/** Errors: not-found for a title or digest that the artifact does not have, invalid-argument (artifactFiles). */
function selected(manifest: Manifest, { title, digest }: Selection, what: string): ArtifactFile[] {
  const matches = ({ annotations, digest: own }: Descriptor): boolean =>
    (title === undefined || annotations?.[TITLE] === title) &&
    (digest === undefined ||
      own === digest ||
      (/^[0-9a-f]{4,}$/.test(digest) && digestHex(own).startsWith(digest)));
  const layers = manifest.layers.filter(matches);
  if (layers.length === 0 && (title ?? digest) !== undefined) {
    throw fail("not-found", `artifact "${what}" has no file "${title ?? digest}"`, {
      reason: "artifact-file-unknown",
    });
  }
  return artifactFiles({ ...manifest, layers });
}
