/**
 * A token service as registries name in their challenge (distribution token specification, OAuth 2): passwords by GET with Basic,
 * refresh tokens by POST, tokens that a real `docker-registry` believes (JWT, ES256, certificate in `x5c`).
 */
import { createPrivateKey, randomUUID, sign, X509Certificate } from "node:crypto";
import type { Server } from "bun";

export interface TokenServiceOptions {
  /** PEM. */
  key: string;
  certificate: string;
  users: Record<string, string>;
  /** With this authority and key the service speaks TLS. */
  tls?: { key: string; cert: string };
  /** Seconds that tokens are good for. */
  lifetime?: number;
}

export interface TokenRequest {
  method: string;
  authorization: string | null;
  parameters: URLSearchParams;
}

export class TokenService implements Disposable {
  readonly service = "berth-test-registry";
  readonly issuer = "berth-test-issuer";
  readonly seen: TokenRequest[] = [];
  /** Refresh token → user. */
  readonly refreshTokens = new Map<string, string>();
  readonly #options: TokenServiceOptions;
  readonly #server: Server<undefined>;

  constructor(options: TokenServiceOptions) {
    this.#options = options;
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      development: false,
      ...(options.tls === undefined ? {} : { tls: options.tls }),
      fetch: (request) => this.#answer(request),
    });
  }

  get realm(): string {
    return `${this.#options.tls === undefined ? "http" : "https"}://127.0.0.1:${this.#server.port}/token`;
  }

  [Symbol.dispose](): void {
    void this.#server.stop(true);
  }

  async #answer(request: Request): Promise<Response> {
    const isPost = request.method === "POST";
    const parameters = isPost ? new URLSearchParams(await request.text()) : new URL(request.url).searchParams;
    const authorization = request.headers.get("authorization");
    this.seen.push({ method: request.method, authorization, parameters });
    const user = isPost
      ? this.refreshTokens.get(parameters.get("refresh_token") ?? "")
      : this.#userOf(authorization);
    if (user === undefined) return Response.json({ details: "incorrect credentials" }, { status: 401 });
    const answer: Record<string, unknown> = {
      [isPost ? "access_token" : "token"]: this.#token(user, parameters.getAll("scope")),
      expires_in: this.#options.lifetime ?? 300,
    };
    if (!isPost && user !== "" && parameters.get("offline_token") === "true") {
      const refresh = `refresh-${randomUUID()}`;
      this.refreshTokens.set(refresh, user);
      answer["refresh_token"] = refresh;
    }
    return Response.json(answer);
  }

  /** "" for nobody in particular; undefined for a wrong password. */
  #userOf(authorization: string | null): string | undefined {
    if (authorization === null) return "";
    const [name = "", password] = Buffer.from(authorization.replace(/^Basic /, ""), "base64")
      .toString()
      .split(":");
    return this.#options.users[name] === password ? name : undefined;
  }

  /** Whoever is nobody may only pull. */
  #token(user: string, scopes: string[]): string {
    const access = scopes
      .flatMap((scope) => scope.split(" "))
      .filter((scope) => scope !== "")
      .map((scope) => {
        const [type, ...rest] = scope.split(":");
        const actions = (rest.pop() ?? "").split(",").filter((action) => user !== "" || action === "pull");
        return { type, name: rest.join(":"), actions };
      });
    const now = Math.floor(Date.now() / 1000);
    const der = new X509Certificate(this.#options.certificate).raw.toString("base64");
    const claims = {
      iss: this.issuer,
      sub: user,
      aud: this.service,
      exp: now + (this.#options.lifetime ?? 300),
      nbf: now - 10,
      iat: now,
      jti: randomUUID(),
      access,
    };
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ typ: "JWT", alg: "ES256", x5c: [der] })}.${part(claims)}`;
    const key = createPrivateKey(this.#options.key);
    return `${signed}.${sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
  }
}
