/**
 * Answers a registry's challenges: Basic, or Bearer with a token from the realm it names
 * (anonymous, by password, or by identity token). One authenticator serves one host and repository; tokens are
 * cached per set of scopes until shortly before they expire, and fetched once however many ask.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { CREDENTIALS_HINT } from "./answer-error.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Login } from "./credentials.ts";
import { type Http, redacted, type Reply } from "./http.ts";

const CLIENT_ID = "berth";
const MAX_TOKEN_BYTES = 1024 * 1024;
/** Token specification: what an answer without `expires_in` means, seconds. */
const DEFAULT_LIFETIME = 60;

interface Token {
  value: string;
  /** performance.now() milliseconds. */
  expires: number;
}

export class Authenticator {
  readonly #http: Http;
  readonly #host: string;
  readonly #login: (ctx: Ctx) => Login | undefined;
  readonly #tokens = new Map<string, Promise<Token>>();
  /** Scopes a registry has named beyond those asked for. */
  readonly #extraScopes = new Set<string>();
  #challenge: Challenge | undefined;

  /** `login` is called when credentials are first needed: looking them up may run a helper. */
  constructor(http: Http, host: string, login: (ctx: Ctx) => Login | undefined) {
    this.#http = http;
    this.#host = host;
    let known: { login: Login | undefined } | undefined;
    this.#login = (ctx) => (known ??= { login: login(ctx) }).login;
  }

  /** The Authorization header for these scopes; undefined while the registry has not asked for one. */
  async header(ctx: Ctx, scopes: string[]): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    if (challenge.scheme === "basic") return this.#basic(ctx);
    const wanted = [...new Set([...scopes, ...this.#extraScopes])].toSorted();
    const token = await this.#token(ctx, challenge, wanted);
    return `Bearer ${token.value}`;
  }

  /** Takes in the challenge of a 401; false if nothing new was learned, so that asking again is useless. */
  learn(ctx: Ctx, answer: { reply: Reply; scopes: string[]; sent: string | undefined }): boolean {
    const { reply, scopes, sent } = answer;
    const login = this.#login(ctx);
    const usable = parseChallenges(reply.headers.get("www-authenticate") ?? "").find(
      (c) => c.scheme === "bearer" || (login !== undefined && "username" in login),
    );
    if (usable === undefined) return false;
    const isNew = this.#challenge === undefined || sent === undefined;
    this.#challenge = usable;
    if (usable.scheme === "basic") return isNew;
    const named = usable.scope ?? "";
    const more = named !== "" && !covered(named, scopes) && !this.#extraScopes.has(named);
    if (more) this.#extraScopes.add(named);
    // A token may have been withdrawn or have expired early: it is worth one new one.
    const stale = usable.error === "invalid_token" && this.#tokens.size > 0;
    if (stale) this.#tokens.clear();
    return isNew || more || stale;
  }

  #basic(ctx: Ctx): string {
    const login = this.#login(ctx);
    if (login === undefined || !("username" in login)) throw this.#needsLogin();
    return basicHeader(login.username, login.password);
  }

  #needsLogin(): Error {
    return fail("unauthenticated", `registry "${this.#host}" requires a login`, {
      reason: "login-required",
      hint: CREDENTIALS_HINT,
    });
  }

  async #token(ctx: Ctx, challenge: Challenge, scopes: string[]): Promise<Token> {
    const key = scopes.join(" ");
    const cached = this.#tokens.get(key);
    if (cached !== undefined) {
      const token = await cached;
      if (token.expires > performance.now()) return token;
    }
    // Whoever comes here first fetches; a failure is not kept.
    if (this.#tokens.get(key) === cached) this.#tokens.set(key, this.#fetchToken(ctx, challenge, scopes));
    const pending = this.#tokens.get(key) as Promise<Token>;
    try {
      return await pending;
    } catch (error) {
      if (this.#tokens.get(key) === pending) this.#tokens.delete(key);
      throw error;
    }
  }

  async #fetchToken(ctx: Ctx, challenge: Challenge, scopes: string[]): Promise<Token> {
    const url = this.#realm(challenge);
    const login = this.#login(ctx);
    const reply =
      login !== undefined && "identityToken" in login
        ? await this.#postToken(ctx, url, tokenForm(challenge, scopes, login.identityToken))
        : await this.#getToken(ctx, url, { challenge, scopes, login });
    if (reply.status !== 200) throw await this.#tokenRefused(reply, login !== undefined);
    const answer = parseTokenAnswer(await reply.bytes(MAX_TOKEN_BYTES));
    if (answer === undefined) {
      throw fail("unauthenticated", `token service "${redacted(url)}" gave an answer without a token`, {
        reason: "token-answer",
      });
    }
    return answer;
  }

