/**
 * One HTTP exchange with a host: TLS rules, standstill, size caps, and network failures as
 * EngineErrors. Neither redirects nor retries (transport.ts); no secret gets into an error.
 */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import { tlsMaterial, type TlsMaterial } from "./certs.ts";
import { proxyFor } from "./proxy.ts";
import { isLoopback } from "./sources.ts";
import { Watchdog } from "./watchdog.ts";

export interface HttpPolicy {
  /** Unverified TLS and plain HTTP everywhere this client goes. */
  insecure: boolean;
  /** Plain HTTP on loopback. */
  plainHttp: boolean;
  certDir?: string | undefined;
  /** The registry as a person names it ("docker.io", "h:5000"): a client certificate of `certDir` is for this host alone. */
  registry: string;
  stallMs: number;
}

export interface HttpRequest {
  method: string;
  headers?: Record<string, string>;
  body?: Uint8Array | AsyncIterable<Uint8Array> | undefined;
}

/** URL for people: without user, query and fragment, where registries put signatures. */
export function redacted(url: string | URL): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

export class Http {
  readonly #policy: HttpPolicy;
  readonly #tls = new Map<string, TlsMaterial>();

  constructor(policy: HttpPolicy) {
    this.#policy = policy;
  }

  /** Errors: permission-denied (plain HTTP), unavailable (network; `data.transient` tells if a retry may help), canceled. */
  async exchange(ctx: Ctx, url: URL, request: HttpRequest): Promise<Reply> {
    this.#checkScheme(url);
    const proxy = proxyFor(url);
    const watchdog = new Watchdog(ctx, this.#policy.stallMs);
    try {
      const { body } = request;
      const options: BunFetchRequestInit = {
        method: request.method,
        headers: { "Accept-Encoding": "identity", "User-Agent": "berth/0.1", ...request.headers },
        redirect: "manual",
        signal: watchdog.signal,
        // Blobs are stored as sent: a Content-Encoding is not ours to undo.
        decompress: false,
        ...(url.protocol === "https:" ? { tls: this.#tlsOptions(url.host) } : {}),
      };
      if (body !== undefined) {
        // Bun takes an async iterator for a body and honours a Content-Length given with it.
        const stream = body instanceof Uint8Array ? body : watched(body, watchdog);
        options.body = stream as unknown as ReadableStream;
      }
      // Bun's own limit would end a long upload; the watchdog decides.
      const response = await fetch(url, {
        ...options,
        timeout: false,
        // `false`, because Bun would ask the environment itself, by other rules.
        proxy: proxy?.href ?? false,
      } as BunFetchRequestInit);
      watchdog.touch();
      return new Reply(ctx, url, response, watchdog);
    } catch (error) {
      watchdog[Symbol.dispose]();
      throw networkError(ctx, { url, proxy, stalled: watchdog.stalled }, error);
    }
  }

  #checkScheme(url: URL): void {
    if (url.protocol === "https:") return;
    const loopback = this.#policy.plainHttp && isLoopback(url.host);
    if (url.protocol === "http:" && (this.#policy.insecure || loopback)) return;
    throw fail("permission-denied", `refusing to talk to "${redacted(url)}" without TLS`, {
      reason: "plain-http",
      hint: 'mark the registry "insecure" in registries.conf, or give --tls-verify=false',
    });
  }

  #tlsOptions(host: string) {
    let material = this.#tls.get(host);
    if (material === undefined) {
      material = tlsMaterial(host, this.#policy);
      this.#tls.set(host, material);
    }
    const client = material.cert === undefined ? {} : { cert: material.cert, key: material.key };
    if (this.#policy.insecure) return { rejectUnauthorized: false, ...client };
    return material.ca.length === 0 ? client : { ca: material.ca, ...client };
  }
}

/** Whoever has taken everything is silent while it checks and stores that: bytes a millisecond, of a slow one. */
const STORING_SPEED = 10_000;

async function* watched(source: AsyncIterable<Uint8Array>, watchdog: Watchdog): AsyncIterable<Uint8Array> {
  let total = 0;
  for await (const chunk of source) {
    watchdog.touch();
    total += chunk.length;
    yield chunk;
  }
  watchdog.touch(total / STORING_SPEED);
}

/** Bun's own addition to the standard reader. */
type BunReader = ReadableStreamDefaultReader<Uint8Array> & {
  readMany(): Promise<{ done: boolean; value: Uint8Array[] }>;
};

/** An answer whose body has not been read. Exactly one of the reading methods must be called, or `discard`. */
export class Reply {
  readonly url: URL;
  readonly status: number;
  readonly headers: Headers;
  readonly #ctx: Ctx;
  readonly #response: Response;
  readonly #watchdog: Watchdog;

  constructor(ctx: Ctx, url: URL, response: Response, watchdog: Watchdog) {
    this.url = url;
    this.status = response.status;
    this.headers = response.headers;
    this.#ctx = ctx;
    this.#response = response;
    this.#watchdog = watchdog;
  }

  /** The body as it comes. Leaving the loop early closes the connection. Errors: as `exchange`. */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    const reader = this.#response.body?.getReader() as BunReader | undefined;
    try {
      while (reader !== undefined) {
        // readMany takes everything that has arrived at once: far fewer turns of the event loop than read().
        const { done, value } = await reader.readMany();
        this.#watchdog.touch();
        for (const chunk of value) {
          // The time the receiver takes is not the sender's.
          this.#watchdog.rest();
          yield chunk;
          this.#watchdog.touch();
        }
        if (done) break;
      }
    } catch (error) {
      if (error instanceof EngineError) throw error;
      throw networkError(this.#ctx, { url: this.url, stalled: this.#watchdog.stalled }, error);
    } finally {
      this.#watchdog[Symbol.dispose]();
      await reader?.cancel().catch(() => {});
    }
  }

  /** The whole body. Errors: resource-exhausted over `limit` bytes, before more than that is held. */
  async bytes(limit: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let length = 0;
    const announced = Number(this.headers.get("content-length") ?? 0);
    if (announced > limit) {
      await this.discard();
      throw this.#tooLarge(limit);
    }
    for await (const chunk of this.chunks()) {
      length += chunk.length;
      if (length > limit) throw this.#tooLarge(limit);
      parts.push(chunk);
    }
    return Buffer.concat(parts, length);
  }

  /** The beginning of the body as text, for error messages; never throws. */
  async excerpt(limit = 64 * 1024): Promise<string> {
    const parts: Uint8Array[] = [];
    let length = 0;
    try {
      for await (const chunk of this.chunks()) {
        parts.push(chunk);
        length += chunk.length;
        if (length >= limit) break;
      }
    } catch {
      // What has come so far is enough to tell.
    }
    return Buffer.concat(parts).subarray(0, limit).toString();
  }

  async discard(): Promise<void> {
    this.#watchdog[Symbol.dispose]();
    await this.#response.body?.cancel().catch(() => {});
  }

  #tooLarge(limit: number): Error {
    return fail("resource-exhausted", `answer of "${redacted(this.url)}" is larger than ${limit} bytes`, {
      reason: "answer-too-large",
    });
  }
}

const PERMANENT: Record<string, string> = {
  ECONNREFUSED: "connection refused",
  ENOTFOUND: "the host name cannot be resolved",
  EPROTO: "the TLS handshake failed",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "the network is unreachable",
};

interface Broken {
  url: URL;
  proxy?: URL | undefined;
  stalled: boolean;
}

/** Errors of fetch; `data.code` is the system's or OpenSSL's word for it. */
function networkError(ctx: Ctx, { url, proxy, stalled }: Broken, error: unknown): EngineError {
  if (ctx.signal.aborted) return fail("canceled", "canceled", { cause: ctx.signal.reason });
  const host = url.host;
  const through = proxy === undefined ? "" : ` through the proxy "${proxy.host}"`;
  if (stalled) {
    return fail("unavailable", `"${host}" has stopped sending`, {
      reason: "stalled",
      data: { transient: true },
    });
  }
  const code = String((error as { code?: unknown } | null)?.code ?? "");
  if (/CERT|SIGNATURE|ISSUER|ALTNAME/.test(code)) {
    const text = (error as Error).message;
    return fail("unavailable", `cannot verify the certificate of "${host}"${through}: ${text}`, {
      reason: "tls",
      hint: `put its authority into /etc/containers/certs.d/${host}/ca.crt, or give --tls-verify=false`,
      data: { code, transient: false },
    });
  }
  if (code === "ERR_PROXY_TUNNEL") return proxyRefused(host, through, error);
  const known = PERMANENT[code];
  return fail("unavailable", `cannot reach "${host}"${through}: ${known ?? "the connection broke"}`, {
    reason: "network",
    data: { code, transient: known === undefined },
    cause: error,
  });
}

function proxyRefused(host: string, through: string, error: unknown): EngineError {
  const status = Number(/\b([45]\d\d)\b/.exec((error as Error).message)?.[1] ?? 0);
  const said =
    status === 407 ? "it wants other credentials" : status === 0 ? "it refused" : `it answered ${status}`;
  return fail("unavailable", `cannot reach "${host}"${through}: ${said}`, {
    // Not "network": a refusal says nothing of whether the host speaks TLS.
    reason: "proxy",
    hint: "look at HTTPS_PROXY and NO_PROXY in the environment",
    data: { status, transient: status >= 500 },
  });
}
