/** The tar reader as something to pull from: member after member, the content of each as a stream. */
import type { TarEntry, TarSink } from "../archive/archive.ts";
import { TarReader } from "../archive/tar-reader.ts";

export interface Member {
  entry: TarEntry;
  /** Must be read before the next member is asked for, else it is passed over. Holes come as zeros. */
  content(): AsyncGenerator<Uint8Array, void, undefined>;
}

type Event = { entry: TarEntry } | { data: Uint8Array; offset: number } | "end";

const ZEROS = new Uint8Array(64 * 1024);

/** An archive of images has a few thousand members at the most. */
const LIMITS = { maxEntries: 1_000_000 };

/** Chunks of the source must be memory of their own: they are handed on without a copy. Errors: those of the tar reader and the source. */
export async function* tarMembers(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Member, void, undefined> {
  const events = new EventQueue(source);
  for (let event = await events.next(); event !== undefined; event = await events.next()) {
    if (typeof event === "string" || !("entry" in event)) continue;
    const { entry } = event;
    const state = { ended: false };
    yield { entry, content: () => contentOf(events, entry, state) };
    while (!state.ended) state.ended = (await events.next()) === "end";
  }
}

async function* contentOf(
  events: EventQueue,
  entry: TarEntry,
  state: { ended: boolean },
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = 0;
  while (!state.ended) {
    const event = await events.next();
    if (event === undefined || event === "end") {
      state.ended = true;
      break;
    }
    if (!("data" in event)) continue;
    yield* zeros(event.offset - at);
    yield event.data;
    at = event.offset + event.data.length;
  }
  yield* zeros(entry.size - at);
}

function* zeros(length: number): Generator<Uint8Array> {
  for (let left = length; left > 0; left -= ZEROS.length)
    yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
}

class EventQueue implements TarSink {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #reader = new TarReader(this, LIMITS);
  #events: Event[] = [];
  #at = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  entry(entry: TarEntry): void {
    this.#events.push({ entry });
  }

  data(chunk: Uint8Array, offset: number): void {
    this.#events.push({ data: chunk, offset });
  }

  endEntry(): void {
    this.#events.push("end");
  }

  /** Undefined after the last one, when the source has been read to its end. */
  async next(): Promise<Event | undefined> {
    while (this.#at === this.#events.length) {
      if (this.#ended) return undefined;
      this.#events = [];
      this.#at = 0;
      const { done, value } = await this.#source.next();
      if (done === true) {
        this.#ended = true;
        this.#reader.end();
      } else this.#reader.write(value);
    }
    return this.#events[this.#at++];
  }
}
