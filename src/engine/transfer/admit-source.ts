/** The policy's word on the source of a copy. */
import { realpathSync } from "node:fs";
import type { Ctx } from "../../core/ctx.ts";
import type { Candidate, SignatureSource, SignedDocument } from "../../trust/trust.ts";
import { admit } from "../admit.ts";
import type { Engine } from "../engine.ts";
import { readerSignatures, signaturesAt } from "../signatures.ts";
import { LayoutReader } from "./layout-reader.ts";
import { RegistryReader } from "./registry-place.ts";
import type { ImageReader, Place } from "./transfer.ts";

/**
 * `documents`: the one that is copied, then the indexes it was chosen from, innermost first. What is in the store was asked about when
 * it came. Errors: as {@link admit}.
 */
export async function admitSource(
  ctx: Ctx,
  engine: Engine,
  reader: ImageReader,
  documents: SignedDocument[],
): Promise<void> {
  const candidate = candidateOf(reader.place, documents);
  if (candidate === undefined) return;
  const signatures = signaturesOf(reader);
  await admit(ctx, engine, { candidate, ...(signatures === undefined ? {} : { signatures }) });
}

function candidateOf(place: Place, documents: SignedDocument[]): Candidate | undefined {
  const { transport, path, refName, reference } = place;
  if (transport === "berth") return undefined;
  return {
    transport,
    documents,
    ...(path === undefined ? {} : { path: realpathSync(path) }),
    ...(refName === undefined ? {} : { refName }),
    ...(reference === undefined ? {} : { reference }),
  };
}

function signaturesOf(reader: ImageReader): SignatureSource | undefined {
  if (reader instanceof RegistryReader) return signaturesAt(reader.client);
  return reader instanceof LayoutReader ? readerSignatures(reader) : undefined;
}
