/**
 * A registry that misbehaves on demand. It serves the blobs and manifests put into it, takes uploads, and
 * asks `fault` before every answer: a Response from there is sent in place of the right one.
 */
import type { Server } from "bun";
import { createHash } from "node:crypto";
import { type AddressInfo, createServer, type Socket } from "node:net";

export interface Seen {
  method: string;
  path: string;
  query: string;
  headers: Headers;
}

export type Fault = (request: Seen, server: FakeRegistry) => Response | Promise<Response> | undefined;

export class FakeRegistry implements Disposable {
  readonly blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  /** By tag and by digest. */
  readonly manifests = new Map<string, { mediaType: string; bytes: Uint8Array<ArrayBuffer> }>();
  readonly seen: Seen[] = [];
  fault: Fault = () => undefined;
  /** Whether manifests are sent with Docker-Content-Digest. */
  namesDigests = true;
  /** Bytes a second that each connection gets of a blob; no limit if absent. */
  rate: number | undefined;
  /** Uploads give up with 503 after this many bytes of a body; what has come is kept. */
  cutBodies: number[] = [];
  /** OCI-Chunk-Min-Length, where a registry has one. */
  minChunk = 0;
  /** Blobs that are in another repository only: a HEAD finds nothing until they are mounted. */
  readonly absent = new Set<string>();
  /** Repositories whose blobs may be mounted into others. */
  readonly mountable = new Set<string>();
  /** Largest body that is taken, bytes; more is answered with 413. */
  maxBody = Infinity;
  #uploads = new Map<string, Uint8Array>();
  #next = 0;
  readonly #server: Server<undefined>;

