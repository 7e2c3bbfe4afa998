/**
 * Answers a registry's challenges: Basic, or Bearer with a token from the realm it names
 * (anonymous, by password, or by identity token). One authenticator serves one host and repository; tokens are
 * cached per realm and set of scopes until shortly before they expire, and fetched once however many ask.
 *
 * Which token service is told a password is the registry's to say (that is the protocol); nobody else's: challenges of other hosts
 * never get here (transport.ts), and a token service that redirects elsewhere takes no credentials along.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { CREDENTIALS_HINT } from "./answer-error.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Login } from "./credentials.ts";
import { type Http, redacted, type Reply } from "./http.ts";

const CLIENT_ID = "berth";
const MAX_TOKEN_BYTES = 1024 * 1024;
const MAX_REDIRECTS = 5;
/** Token specification: what an answer without `expires_in` means, seconds. */
const DEFAULT_LIFETIME = 60;

interface Token {
  value: string;
  /** performance.now() milliseconds. */
  expires: number;
  /** How many requests it has been sent with. */
  uses: number;
  /** What gets further tokens in place of the password, if the service gives such things. */
  refreshToken?: string;
}

export interface AuthenticatorOptions {
  /** As people name the registry; for messages. */
  host: string;
  /** Called once, when credentials are first needed: looking them up may run a helper. */
  login: (ctx: Ctx) => Login | undefined;
  /** Asks for an identity token along with the first token (`berth login`). */
  offline?: boolean;
}

export class Authenticator {
  readonly #http: Http;
  readonly #host: string;
  readonly #login: (ctx: Ctx) => Login | undefined;
  readonly #offline: boolean;
  readonly #tokens = new Map<string, Promise<Token>>();
  /** Scopes a registry has named beyond those asked for. */
  readonly #extraScopes = new Set<string>();
  #challenge: Challenge | undefined;

  constructor(http: Http, options: AuthenticatorOptions) {
    this.#http = http;
    this.#host = options.host;
    this.#offline = options.offline === true;
    let known: { login: Login | undefined } | undefined;
    this.#login = (ctx) => (known ??= { login: options.login(ctx) }).login;
  }

  /** An identity token that came with the tokens so far. */
  async refreshToken(): Promise<string | undefined> {
    for (const token of this.#tokens.values()) {
      const { refreshToken } = await token;
      if (refreshToken !== undefined) return refreshToken;
    }
    return undefined;
  }

  /** The Authorization header for these scopes; undefined while the registry has not asked for one. */
  async header(ctx: Ctx, scopes: string[]): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    if (challenge.scheme === "basic") return this.#basic(ctx);
    const token = await this.#token(ctx, challenge, this.#wanted(scopes));
    token.uses++;
    return `Bearer ${token.value}`;
  }

  #wanted(scopes: string[]): string[] {
    return [...new Set([...scopes, ...this.#extraScopes])].toSorted();
  }

  /** Takes in the challenge of a 401; false if nothing new was learned, so that asking again is useless. */
  async learn(
    ctx: Ctx,
    answer: { reply: Reply; scopes: string[]; sent: string | undefined },
  ): Promise<boolean> {
    const { reply, scopes, sent } = answer;
    const login = this.#login(ctx);
    const usable = parseChallenges(reply.headers.get("www-authenticate") ?? "").find(
      (c) => c.scheme === "bearer" || (login !== undefined && "password" in login),
    );
    if (usable === undefined) return false;
    const before = this.#challenge;
    const isNew = before === undefined || sent === undefined;
    this.#challenge = usable;
    if (usable.scheme === "basic") return isNew;
    const stale = before !== undefined && (await this.#drop(before, scopes, sent));
    const named = usable.scope ?? "";
    const more = named !== "" && !covered(named, scopes) && !this.#extraScopes.has(named);
    if (more) this.#extraScopes.add(named);
    return isNew || more || stale;
  }

  /**
   * A token that has been good may have been withdrawn or have expired early: it is worth one new one. True if
   * there is none now, or another one already, that can be tried; a token refused at its first use is not asked for again.
   */
  async #drop(challenge: Challenge, scopes: string[], sent: string | undefined): Promise<boolean> {
    const key = tokenKey(challenge, this.#wanted(scopes));
    const token = await this.#tokens.get(key)?.catch(() => undefined);
    if (token === undefined || sent !== `Bearer ${token.value}`) return true;
    if (token.uses < 2) return false;
    this.#tokens.delete(key);
    return true;
  }

  #basic(ctx: Ctx): string {
    const login = this.#login(ctx);
    if (login === undefined || !("password" in login)) throw this.#needsLogin();
    return basicHeader(login.username, login.password);
  }

  #needsLogin(): Error {
    return fail("unauthenticated", `registry "${this.#host}" requires a login`, {
      reason: "login-required",
      hint: CREDENTIALS_HINT,
    });
  }

  async #token(ctx: Ctx, challenge: Challenge, scopes: string[]): Promise<Token> {
    const key = tokenKey(challenge, scopes);
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
    if (reply.status < 200 || reply.status > 299) throw await this.#tokenRefused(reply, login !== undefined);
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
      // A name and password in it would be sent in place of ours.
      url.username = "";
      url.password = "";
      url.hash = "";
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
    if (this.#offline) {
      target.searchParams.set("offline_token", "true");
      target.searchParams.set("client_id", CLIENT_ID);
    }
    if (login === undefined || !("password" in login)) return this.#get(ctx, target, {});
    target.searchParams.set("account", login.username);
    return this.#get(ctx, target, { Authorization: basicHeader(login.username, login.password) });
  }

  /** Follows redirects; the password goes no further than the realm's own origin. */
  async #get(ctx: Ctx, start: URL, secret: Record<string, string>): Promise<Reply> {
    let url = start;
    for (let hops = 0; ; hops++) {
      const headers = url.origin === start.origin ? secret : {};
      const reply = await this.#http.exchange(ctx, url, { method: "GET", headers });
      const location = reply.headers.get("location");
      const moved = [301, 302, 303, 307, 308].includes(reply.status) && location !== null;
      if (!moved || hops >= MAX_REDIRECTS || !URL.canParse(location, url.href)) return reply;
      await reply.discard();
      url = new URL(location, url);
    }
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
      data: {
        status,
        transient: status === 429 || status >= 500,
        retryAfter: reply.headers.get("retry-after"),
      },
    });
  }
}

function tokenKey(challenge: Challenge, scopes: string[]): string {
  return JSON.stringify([challenge.realm, challenge.service, ...scopes]);
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
    const refreshToken = answer["refresh_token"];
    return {
      value,
      expires: performance.now() + Math.min(seconds, 86_400) * 900,
      uses: 0,
      ...(typeof refreshToken === "string" && refreshToken !== "" ? { refreshToken } : {}),
    };
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
