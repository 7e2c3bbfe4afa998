/** Asks a registry whether it knows us, before anything is kept. */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import type { Login } from "./auth-file.ts";
import { findLogin } from "./credentials.ts";
import type { RegistryOptions, RetryPolicy } from "./registry.ts";
import { sourceOfHost } from "./sources.ts";
import { Transport } from "./transport.ts";

/** A person waits for it. */
const PATIENCE: RetryPolicy = { retries: 2, baseMs: 500, stallMs: 30_000 };

export interface LoginCheck {
  /** "host[:port]". */
  host: string;
  /** `credentials` are what is checked; without them what is kept already for `key`. */
  options: RegistryOptions;
  /** "host[:port][/path]". */
  key: string;
}

/**
 * The login as it is best kept: an identity token where the registry's token service gives one in place of the password. Errors:
 * unauthenticated (reason "bad-credentials") if the registry does not take it; those of transport.ts.
 */
export async function checkLogin(ctx: Ctx, { host, key, options }: LoginCheck): Promise<Login | undefined> {
  const login = findLogin(ctx, key, options);
  const transport = new Transport({
    source: sourceOfHost(host, options),
    certDir: options.certDir,
    retry: { ...PATIENCE, ...options.retry },
    login: () => login,
    offline: login !== undefined && "password" in login,
  });
  try {
    const what = `registry "${host}"`;
    const reply = await transport.request(ctx, {
      method: "GET",
      target: "/v2/",
      scopes: [],
      what,
      accept: [200],
    });
    await reply.discard();
  } catch (error) {
    throw isRefusal(error) ? refused(host, error) : error;
  }
  const identityToken = await transport.refreshToken();
  if (identityToken === undefined || login === undefined || !("password" in login)) return login;
  return { identityToken, username: login.username };
}

function isRefusal(error: unknown): boolean {
  if (!(error instanceof EngineError)) return false;
  const status = Number(error.data["status"] ?? 0);
  return (error.kind === "unauthenticated" && error.reason !== "token-realm") || status === 403;
}

function refused(host: string, cause: unknown): Error {
  return fail("unauthenticated", `logging into "${host}": invalid username/password`, {
    reason: "bad-credentials",
    cause,
  });
}