  constructor(tls?: { key: string; cert: string }) {
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 60,
      development: false,
      // Bodies that break off on purpose are not worth a report.
      error: () => new Response(null, { status: 500 }),
      ...(tls === undefined ? {} : { tls }),
      fetch: (request) => this.#answer(request),
    });
  }

  get host(): string {
    return `127.0.0.1:${this.#server.port}`;
  }

  addBlob(bytes: Uint8Array | string): { mediaType: string; digest: string; size: number } {
    const copy = new Uint8Array(Buffer.from(bytes as string));
    const digest = digestOf(copy);
    this.blobs.set(digest, copy);
    return { mediaType: "application/octet-stream", digest, size: copy.length };
  }

  addManifest(tag: string, value: unknown, mediaType = "application/vnd.oci.image.manifest.v1+json"): string {
    const bytes = new Uint8Array(Buffer.from(typeof value === "string" ? value : JSON.stringify(value)));
    const digest = digestOf(bytes);
    this.manifests.set(tag, { mediaType, bytes });
    this.manifests.set(digest, { mediaType, bytes });
    return digest;
  }

  count(method: string, part: string): number {
    return this.seen.filter((s) => s.method === method && s.path.includes(part)).length;
  }

  [Symbol.dispose](): void {
    void this.#server.stop(true);
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname: path, search: query } = new URL(request.url);
    const seen = { method: request.method, path, query, headers: request.headers };
    this.seen.push(seen);
    const fault = await this.fault(seen, this);
    if (fault !== undefined) return fault;
    if (path === "/v2/") return new Response("{}");
    const [, name = "", kind = "", rest = ""] =
      /^\/v2\/(.+?)\/(blobs|manifests|tags)\/(.+)$/.exec(path) ?? [];
    if (kind === "manifests") return this.#manifest(request, rest);
    if (kind === "tags")
      return Response.json({ name, tags: [...this.manifests.keys()].filter((t) => !t.includes(":")) });
    if (kind === "blobs" && rest.startsWith("uploads/")) return this.#upload(request, name, rest.slice(8));
    return kind === "blobs" ? this.#blob(request, rest) : problem(404, "NOT_FOUND");
  }

  async #manifest(request: Request, key: string): Promise<Response> {
    if (request.method === "PUT") {
      const digest = this.addManifest(key, await request.text(), request.headers.get("content-type") ?? "");
      return new Response(null, { status: 201, headers: { "Docker-Content-Digest": digest } });
    }
    const found = this.manifests.get(key);
    if (found === undefined) return problem(404, "MANIFEST_UNKNOWN", "manifest unknown");
    const headers: Record<string, string> = { "Content-Type": found.mediaType };
    if (this.namesDigests) headers["Docker-Content-Digest"] = digestOf(found.bytes);
    return new Response(request.method === "HEAD" ? null : found.bytes, { headers });
  }

  #blob(request: Request, digest: string): Response {
    const bytes = this.blobs.get(digest);
    if (bytes === undefined || this.absent.has(digest)) return problem(404, "BLOB_UNKNOWN");
    if (request.method === "HEAD")
      return new Response(null, { headers: { "Content-Length": String(bytes.length) } });
    const [, first, last = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "") ?? [];
    if (first === undefined) return this.#body(bytes, { status: 200 });
    const from = Number(first);
    if (from >= bytes.length) return problem(416, "RANGE_INVALID");
    const end = last === "" ? bytes.length : Math.min(Number(last) + 1, bytes.length);
    const headers = { "Content-Range": `bytes ${from}-${end - 1}/${bytes.length}` };
    return this.#body(bytes.subarray(from, end), { status: 206, headers });
  }

  #body(
    bytes: Uint8Array<ArrayBuffer>,
    init: { status: number; headers?: Record<string, string> },
  ): Response {
    if (this.rate === undefined) return new Response(bytes, init);
    const headers = { ...init.headers, "Content-Length": String(bytes.length) };
    return new Response(slowly(bytes, this.rate), { ...init, headers });
  }

  async #upload(request: Request, name: string, id: string): Promise<Response> {
    const { searchParams } = new URL(request.url);
    if (request.method === "POST") return this.#openUpload(name, searchParams);
    const held = this.#uploads.get(id);
    if (held === undefined) return problem(404, "BLOB_UPLOAD_UNKNOWN");
    if (request.method === "DELETE") {
      this.#uploads.delete(id);
      return new Response(null, { status: 204 });
    }
    if (searchParams.get("state") !== "a/b") return problem(400, "BLOB_UPLOAD_INVALID", "the state is lost");
    const at = (length: number) => ({
      Location: `/v2/${name}/blobs/uploads/${id}?state=a%2Fb`,
      Range: `0-${Math.max(0, length - 1)}`,
    });
    if (request.method === "GET") return new Response(null, { status: 204, headers: at(held.length) });
    if (Number(request.headers.get("content-length")) > this.maxBody) return problem(413, "SIZE_INVALID");
    const start = /^(\d+)-/.exec(request.headers.get("content-range") ?? "")?.[1];
    if (start !== undefined && Number(start) !== held.length)
      return new Response(null, { status: 416, headers: at(held.length) });
    const limit = request.headers.get("content-length") === "0" ? undefined : this.cutBodies.shift();
    const all = Buffer.concat([held, await bodyUpTo(request, limit)]);
    this.#uploads.set(id, all);
    if (limit !== undefined) return problem(503, "UNAVAILABLE");
    if (request.method === "PATCH") return new Response(null, { status: 202, headers: at(all.length) });
    const digest = digestOf(all);
    if (searchParams.get("digest") !== digest) return problem(400, "DIGEST_INVALID");
    this.#uploads.delete(id);
    this.blobs.set(digest, new Uint8Array(all));
    return new Response(null, { status: 201, headers: { "Docker-Content-Digest": digest } });
  }

  #openUpload(name: string, query: URLSearchParams): Response {
    const mount = query.get("mount");
    if (mount !== null && this.mountable.has(query.get("from") ?? "") && this.absent.delete(mount))
      return new Response(null, { status: 201, headers: { Location: `/v2/${name}/blobs/${mount}` } });
    const session = String(++this.#next);
    this.#uploads.set(session, new Uint8Array());
    return new Response(null, {
      status: 202,
      headers: {
        Location: `/v2/${name}/blobs/uploads/${session}?state=a%2Fb`,
        ...(this.minChunk === 0 ? {} : { "OCI-Chunk-Min-Length": String(this.minChunk) }),
      },
    });
  }

  /** Forgets all sessions, as a registry that was started anew. */
  dropUploads(): void {
    this.#uploads.clear();
  }

  /** Upload sessions that were neither finished nor deleted. */
  get openUploads(): number {
    return this.#uploads.size;
  }
}

async function bodyUpTo(request: Request, limit = Infinity): Promise<Uint8Array> {
  if (limit === Infinity) return await request.bytes();
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of request.body as unknown as AsyncIterable<Uint8Array>) {
    parts.push(part);
    length += part.length;
    if (length >= limit) break;
  }
  return Buffer.concat(parts).subarray(0, limit);
}

