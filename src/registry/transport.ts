/**
 * Requests to one source (a registry's host and repository): TLS or plain HTTP, authentication, redirects, retries.
 *
 * The Authorization header goes only to the source's own origin. Redirects are followed at most
 * ten times and never from TLS to plain HTTP unless the registry is insecure. 429, 5xx and broken
 * connections are retried for requests that can be repeated, with back-off and Retry-After.
 */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import { Authenticator } from "./auth.ts";
import { answerError } from "./answer-error.ts";
import type { Login } from "./credentials.ts";
import { Http, redacted, type Reply } from "./http.ts";
import { RangeBudget } from "./ranges.ts";
import type { RetryPolicy } from "./registry.ts";
import { isLoopback, type Source } from "./sources.ts";
import { speaksTls } from "./tls-probe.ts";

const MAX_REDIRECTS = 10;
const MAX_PAUSE_MS = 60_000;

export interface TransportRequest {
  method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** A path on the source ("/v2/…") or an absolute URL (an upload's Location). */
  target: string | URL;
  headers?: Record<string, string>;
  /**
   * A function opens a stream, from its beginning each time: after a challenge or a redirect it is called again. Whether a
   * stream that broke can be sent once more is the caller's to know; bytes are sent again.
   */
  body?: Uint8Array | (() => AsyncIterable<Uint8Array>);
  /** Token scopes this request needs. */
  scopes: string[];
  /** For errors: `manifest "latest" of "quay.io/x/y"`. */
  what: string;
  /** Statuses that are answers; any other is thrown as an error. */
  accept: number[];
}

export interface TransportOptions {
  source: Source;
  certDir?: string | undefined;
  retry: RetryPolicy;
  login: (ctx: Ctx) => Login | undefined;
  /** Asks the token service for an identity token as well. */
  offline?: boolean;
}

export class Transport {
  readonly source: Source;
  readonly retry: RetryPolicy;
  readonly ranges = new RangeBudget();
  readonly #http: Http;
  readonly #auth: Authenticator;
  readonly #warned = new Set<string>();
  #base: Promise<URL> | undefined;

  constructor(options: TransportOptions) {
    const { source, retry, certDir } = options;
    this.source = source;
    this.retry = retry;
    const { insecure, plainHttp } = source;
    const { registry } = source;
    this.#http = new Http({ insecure, plainHttp, certDir, registry, stallMs: retry.stallMs });
    const { login, offline = false } = options;
    this.#auth = new Authenticator(this.#http, { host: registry, login, offline });
  }

  /** A reply whose status is in `accept`; its body is the caller's. Errors: as answer-error.ts and http.ts. */
  async request(ctx: Ctx, request: TransportRequest): Promise<Reply> {
    const repeatable = request.body === undefined || request.body instanceof Uint8Array;
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.#try(ctx, request);
      if (!(outcome instanceof EngineError)) return outcome;
      const mayRetry = repeatable && request.method !== "PATCH" && outcome.data["transient"] === true;
      if (!mayRetry) throw outcome;
      // Callers that have a patience of their own are not to begin anew with what has been tried often enough.
      if (attempt >= this.retry.retries)
        throw Object.assign(outcome, { data: { ...outcome.data, exhausted: true } });
      ctx.log.debug(`${request.what}: ${outcome.message}; trying again`);
      await pause(ctx, this.retry, attempt, outcome);
    }
  }

  /** What the token service gave for later logins, if it was asked and does such things. */
  refreshToken(): Promise<string | undefined> {
    return this.#auth.refreshToken();
  }

