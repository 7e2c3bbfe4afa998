/** Images of the own store and, behind them, those of additional stores. Contracts in storage.ts and additional.ts. */
import { fail } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import type { AdditionalStore, AdditionalStores } from "./additional.ts";
import type { ImageRecord, ImageStore } from "./storage.ts";

/** What is in the own store wins: a name there hides the same name elsewhere. */
export function withAdditional(own: ImageStore, stores: AdditionalStores): ImageStore {
  const elsewhere = (look: (images: ImageStore) => ImageRecord | undefined): Found | undefined => {
    for (const store of stores()) {
      const record = look(store.images);
      if (record !== undefined) return { store, record };
    }
    return undefined;
  };
  const find = (name: string): ImageRecord | undefined =>
    own.find(name) ?? elsewhere((images) => images.find(name))?.record;
  /** Refuses what only an additional store has; anything else is the own store's business. */
  const checkOwn = (verb: string, name: string): void => {
    if (own.find(name) !== undefined) return;
    const found = elsewhere((images) => images.find(name));
    if (found !== undefined) throw readOnlyImage(verb, name, found);
  };

  return {
    ...own,
    find,
    get: (id) => own.get(id) ?? elsewhere((images) => images.get(id))?.record,
    resolve: (name) => find(name) ?? own.resolve(name),
    list: () => merge([own.list(), ...stores().map(({ images }) => images.list())]),
    tag: (id, name) => {
      const found = own.get(id) === undefined ? elsewhere((images) => images.get(id)) : undefined;
      if (found === undefined) own.tag(id, name);
      else own.put(copyOf(found, id, name));
    },
    untag: (name) => {
      checkOwn("untag", name);
      return own.untag(name);
    },
    addRepoDigest: (id, repoDigest) => {
      // What only an additional store has cannot be given anything to remember.
      if (own.get(id) !== undefined || elsewhere((images) => images.get(id)) === undefined)
        own.addRepoDigest(id, repoDigest);
    },
    remove: (name, options) => {
      checkOwn("remove", name);
      return own.remove(name, options);
    },
  };
}

interface Found {
  store: AdditionalStore;
  record: ImageRecord;
}

/** The image's documents, which are small; its layers stay where they are. */
function copyOf({ store, record }: Found, id: Digest, name: string) {
  return {
    manifestBytes: store.content.read(record.manifestDigest),
    manifestDigest: record.manifestDigest,
    configBytes: store.content.read(id),
    names: [name],
    repoDigests: record.repoDigests,
  };
}

/** Each image and each name once, from the first list that has it; newest first. */
function merge(lists: ImageRecord[][]): ImageRecord[] {
  const byId = new Map<Digest, ImageRecord>();
  const taken = new Set<string>();
  for (const list of lists) {
    for (const record of list) {
      const names = record.names.filter((name) => !taken.has(name));
      const known = byId.get(record.id);
      if (known === undefined) byId.set(record.id, record);
      (known ?? record).names = known === undefined ? names : [...known.names, ...names];
    }
    for (const name of list.flatMap(({ names }) => names)) taken.add(name);
  }
  return [...byId.values()].sort((a, b) => (a.created < b.created ? 1 : a.created > b.created ? -1 : 0));
}

function readOnlyImage(verb: string, name: string, { store, record }: Found): Error {
  return fail("permission-denied", `cannot ${verb} read-only image "${name}"`, {
    reason: "image-read-only",
    hint: `it is in the additional store "${store.paths.root}", which is only read`,
    data: { id: record.id, store: store.paths.root },
  });
}
