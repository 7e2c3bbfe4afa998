/** `WWW-Authenticate` (RFC 9110 §11.6.1; distribution token specification). */

export interface Challenge {
  scheme: "basic" | "bearer";
  realm: string;
  service?: string;
  scope?: string;
  /** "insufficient_scope", "invalid_token". */
  error?: string;
}

/** All challenges of a kind we can answer, Bearer first. Malformed parts are passed over. */
export function parseChallenges(header: string): Challenge[] {
  const found: Challenge[] = [];
  let parameters: Record<string, string> | undefined;
  // Either `name=value` (token or quoted), or a bare word, which begins a new challenge.
  const part = /([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z][A-Za-z0-9_-]*)/g;
  for (const [, name, quoted, token, word] of header.slice(0, 16_384).matchAll(part)) {
    if (word !== undefined) {
      parameters = {};
      const scheme = word.toLowerCase();
      if (scheme === "basic" || scheme === "bearer")
        found.push({ scheme, realm: "", parameters } as Challenge);
    } else if (parameters !== undefined) {
      parameters[(name as string).toLowerCase()] = quoted?.replace(/\\(.)/g, "$1") ?? token ?? "";
    }
  }
  return found.map(withParameters).toSorted((a, b) => rank(a) - rank(b));
}

function rank(challenge: Challenge): number {
  return challenge.scheme === "bearer" ? 0 : 1;
}

function withParameters(challenge: Challenge): Challenge {
  const { parameters } = challenge as Challenge & { parameters: Record<string, string> };
  const { realm = "", service, scope, error } = parameters;
  return {
    scheme: challenge.scheme,
    realm,
    ...(service === undefined ? {} : { service }),
    ...(scope === undefined ? {} : { scope }),
    ...(error === undefined ? {} : { error }),
  };
}
