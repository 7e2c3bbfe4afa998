/** "transport:place" as people write it, as skopeo and podman do (containers-transports(5)). */
import { resolve } from "node:path";
import { fail } from "../../core/error.ts";
import { excerpt } from "../../image/digest.ts";
import type { Reference } from "../../image/image.ts";
import { parseReference, withDefaultTag } from "../../image/reference.ts";
import type { Place, TransportName } from "./transfer.ts";

const NAMES: Record<string, TransportName> = {
  docker: "docker",
  oci: "oci",
  "oci-archive": "oci-archive",
  "docker-archive": "docker-archive",
  dir: "dir",
  berth: "berth",
  "containers-storage": "berth",
};

/** What others have and berth does not. */
const FOREIGN = new Set(["docker-daemon", "ostree", "sif", "tarball", "atomic", "oci-mount", "docker-tar"]);

const HINT = `write it as TRANSPORT:PLACE, where TRANSPORT is one of ${Object.keys(NAMES).join(", ")}`;

export interface ParsePlaceOptions {
  /** What a text without a transport is; absent: an error. */
  bare?: "docker" | "berth";
  /** What relative paths start from; the working directory by default. */
  cwd?: string;
}

function invalid(text: string, problem: string, hint?: string): Error {
  return fail("invalid-argument", `invalid image name "${excerpt(text, 300)}": ${problem}`, {
    reason: "invalid-place",
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Errors: invalid-argument naming the text; unimplemented for a transport that only others have. */
export function parsePlace(text: string, options: ParsePlaceOptions = {}): Place {
  if (text.includes("\0")) throw invalid(text.replaceAll("\0", "?"), "it has a NUL in it");
  const colon = text.indexOf(":");
  const word = colon === -1 ? "" : text.slice(0, colon);
  if (FOREIGN.has(word)) {
    throw fail("unimplemented", `"${excerpt(text)}": the transport "${word}" is not supported`, {
      reason: "transport",
      hint: HINT,
    });
  }
  const transport = Object.hasOwn(NAMES, word) ? NAMES[word] : undefined;
  if (transport !== undefined) return placeOf(transport, text, text.slice(colon + 1), options);
  if (options.bare === undefined) throw invalid(text, "it names no transport", HINT);
  const rest = options.bare === "docker" ? `//${text}` : text;
  try {
    return placeOf(options.bare, text, rest, options);
  } catch {
    throw invalid(text, "it is neither a name nor TRANSPORT:PLACE", HINT);
  }
}

function placeOf(
  transport: TransportName,
  text: string,
  rest: string,
  { cwd = process.cwd() }: ParsePlaceOptions,
): Place {
  if (transport === "docker") return dockerPlace(text, rest);
  if (transport === "berth") return berthPlace(text, rest);
  if (transport === "dir") {
    if (rest === "") throw invalid(text, "the directory is missing");
    return { transport, text, path: resolve(cwd, rest) };
  }
  const colon = rest.indexOf(":");
  const path = colon === -1 ? rest : rest.slice(0, colon);
  const name = colon === -1 ? "" : rest.slice(colon + 1);
  if (path === "") throw invalid(text, "the path is missing");
  const place: Place = { transport, text, path: resolve(cwd, path) };
  const position = /^@(\d{1,6})$/.exec(name)?.[1];
  if (position !== undefined) return { ...place, position: Number(position) };
  if (name === "") return place;
  if (transport === "docker-archive") return { ...place, reference: taggedReference(text, name) };
  if (name.length > 1024 || /[\p{Cc}\s]/u.test(name)) {
    throw invalid(text, "the reference after the path is malformed");
  }
  return { ...place, refName: name };
}

function dockerPlace(text: string, rest: string): Place {
  if (!rest.startsWith("//")) throw invalid(text, 'a registry is written as "docker://HOST/REPOSITORY:TAG"');
  const reference = withDefaultTag(reparsed(text, rest.slice(2)));
  return { transport: "docker", text, reference };
}

/** A name of the store is also an id or a digest: what it is, is found out when it is read. */
function berthPlace(text: string, rest: string): Place {
  if (rest.startsWith("[")) {
    throw fail("unimplemented", `"${excerpt(text)}": another store is not named here`, {
      reason: "transport",
      hint: "name it with --root and --run",
    });
  }
  if (rest === "") throw invalid(text, "the name is missing");
  return { transport: "berth", text, name: rest };
}

function taggedReference(text: string, name: string): Reference {
  const reference = withDefaultTag(reparsed(text, name));
  if (reference.digest === undefined) return reference;
  throw invalid(text, "an archive knows images by tag, not by digest");
}

function reparsed(text: string, name: string): Reference {
  try {
    return parseReference(name);
  } catch (error) {
    throw invalid(text, (error as Error).message);
  }
}
