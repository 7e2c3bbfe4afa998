/** A container as a row of `ps`: a property for each column and each name that templates use. */
import { humanDuration } from "../core/time.ts";
import type { ContainerSummary } from "../engine/list.ts";
import { formatPort } from "../network/ports.ts";
import type { Personality } from "./personality.ts";
import { humanSize } from "./units.ts";

export const CONTAINER_HEADINGS: Readonly<Record<string, string>> = {
  ID: "CONTAINER ID",
  Image: "IMAGE",
  ImageID: "IMAGE ID",
  Command: "COMMAND",
  CreatedAt: "CREATED AT",
  RunningFor: "CREATED",
  Status: "STATUS",
  State: "STATE",
  Ports: "PORTS",
  Names: "NAMES",
  Size: "SIZE",
  Labels: "LABELS",
  Mounts: "MOUNTS",
  Networks: "NETWORKS",
  Pid: "PID",
  ExitCode: "EXIT CODE",
  ExitedAt: "EXITED",
  StartedAt: "STARTED",
  Restarts: "RESTARTS",
  Created: "CREATED",
  LocalVolumes: "LOCAL VOLUMES",
};

/** podman cuts at 17 and adds "...", docker at 19 and adds "…", in quotes. */
function shortCommand(command: string, personality: Personality, noTrunc: boolean): string {
  if (personality.docker) {
    const cut = noTrunc || command.length <= 20 ? command : `${command.slice(0, 19)}…`;
    return `"${cut}"`;
  }
  return noTrunc || command.length <= 20 ? command : `${command.slice(0, 17)}...`;
}

/** docker puts words with spaces in quotes. */
function quotedIfNeeded(word: string): string {
  return word.includes(" ") ? `'${word}'` : word;
}

/** "2026-11-23 11:45:07 +0000 UTC" */
export function goTime(iso: string | undefined): string {
  const time = iso === undefined ? Number.NaN : Date.parse(iso);
  if (Number.isNaN(time)) return "";
  return `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} +0000 UTC`;
}

export function seconds(iso: string | undefined): number {
  const time = iso === undefined ? Number.NaN : Date.parse(iso);
  return Number.isNaN(time) ? 0 : Math.floor(time / 1000);
}

export class ContainerRow {
  readonly #item: ContainerSummary;
  readonly #personality: Personality;
  readonly #noTrunc: boolean;

  constructor(item: ContainerSummary, personality: Personality, noTrunc: boolean) {
    this.#item = item;
    this.#personality = personality;
    this.#noTrunc = noTrunc;
  }

  get ID(): string {
    const { id } = this.#item.record;
    return this.#noTrunc ? id : id.slice(0, 12);
  }
  get Image(): string {
    const { imageAsked } = this.#item.record.spec;
    return this.#personality.docker && imageAsked !== undefined ? imageAsked : this.#item.imageName;
  }
  get ImageID(): string {
    return this.#item.imageId.replace(/^sha256:/, "");
  }
  get Command(): string {
    const { command } = this.#item;
    const words = this.#personality.docker ? command.map(quotedIfNeeded) : command;
    return shortCommand(words.join(" "), this.#personality, this.#noTrunc);
  }
  get CreatedAt(): string {
    return goTime(this.#item.record.created);
  }
  get Created(): string {
    return this.RunningFor;
  }
  get RunningFor(): string {
    return `${humanDuration(Date.now() - Date.parse(this.#item.record.created))} ago`;
  }
  get CreatedHuman(): string {
    return this.RunningFor;
  }
  get Status(): string {
    return this.#item.status;
  }
  get State(): string {
    return this.#item.state;
  }
  get Ports(): string {
    const ports = this.#item.record.state.attachment?.ports ?? this.#item.record.spec.ports;
    const running = this.#item.state === "running" || this.#item.state === "paused";
    // docker shows only what is open now; podman what was asked for, too.
    if (this.#personality.docker && !running) return "";
    return ports.flatMap(formatPort).join(", ");
  }
  get Names(): string {
    return this.#item.record.name;
  }
  get Size(): string {
    const { size } = this.#item;
    if (size === undefined) return `0${this.#personality.sizeGap}B`;
    const gap = { digits: 3, gap: this.#personality.sizeGap };
    return `${humanSize(size.rw, gap)} (virtual ${humanSize(size.rootFs, gap)})`;
  }
  get Labels(): string | Record<string, string> {
    const { labels } = this.#item.record.spec;
    if (!this.#personality.docker) return labels;
    return Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(",");
  }
  Label(key: string): string {
    return this.#item.record.spec.labels[key] ?? "";
  }
  get Mounts(): string {
    return this.#item.record.spec.mounts.map((mount) => mount.source || mount.target).join(",");
  }
  get LocalVolumes(): string {
    return String(this.#item.record.spec.mounts.filter((mount) => mount.type === "volume").length);
  }
  get Networks(): string {
    return this.#item.record.state.attachment?.network ?? this.#item.record.spec.network;
  }
  get Pid(): number {
    return this.#item.pid;
  }
  get ExitCode(): number {
    return this.#item.record.state.exitCode ?? 0;
  }
  get Exited(): boolean {
    return this.#item.state === "exited";
  }
  get ExitedAt(): number {
    return seconds(this.#item.record.state.finishedAt);
  }
  get StartedAt(): number {
    return seconds(this.#item.record.state.startedAt);
  }
  get Restarts(): number {
    return this.#item.record.state.restarts;
  }
  get Pod(): string {
    return "";
  }
  get PodName(): string {
    return "";
  }

  /** The object of podman's or docker's `--format json`. */
  json(): object {
    return this.#personality.docker ? this.#dockerJson() : this.#podmanJson();
  }

  #dockerJson(): object {
    const keys = [
      "Command",
      "CreatedAt",
      "ID",
      "Image",
      "Labels",
      "LocalVolumes",
      "Mounts",
      "Names",
    ] as const;
    const more = ["Networks", "Ports", "RunningFor", "Size", "State", "Status"] as const;
    return Object.fromEntries([...keys, ...more].map((key) => [key, this[key]]));
  }

  #podmanJson(): object {
    const { record, command, imageName, state, status, pid, size } = this.#item;
    const ports = record.state.attachment?.ports ?? record.spec.ports;
    return {
      AutoRemove: record.spec.autoRemove,
      Command: command,
      CreatedAt: `${humanDuration(Date.now() - Date.parse(record.created))} ago`,
      CIDFile: "",
      Exited: state === "exited",
      ExitedAt: this.ExitedAt,
      ExitCode: this.ExitCode,
      ExposedPorts: null,
      Id: record.id,
      Image: imageName,
      ImageID: this.ImageID,
      IsInfra: false,
      Labels: record.spec.labels,
      Mounts: record.spec.mounts.map((mount) => mount.target),
      Names: [record.name],
      Namespaces: {},
      Networks: record.state.attachment === undefined ? [] : [record.state.attachment.network],
      Pid: pid,
      Pod: "",
      PodName: "",
      Ports: ports.map((port) => ({
        host_ip: port.hostIp,
        container_port: port.containerPort,
        host_port: port.hostPort,
        range: port.range,
        protocol: port.protocol,
      })),
      Restarts: record.state.restarts,
      Size: size === undefined ? null : { rootFsSize: size.rootFs, rwSize: size.rw },
      StartedAt: this.StartedAt,
      State: state,
      Status: status,
      Created: seconds(record.created),
    };
  }
}
