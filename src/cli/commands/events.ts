import { parseTimestamp } from "../../core/time.ts";
import type { EngineEvent } from "../../engine/events.ts";
import { type AnyCommand, defineCommand, type Invocation } from "../command.ts";
import { parseFilters } from "../filters.ts";
import { filterFlag } from "../list-flags.ts";
import { unescapeFormat } from "../listing.ts";

/** "2026-11-23 11:45:07.814821385 +0000 UTC", or docker's RFC 3339. */
function timeOf(event: EngineEvent, docker: boolean): string {
  return docker ? event.time : `${event.time.replace("T", " ").replace(/Z$/, "")} +0000 UTC`;
}

function attributesOf(event: EngineEvent): string {
  const pairs = {
    ...(event.image === undefined ? {} : { image: event.image }),
    name: event.name,
    ...event.attributes,
  };
  return Object.entries(pairs)
    .map(([key, value]) => `${key}=${value}`)
    .join(", ");
}

function line(event: EngineEvent, docker: boolean): string {
  return `${timeOf(event, docker)} ${event.type} ${event.action} ${event.id} (${attributesOf(event)})`;
}

const DOCKER_ACTIONS: Record<string, string> = {
  "container died": "die",
  "container remove": "destroy",
  "container exec": "exec_start",
  "image remove": "delete",
};

/** The same event in docker's words. */
function asDocker(event: EngineEvent): EngineEvent {
  const { containerExitCode, ...attributes } = event.attributes;
  return {
    ...event,
    action: DOCKER_ACTIONS[`${event.type} ${event.action}`] ?? event.action,
    attributes: containerExitCode === undefined ? attributes : { exitCode: containerExitCode, ...attributes },
  };
}

/** Names of podman's event and of docker's message in one object. */
function templateRow(event: EngineEvent, docker: boolean): object {
  const seconds = event.timeNano / 1_000_000_000n;
  return {
    ID: event.id,
    Image: event.image ?? "",
    Name: event.name,
    Status: event.action,
    Time: timeOf(event, docker),
    TimeNano: event.timeNano,
    Type: event.type,
    Attributes: event.attributes,
    ContainerExitCode: Number(event.attributes["containerExitCode"] ?? event.attributes["exitCode"] ?? 0),
    Action: event.action,
    Actor: { ID: event.id, Attributes: { ...event.attributes, name: event.name } },
    From: event.image ?? "",
    Scope: "local",
    Unix: Number(seconds),
  };
}

function jsonRow(event: EngineEvent, docker: boolean): object {
  const { id, name, type, action, attributes, image } = event;
  const timeNano = event.timeNano;
  const time = Number(timeNano / 1_000_000_000n);
  if (docker) {
    const actor = { ID: id, Attributes: { ...attributes, ...(image === undefined ? {} : { image }), name } };
    const from = image === undefined ? {} : { from: image };
    return {
      status: action,
      id,
      ...from,
      Type: type,
      Action: action,
      Actor: actor,
      scope: "local",
      time,
      timeNano,
    };
  }
  const named = { ID: id, ...(image === undefined ? {} : { Image: image }), Name: name, Status: action };
  return { ...named, Time: event.time, time, timeNano, Type: type, Attributes: attributes };
}

type Printer = (event: EngineEvent) => void;

async function printerFor(invocation: Invocation, format: string | undefined): Promise<Printer> {
  const { out, personality } = invocation;
  if (format === undefined) return (event) => out.line(line(event, personality.docker));
  if (format === "json") {
    const { toJson } = await import("../template/functions.ts");
    return (event) => out.line(toJson(jsonRow(event, personality.docker)));
  }
  const { parseTemplate } = await import("../template/parse.ts");
  const { executeTemplate } = await import("../template/eval.ts");
  const template = parseTemplate(unescapeFormat(format));
  return (event) => out.line(executeTemplate(template, templateRow(event, personality.docker)));
}

export const eventsCommand: AnyCommand = defineCommand({
  usage: "[options]",
  description: "Shows what happens in the engine, as it happens; with --since also what has happened.",
  examples: ["events --since 1h --stream=false --filter type=container"],
  flags: {
    ...filterFlag,
    format: { type: "string", value: "FORMAT", help: '"json" or a Go template' },
    "no-trunc": { type: "bool", default: true, hidden: true, help: "No effect: nothing is cut" },
    since: { type: "string", value: "TIME", help: "Begin here: a time, Unix seconds, or an age such as 10m" },
    stream: { type: "bool", default: true, help: "Go on with what comes" },
    until: { type: "string", value: "TIME", help: "End here" },
  },
  args: { min: 0, max: 0 },
  async run(invocation) {
    const { ctx, flags, out, personality } = invocation;
    const print = await printerFor(invocation, flags.format);
    const engine = await invocation.engine();
    const { events } = await import("../../engine/events.ts");
    const request = {
      stream: flags.stream,
      filters: parseFilters(flags.filter),
      ...(flags.since === undefined ? {} : { sinceMs: parseTimestamp(flags.since) }),
      ...(flags.until === undefined ? {} : { untilMs: parseTimestamp(flags.until) }),
    };
    for await (const event of events(ctx, engine, request)) {
      print(personality.docker ? asDocker(event) : event);
      out.flush();
    }
  },
});