  #realm(challenge: Challenge): URL {
    try {
      const url = new URL(challenge.realm);
      if (url.protocol === "https:" || url.protocol === "http:") return url;
    } catch {
      // Said below.
    }
    throw fail("unauthenticated", `registry "${this.#host}" names no usable token service`, {
      reason: "token-realm",
    });
  }

  #getToken(
    ctx: Ctx,
    url: URL,
    { challenge, scopes, login }: { challenge: Challenge; scopes: string[]; login: Login | undefined },
  ): Promise<Reply> {
    const target = new URL(url);
    if (challenge.service !== undefined) target.searchParams.set("service", challenge.service);
    for (const scope of scopes) target.searchParams.append("scope", scope);
    if (login === undefined || !("username" in login))
      return this.#http.exchange(ctx, target, { method: "GET" });
    target.searchParams.set("account", login.username);
    const headers = { Authorization: basicHeader(login.username, login.password) };
    return this.#http.exchange(ctx, target, { method: "GET", headers });
  }

  #postToken(ctx: Ctx, url: URL, form: URLSearchParams): Promise<Reply> {
    const headers = { "Content-Type": "application/x-www-form-urlencoded" };
    return this.#http.exchange(ctx, url, {
      method: "POST",
      headers,
      body: new TextEncoder().encode(form.toString()),
    });
  }

  async #tokenRefused(reply: Reply, hadLogin: boolean): Promise<Error> {
    await reply.discard();
    const { status } = reply;
    const where = `token service "${redacted(reply.url)}"`;
    if (status === 401 || status === 403 || status === 400) {
      return fail(
        "unauthenticated",
        `${where} refused ${hadLogin ? "the credentials" : "anonymous access"}`,
        {
          reason: hadLogin ? "bad-credentials" : "login-required",
          hint: CREDENTIALS_HINT,
        },
      );
    }
    const kind = status === 429 ? "resource-exhausted" : "unavailable";
    return fail(kind, `${where} answered with status ${status}`, {
      reason: "token-service",
      data: { status, transient: true },
    });
  }
}

function basicHeader(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

function tokenForm(challenge: Challenge, scopes: string[], refreshToken: string): URLSearchParams {
  const form = new URLSearchParams({
    grant_type: "refresh_token",
    client_id: CLIENT_ID,
    refresh_token: refreshToken,
  });
  if (challenge.service !== undefined) form.set("service", challenge.service);
  form.set("scope", scopes.join(" "));
  return form;
}

function parseTokenAnswer(bytes: Uint8Array): Token | undefined {
  try {
    const answer = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const value = answer["token"] || answer["access_token"];
    if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value)) return undefined;
    const given = answer["expires_in"];
    const seconds = typeof given === "number" && given > 0 ? given : DEFAULT_LIFETIME;
    return { value, expires: performance.now() + Math.min(seconds, 86_400) * 900 };
  } catch {
    return undefined;
  }
}

/** Whether "repository:x:pull" is within the scopes already asked for. */
function covered(named: string, scopes: string[]): boolean {
  return named.split(" ").every((one) => scopes.some((scope) => includesScope(scope, one)));
}

function includesScope(scope: string, other: string): boolean {
  const split = (text: string) => [
    text.slice(0, text.lastIndexOf(":")),
    text.slice(text.lastIndexOf(":") + 1),
  ];
  const [name, actions] = split(scope) as [string, string];
  const [otherName, otherActions] = split(other) as [string, string];
  const have = new Set(actions.split(","));
  return name === otherName && otherActions.split(",").every((action) => have.has(action));
}
