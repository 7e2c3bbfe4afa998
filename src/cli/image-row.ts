/** An image's name as a row of `images`. */
import { humanDuration } from "../core/time.ts";
import type { ImageSummary } from "../engine/images.ts";
import { goTime, seconds } from "./container-row.ts";
import type { Personality } from "./personality.ts";
import { humanSize } from "./units.ts";

export const IMAGE_HEADINGS: Readonly<Record<string, string>> = {
  Repository: "REPOSITORY",
  Tag: "TAG",
  Digest: "DIGEST",
  ID: "IMAGE ID",
  Created: "CREATED",
  CreatedSince: "CREATED",
  CreatedAt: "CREATED AT",
  Size: "SIZE",
  VirtualSize: "SIZE",
  SharedSize: "SHARED SIZE",
  UniqueSize: "UNIQUE SIZE",
  ParentId: "PARENT ID",
  Id: "ID",
  Containers: "CONTAINERS",
  Dangling: "DANGLING",
  ReadOnly: "R/O",
  Labels: "LABELS",
  RepoTags: "REPO TAGS",
  RepoDigests: "REPO DIGESTS",
  Names: "NAMES",
  History: "HISTORY",
};

const NONE = "<none>";

/** "docker.io/library/alpine:3.20" → repository and tag; the tag is what follows the last colon after the last slash. */
export function splitName(name: string): { repository: string; tag: string } {
  const colon = name.lastIndexOf(":");
  if (colon <= name.lastIndexOf("/")) return { repository: name, tag: NONE };
  return { repository: name.slice(0, colon), tag: name.slice(colon + 1) };
}

/** docker does not show where its own images come from. */
export function shownRepository(repository: string, docker: boolean): string {
  return docker ? repository.replace(/^docker\.io\/(library\/)?/, "") : repository;
}

export class ImageRow {
  readonly #item: ImageSummary;
  readonly #personality: Personality;
  readonly #noTrunc: boolean;

  constructor(item: ImageSummary, personality: Personality, noTrunc: boolean) {
    this.#item = item;
    this.#personality = personality;
    this.#noTrunc = noTrunc;
  }

  get ID(): string {
    const { id } = this.#item.record;
    return this.#noTrunc ? id : id.replace(/^sha256:/, "").slice(0, 12);
  }
  get Id(): string {
    return this.#item.record.id.replace(/^sha256:/, "");
  }
  get ParentId(): string {
    return "";
  }
  get Repository(): string {
    return shownRepository(splitName(this.#item.name).repository, this.#personality.docker);
  }
  get Tag(): string {
    return splitName(this.#item.name).tag;
  }
  /** docker only knows the digests of registries. */
  get Digest(): string {
    const { record, name } = this.#item;
    if (!this.#personality.docker) return record.manifestDigest;
    const { repository } = splitName(name);
    return record.repoDigests.find((known) => known.startsWith(`${repository}@`))?.split("@")[1] ?? NONE;
  }
  get Created(): string {
    return this.CreatedSince;
  }
  get CreatedSince(): string {
    const created = Date.parse(this.#createdTime);
    return Number.isNaN(created) ? "N/A" : `${humanDuration(Date.now() - created)} ago`;
  }
  get CreatedAt(): string {
    return goTime(this.#createdTime);
  }
  get CreatedTime(): string {
    return this.CreatedAt;
  }
  get Size(): string {
    return humanSize(this.#item.record.size, { digits: 3, gap: this.#personality.sizeGap });
  }
  get VirtualSize(): string {
    return this.#personality.docker ? this.Size : String(this.#item.record.size);
  }
  /** Not counted in a list; `system df -v` does. */
  get SharedSize(): string {
    return this.#personality.docker ? "N/A" : "0";
  }
  get UniqueSize(): string {
    return this.#personality.docker ? "N/A" : "0";
  }
  get Containers(): number {
    return this.#item.containers;
  }
  get Names(): string[] {
    return this.#item.record.names;
  }
  get RepoTags(): string[] {
    return this.#item.record.names;
  }
  get RepoDigests(): string[] {
    return this.#item.record.repoDigests;
  }
  get Labels(): Record<string, string> {
    return this.#item.record.config.config.Labels ?? {};
  }
  get Dangling(): boolean {
    return this.#item.record.names.length === 0;
  }
  get ReadOnly(): boolean {
    return this.#item.record.additionalStore !== undefined;
  }
  get History(): string {
    return this.#item.record.names.join(", ");
  }

  get #createdTime(): string {
    return this.#item.record.config.created ?? this.#item.record.created;
  }

  json(): object {
    if (this.#personality.docker) {
      const { Containers, CreatedAt, CreatedSince, Digest, ID, Repository, Size, Tag } = this;
      return { Containers: String(Containers), CreatedAt, CreatedSince, Digest, ID, Repository, Size, Tag };
    }
    const { record, containers } = this.#item;
    return {
      Id: record.id.replace(/^sha256:/, ""),
      ParentId: "",
      RepoTags: record.names.length > 0 ? record.names : null,
      RepoDigests: record.repoDigests,
      Size: record.size,
      SharedSize: 0,
      VirtualSize: record.size,
      Labels: this.Labels,
      Containers: containers,
      Names: record.names,
      Digest: record.manifestDigest,
      ...(this.Dangling ? { Dangling: true } : {}),
      ...(this.ReadOnly ? { ReadOnly: true } : {}),
      History: record.names,
      Created: seconds(this.#createdTime),
      CreatedAt: this.#createdTime,
    };
  }
}
