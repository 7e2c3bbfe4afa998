/** `events`: what happened on the store, past and to come. */
import type { Ctx } from "../core/ctx.ts";
import type { EngineEvent as StoredEvent } from "../container/events.ts";
import type { Engine, Filter } from "./engine.ts";
import { hasLabel, matcher, type Test } from "./filter.ts";

export interface EngineEvent extends Omit<StoredEvent, "seq"> {
  /** RFC 3339 with nanoseconds, UTC. */
  time: string;
  image?: string;
}

export interface EventsRequest {
  sinceMs?: number;
  untilMs?: number;
  /** Go on with new events until `untilMs` or the end of the call. */
  stream: boolean;
  filters: Filter[];
}

const POLL_MS = 50;

/** Oldest first. Without `sinceMs` a stream begins now, and a listing has everything that is kept. */
export async function* events(ctx: Ctx, engine: Engine, request: EventsRequest): AsyncIterable<EngineEvent> {
  const matches = matcher(request.filters, eventTests(engine));
  const from = request.sinceMs ?? (request.stream && request.untilMs === undefined ? Date.now() : 0);
  let seq = 0;
  for (;;) {
    for (const stored of engine.events.after(seq)) {
      seq = stored.seq;
      const ms = Number(stored.timeNano / 1_000_000n);
      if (ms < from || (request.untilMs !== undefined && ms > request.untilMs)) continue;
      const event = present(stored);
      if (matches(event)) yield event;
    }
    const over = request.untilMs !== undefined && Date.now() > request.untilMs;
    if (!request.stream || over || ctx.signal.aborted) return;
    await Bun.sleep(POLL_MS);
  }
}

function present(stored: StoredEvent): EngineEvent {
  const { seq: _, ...event } = stored;
  const ms = Number(stored.timeNano / 1_000_000n);
  const nanos = (stored.timeNano % 1_000_000_000n).toString().padStart(9, "0");
  const time = `${new Date(ms).toISOString().slice(0, 19)}.${nanos}Z`;
  const image = stored.attributes["image"];
  return image === undefined ? { ...event, time } : { ...event, time, image };
}

/** What docker calls the same actions. */
const DOCKER_ACTIONS: Record<string, string> = {
  die: "died",
  destroy: "remove",
  delete: "remove",
  exec_start: "exec",
};

function eventTests(engine: Engine): Record<string, Test<EngineEvent>> {
  const isObject = (type: string) => (value: string, e: EngineEvent) =>
    e.type === type &&
    (e.name === value || (value.length >= 3 && e.id.replace("sha256:", "").startsWith(value)));
  return {
    container: isObject("container"),
    image: (value, e) => e.image === value || isObject("image")(value, e) || isImageOf(engine, value, e),
    network: isObject("network"),
    event: (value, e) => e.action === (DOCKER_ACTIONS[value] ?? value),
    type: (value, e) => e.type === value,
    label: (value, e) => hasLabel(value, e.attributes),
  };
}

function isImageOf(engine: Engine, value: string, event: EngineEvent): boolean {
  if (event.image === undefined) return false;
  const image = engine.images.find(value);
  return image !== undefined && (image.names.includes(event.image) || image.id === event.image);
}