  /** An error is returned, not thrown, when it is one of this exchange. */
  async #try(ctx: Ctx, request: TransportRequest): Promise<Reply | EngineError> {
    try {
      const reply = await this.#authorized(ctx, request);
      if (request.accept.includes(reply.status)) return reply;
      const transient = reply.status === 429 || (reply.status >= 500 && reply.status !== 501);
      const retryAfter = reply.headers.get("retry-after");
      const error = await answerError(request.what, reply);
      return Object.assign(error, { data: { ...error.data, transient, retryAfter } });
    } catch (error) {
      if (error instanceof EngineError) return error;
      throw error;
    }
  }

  async #authorized(ctx: Ctx, request: TransportRequest): Promise<Reply> {
    const url = new URL(request.target, await this.#baseUrl(ctx));
    for (let round = 0; ; round++) {
      const header = await this.#auth.header(ctx, request.scopes);
      const reply = await this.#follow(ctx, url, request, header);
      this.#showWarnings(ctx, reply);
      if (reply.status !== 401 || round >= 2) return reply;
      // Whoever a redirect or a manifest's urls led to must not choose who is told our credentials (CVE-2020-15157).
      if (reply.url.origin !== url.origin || url.origin !== (await this.#baseUrl(ctx)).origin) return reply;
      if (!(await this.#auth.learn(ctx, { reply, scopes: request.scopes, sent: header }))) return reply;
      await reply.discard();
    }
  }

  async #follow(
    ctx: Ctx,
    start: URL,
    request: TransportRequest,
    authorization: string | undefined,
  ): Promise<Reply> {
    const home = (await this.#baseUrl(ctx)).origin;
    let url = start;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const headers = { ...request.headers };
      if (authorization !== undefined && url.origin === home) headers["Authorization"] = authorization;
      const { method, body } = request;
      const sent = typeof body === "function" ? body() : body;
      const reply = await this.#http.exchange(ctx, url, { method, headers, body: sent });
      const next = redirectTarget(reply, request);
      if (next === undefined) return reply;
      await reply.discard();
      ctx.log.trace(() => `redirect to ${redacted(next)}`);
      url = next;
    }
    throw fail("unavailable", `${request.what}: more than ${MAX_REDIRECTS} redirects`, {
      reason: "redirects",
    });
  }

  /** Where this source is spoken to. Only where plain HTTP is allowed does it take a request to find out. */
  #baseUrl(ctx: Ctx): Promise<URL> {
    const base = (this.#base ??= this.#findBase(ctx));
    base.catch(() => (this.#base = undefined));
    return base;
  }

  async #findBase(ctx: Ctx): Promise<URL> {
    const { plainHttp, registry } = this.source;
    const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
    const secure = new URL(`https://${host}`);
    if (!plainHttp) return secure;
    const plain = new URL(`http://${host}`);
    // No proxy is between us and this machine.
    const isTls = isLoopback(secure.host) ? await speaksTls(ctx, secure.host) : undefined;
    if (isTls !== undefined) return isTls ? secure : plain;
    try {
      await (await this.#http.exchange(ctx, new URL("/v2/", secure), { method: "GET" })).discard();
      return secure;
    } catch (error) {
      if (!(error instanceof EngineError) || error.reason !== "network") throw error;
      ctx.log.debug(`registry "${registry}" does not speak TLS; using plain HTTP`);
      return plain;
    }
  }

  #showWarnings(ctx: Ctx, reply: Reply): void {
    // distribution-spec, "Warnings": only code 299 and only this form.
    const text = /^299 - "((?:[^"\\]|\\.){1,500})"/.exec(reply.headers.get("warning") ?? "")?.[1];
    if (text === undefined || this.#warned.has(text) || this.#warned.size > 20) return;
    this.#warned.add(text);
    ctx.log.warn(`registry "${this.source.registry}" says: ${text.replace(/\p{Cc}/gu, "?")}`);
  }
}

/** The next URL if the reply is a redirect this request can follow: 307 and 308 for any, the others for reads. */
function redirectTarget(reply: Reply, request: TransportRequest): URL | undefined {
  const { status } = reply;
  const location = reply.headers.get("location");
  if (![301, 302, 303, 307, 308].includes(status) || location === null) return undefined;
  const reads = request.method === "GET" || request.method === "HEAD";
  if (!reads && status < 307) return undefined;
  try {
    return new URL(location, reply.url);
  } catch {
    throw fail("unavailable", `${request.what}: redirect to a malformed address`, { reason: "redirects" });
  }
}

/** Exponential, a little random so that many clients do not come back together; a Retry-After that is longer wins, up to a minute. */
export async function pause(
  ctx: Ctx,
  retry: RetryPolicy,
  attempt: number,
  error?: EngineError,
): Promise<void> {
  const backOff = retry.baseMs * 2 ** attempt * (0.75 + Math.random() / 2);
  const asked = retryAfterMs(error?.data["retryAfter"]);
  const wait = Math.min(Math.max(backOff, asked), MAX_PAUSE_MS);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const giveUp = (): void => reject(fail("canceled", "canceled", { cause: ctx.signal.reason }));
  if (ctx.signal.aborted) giveUp();
  ctx.signal.addEventListener("abort", giveUp, { once: true });
  const timer = setTimeout(resolve, wait);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    ctx.signal.removeEventListener("abort", giveUp);
  }
}

/** Seconds or an HTTP date. */
function retryAfterMs(value: unknown): number {
  if (typeof value !== "string") return 0;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? 0 : Math.max(0, date - Date.now());
}
