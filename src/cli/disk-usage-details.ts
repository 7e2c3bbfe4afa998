/** `system df -v`: each image, container and volume, in docker's and podman's columns. */
import { humanDuration } from "../core/time.ts";
import type { ContainerItem, DiskUsage, ImageItem, VolumeItem } from "../engine/disk-usage.ts";
import type { Invocation } from "./command.ts";
import { ContainerRow, goTime } from "./container-row.ts";
import { shownRepository, splitName } from "./image-row.ts";
import { printFormatted, printJson } from "./object-format.ts";
import type { Personality } from "./personality.ts";
import { renderTable } from "./table.ts";
import { humanSize } from "./units.ts";

type Printer = Pick<Invocation, "out" | "personality">;

/** `format`: "json", or a template for the object with Images, Containers, Volumes and BuildCache. */
export async function printDetails(to: Printer, usage: DiskUsage, format: string | undefined): Promise<void> {
  if (format === undefined || format === "" || format === "table") return printTables(to, usage);
  const object = detailsObject(usage, to.personality);
  if (format !== "json") return printFormatted(to, format, object);
  if (!to.personality.docker) return printJson(to, object);
  to.out.line(JSON.stringify(object));
}

function printTables({ out, personality }: Printer, usage: DiskUsage): void {
  const { docker, padding } = personality;
  const table = (title: string, heading: string[], rows: string[][]): void => {
    out.line(`${title}:\n`);
    out.write(renderTable([heading, ...rows], padding));
    out.line("");
  };
  const images = usage.images.map((item) => Object.values(imageCells(item, personality)));
  table("Images space usage", IMAGE_HEADINGS, images);
  const containers = usage.containers.map((item) => Object.values(containerCells(item, personality)));
  table("Containers space usage", CONTAINER_HEADINGS, containers);
  const volumes = usage.volumes.map((item) => [item.name, String(item.links), humanSize(item.size)]);
  table("Local Volumes space usage", ["VOLUME NAME", "LINKS", "SIZE"], volumes);
  if (!docker) return;
  const none = ["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"];
  out.line("Build cache usage: 0B\n");
  out.write(renderTable([none], padding));
}

const IMAGE_HEADINGS = [
  "REPOSITORY",
  "TAG",
  "IMAGE ID",
  "CREATED",
  "SIZE",
  "SHARED SIZE",
  "UNIQUE SIZE",
  "CONTAINERS",
];

const CONTAINER_HEADINGS = [
  "CONTAINER ID",
  "IMAGE",
  "COMMAND",
  "LOCAL VOLUMES",
  "SIZE",
  "CREATED",
  "STATUS",
  "NAMES",
];

/** podman says "2 hours", docker "2 hours ago". */
function age(time: string, { docker }: Personality): string {
  const ms = Date.parse(time);
  if (Number.isNaN(ms)) return "N/A";
  return `${humanDuration(Date.now() - ms)}${docker ? " ago" : ""}`;
}

function imageCells(item: ImageItem, personality: Personality) {
  const { repository, tag } = splitName(item.name);
  return {
    Repository: shownRepository(repository, personality.docker),
    Tag: tag,
    ID: item.id.slice(item.id.indexOf(":") + 1).slice(0, 12),
    CreatedSince: age(item.created, personality),
    Size: humanSize(item.size),
    SharedSize: humanSize(item.shared),
    UniqueSize: humanSize(item.unique),
    Containers: String(item.containers),
  };
}

function containerCells({ summary, volumes, size }: ContainerItem, personality: Personality) {
  const row = new ContainerRow(summary, personality, false);
  return {
    ID: row.ID,
    Image: personality.docker ? row.Image : row.ImageID.slice(0, 12),
    Command: row.Command,
    LocalVolumes: String(volumes),
    Size: humanSize(size),
    RunningFor: age(summary.record.created, personality),
    Status: personality.docker ? row.Status : row.State,
    Names: row.Names,
  };
}

function detailsObject(usage: DiskUsage, personality: Personality): object {
  return {
    Images: usage.images.map((item) => ({
      ...imageCells(item, personality),
      ID: item.id,
      CreatedAt: goTime(item.created),
      VirtualSize: humanSize(item.size),
      ...raw(personality, { RawSize: item.size, RawSharedSize: item.shared, RawUniqueSize: item.unique }),
    })),
    Containers: usage.containers.map((item) => ({
      ...new ContainerRow(item.summary, personality, true).json(),
      LocalVolumes: String(item.volumes),
      Size: humanSize(item.size),
      ...raw(personality, { RawSize: item.size }),
    })),
    Volumes: usage.volumes.map((item) => volumeObject(item, personality)),
    BuildCache: [],
  };
}

function volumeObject(item: VolumeItem, personality: Personality): object {
  return {
    Name: item.name,
    Driver: "local",
    Scope: "local",
    Mountpoint: item.path,
    Labels: "",
    Links: String(item.links),
    Size: humanSize(item.size),
    ...raw(personality, { RawSize: item.size }),
  };
}

/** docker's objects have words only. */
function raw({ docker }: Personality, numbers: Record<string, number>): Record<string, number> {
  return docker ? {} : numbers;
}
