/** What a registry says went wrong, as one of our errors (distribution-spec, "Error Codes"). */
import type { Kind } from "../core/error-table.ts";
import { type EngineError, fail } from "../core/error.ts";
import { redacted, type Reply } from "./http.ts";

export const CREDENTIALS_HINT =
  "log in (berth login REGISTRY), give them with --creds, or name a file of them with --authfile";

function kindOfStatus(status: number): Kind {
  if (status === 401) return "unauthenticated";
  if (status === 403 || status === 405) return "permission-denied";
  if (status === 404) return "not-found";
  if (status === 429) return "resource-exhausted";
  if (status >= 500) return "unavailable";
  return status >= 400 ? "invalid-argument" : "unavailable";
}

/** Reads the rest of the reply. `what` is the object in people's words: `manifest "latest" of "quay.io/x/y"`. */
export async function answerError(what: string, reply: Reply): Promise<EngineError> {
  const { code, message } = parseAnswer(await reply.excerpt());
  const { status } = reply;
  const kind = kindOfStatus(status);
  const named = status === 401 && code === "" && message === "" ? "authentication required" : code;
  const said = [named.toLowerCase().replaceAll("_", " "), message].filter((text) => text !== "");
  const detail = said.length === 0 ? `status ${status}` : [...new Set(said)].join(": ");
  const text =
    status === 404 ? `${what} not found: ${detail}` : `${what}: registry answered ${status}: ${detail}`;
  return fail(kind, text, {
    reason: code === "" ? `status-${status}` : code.toLowerCase().replaceAll("_", "-"),
    data: { status, url: redacted(reply.url) },
    ...hintFor(kind, reply),
  });
}

function hintFor(kind: Kind, reply: Reply): { hint?: string } {
  if (kind === "unauthenticated" || kind === "permission-denied") {
    return { hint: `the repository may not exist, or may want credentials: ${CREDENTIALS_HINT}` };
  }
  const wait = reply.headers.get("retry-after");
  if (kind === "resource-exhausted" && wait !== null && /^\d{1,9}$/.test(wait)) {
    return { hint: `the registry asks to wait ${wait} seconds` };
  }
  return {};
}

/** First entry of `{"errors":[{"code","message"}]}`; one clean line of each, cut short. */
function parseAnswer(text: string): { code: string; message: string } {
  const clean = (value: unknown, limit: number): string =>
    typeof value === "string"
      ? value
          .replace(/\p{Cc}+/gu, " ")
          .trim()
          .slice(0, limit)
      : "";
  try {
    const { errors } = JSON.parse(text) as { errors?: { code?: unknown; message?: unknown }[] };
    const first = Array.isArray(errors) ? errors[0] : undefined;
    return { code: clean(first?.code, 64), message: clean(first?.message, 300) };
  } catch {
    return { code: "", message: "" };
  }
}
