/** A store with all its parts, joined. Opening costs nothing: no part touches disk or database before it is asked something. */
import type { Db } from "../sys/db.ts";
import type { Sys } from "../sys/sys.ts";
import type { AdditionalStores } from "./additional.ts";
import { withAdditional } from "./additional-images.ts";
import { createContent } from "./content.ts";
import { createImages } from "./images.ts";
import { createLayers } from "./layers.ts";
import { createLeases, type Leases, type Owner } from "./lease.ts";
import { createManifests } from "./manifests.ts";
import type { StorePaths } from "./paths.ts";
import { createRootfs } from "./rootfs.ts";
import type { ContentStore, ImageStore, LayerStore, ManifestStore, RootfsStore } from "./storage.ts";

export interface StoreParts {
  /** Opened with `storageSchema` in its schema. */
  db: Db;
  sys: Sys;
  /** Their directories exist: `ensureDirs`. */
  paths: StorePaths;
  owner: () => Owner;
  /** argv that starts this program as the sandboxed unpacker. */
  unpackCommand: string[];
  /** Other stores to look in for what this one does not have. */
  additional?: AdditionalStores | undefined;
  /** Set for an additional store: its root, which its images then tell. */
  readOnlyRoot?: string | undefined;
  /** "user" inside a user namespace, where `trusted.*` cannot be set. */
  overlayXattr?: "trusted" | "user";
}

export interface Store extends StoreParts {
  leases: Leases;
  content: ContentStore;
  layers: LayerStore;
  images: ImageStore;
  manifests: ManifestStore;
  rootfs: RootfsStore;
}

export function openStore(parts: StoreParts): Store {
  const overlayXattr = parts.overlayXattr ?? "trusted";
  const leases = createLeases(parts);
  const content = createContent({ ...parts, leases });
  const images = createImages({ ...parts, leases, content });
  return {
    ...parts,
    leases,
    content,
    layers: createLayers({ ...parts, leases, content, overlayXattr }),
    images: parts.additional === undefined ? images : withAdditional(images, parts.additional),
    manifests: createManifests({ ...parts, leases, content }),
    rootfs: createRootfs({ ...parts, userXattr: overlayXattr === "user" }),
  };
}
