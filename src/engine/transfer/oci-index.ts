/** Which document of an OCI layout's index.json a place means. */
import { fail } from "../../core/error.ts";
import { excerpt } from "../../image/digest.ts";
import { invalid } from "../../image/document.ts";
import type { Descriptor, Index } from "../../image/image.ts";
import { isIndex, parseManifest } from "../../image/manifest.ts";
import type { Place } from "./transfer.ts";

export const REF_NAME = "org.opencontainers.image.ref.name";
export const CONTAINERD_NAME = "io.containerd.image.name";

/** Errors: invalid-argument. */
export function parseLayoutIndex(bytes: Uint8Array): Index {
  const document = parseManifest(bytes);
  if (isIndex(document)) return document;
  throw invalid("index.json", "it is not an image index");
}

/** The entry by name or position; the only one where none is asked for. Errors: not-found, invalid-argument (several). */
export function chosenEntry(index: Index, { text, refName, position }: Place): Descriptor {
  const { manifests } = index;
  if (position !== undefined) {
    const entry = manifests[position];
    if (entry !== undefined) return entry;
    throw fail("not-found", `"${text}": the layout has ${manifests.length} images`, {
      reason: "no-such-entry",
    });
  }
  if (refName !== undefined) return named(index, text, refName);
  const [only, ...more] = manifests;
  if (only === undefined)
    throw fail("not-found", `"${text}": the layout is empty`, { reason: "no-such-entry" });
  if (more.length === 0) return only;
  throw fail("invalid-argument", `"${text}": the layout has ${manifests.length} images`, {
    reason: "ambiguous-entry",
    hint: `name one after a colon: ${choices(manifests)}`,
  });
}

function named({ manifests }: Index, text: string, refName: string): Descriptor {
  const found =
    manifests.find((entry) => entry.annotations?.[REF_NAME] === refName) ??
    manifests.find((entry) => entry.annotations?.[CONTAINERD_NAME] === refName) ??
    manifests.find((entry) => entry.digest === refName);
  if (found !== undefined) return found;
  throw fail("not-found", `"${text}": the layout has no image named "${excerpt(refName)}"`, {
    reason: "no-such-entry",
    hint: `it has ${choices(manifests)}`,
  });
}

/** What can be asked for; an image without a name by its position. */
function choices(manifests: Descriptor[]): string {
  const all = manifests.map((entry, i) => excerpt(entry.annotations?.[REF_NAME] ?? `@${i}`));
  const shown = [...new Set(all)].slice(0, 10);
  return `${shown.join(", ")}${all.length > shown.length ? ", …" : ""}`;
}