/** Ten times a second a part, whatever the receiver takes at once. */
function slowly(bytes: Uint8Array<ArrayBuffer>, rate: number): ReadableStream<Uint8Array<ArrayBuffer>> {
  const began = performance.now();
  let sent = 0;
  return new ReadableStream({
    async pull(controller) {
      const due = (sent / rate) * 1000 - (performance.now() - began);
      if (due > 0) await Bun.sleep(due);
      const next = Math.min(sent + Math.ceil(rate / 10), bytes.length);
      controller.enqueue(bytes.subarray(sent, next));
      sent = next;
      if (sent === bytes.length) controller.close();
    },
  });
}

export function problem(
  status: number,
  code: string,
  message = "",
  headers: Record<string, string> = {},
): Response {
  return Response.json({ errors: [{ code, message }] }, { status, headers });
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** An answer that never ends: `start`, and then `piece` for ever. `closed` tells when the other side has had enough of it. */
export function endless(
  start: string | Uint8Array,
  piece: string,
  init?: ResponseInit,
): Response & { closed: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const more = Buffer.from(piece.repeat(Math.ceil(65_536 / piece.length)));
  let next = Buffer.from(start as string);
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(Uint8Array.from(next));
      next = more;
    },
    cancel: () => resolve(),
  });
  return Object.assign(new Response(body, init), { closed: promise });
}

/** Nothing at all, or what `bytes` are and then nothing more. */
export function silent(bytes?: Uint8Array<ArrayBuffer>): Response | Promise<Response> {
  if (bytes === undefined) return new Promise(() => {});
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(bytes),
    pull: () => new Promise(() => {}),
  });
  return new Response(body);
}

/** Announces all of `bytes`, sends the first `length` of them and breaks the connection. */
export function cutShort(bytes: Uint8Array<ArrayBuffer>, length: number): Response {
  let sent = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (!sent) controller.enqueue(bytes.slice(0, length));
      else {
        // What was sent must be on its way first.
        await Bun.sleep(100);
        controller.error(new Error("cut"));
      }
      sent = true;
    },
  });
  return new Response(body, { headers: { "Content-Length": String(bytes.length) } });
}

export interface Lie {
  /** Content-Length; may be anything. */
  announced: number | string;
  body: Uint8Array;
  /** What comes after the body: an orderly end, a reset, or nothing for ever. */
  after: "end" | "reset" | "nothing";
}

/** Stands before a registry and passes on what that says, but for lies about length, which no HTTP server can be made to tell. */
export class LyingServer implements Disposable {
  readonly #server;

  private constructor(registry: FakeRegistry, lie: (path: string) => Lie | undefined) {
    this.#server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (data) => {
        const path = /^GET (\/\S*) /.exec(data.toString("latin1"))?.[1];
        // Anything else is a TLS handshake.
        if (path === undefined) socket.end();
        else void tell(socket, `http://${registry.host}${path}`, lie(path));
      });
    });
  }

  static async listen(registry: FakeRegistry, lie: (path: string) => Lie | undefined): Promise<LyingServer> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const server = new LyingServer(registry, lie);
    server.#server.listen(0, "127.0.0.1", resolve);
    await promise;
    return server;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  [Symbol.dispose](): void {
    this.#server.close();
  }
}

async function tell(socket: Socket, url: string, lie: Lie | undefined): Promise<void> {
  const answer = await fetch(url);
  const right = await answer.bytes();
  const { announced, body, after } = lie ?? { announced: right.length, body: right, after: "end" };
  const type = answer.headers.get("content-type") ?? "";
  const head = [`HTTP/1.1 ${answer.status} X`, `Content-Type: ${type}`, `Content-Length: ${announced}`];
  socket.write(`${[...head, "Connection: close"].join("\r\n")}\r\n\r\n`);
  socket.write(body);
  if (after === "end") socket.end();
  if (after === "reset") setTimeout(() => socket.resetAndDestroy(), 50);
}

/** A body that breaks off: `announced` bytes are promised, only `bytes` come, then the connection is cut. */
export class BrokenServer implements Disposable {
  readonly #listener;

  constructor(answer: string, hold = false) {
    this.#listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket) {
          socket.write(answer);
          if (!hold) socket.end();
        },
      },
    });
  }

  get host(): string {
    return `127.0.0.1:${this.#listener.port}`;
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }
}
