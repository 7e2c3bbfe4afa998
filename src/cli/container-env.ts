/** Environment and labels from flags and files. */
import { fail, ioText } from "../core/error.ts";

function lines(what: string, path: string): string[] {
  let text: string;
  try {
    text = process.getBuiltinModule("node:fs").readFileSync(path, "utf8");
  } catch (cause) {
    const why = ioText(cause);
    throw fail("invalid-argument", `cannot read the ${what} file "${path}": ${why}`, { cause });
  }
  return text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .map((line) => line.trimStart())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

/** "K=V" as it is; "K" alone takes our value, "K*" all of ours that begin so; what we do not have is left out. */
function resolveVariable(what: string, text: string, own: NodeJS.ProcessEnv): string[] {
  const equals = text.indexOf("=");
  const key = equals < 0 ? text : text.slice(0, equals);
  if (key === "" || /\s/.test(key)) {
    throw fail("invalid-argument", `invalid ${what} "${text}"`, {
      hint: "write it as KEY=VALUE",
      reason: "invalid-env",
    });
  }
  if (equals >= 0) return [text];
  if (key.endsWith("*")) {
    const prefix = key.slice(0, -1);
    return Object.entries(own).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [`${name}=${value}`] : [],
    );
  }
  return own[key] === undefined ? [] : [`${key}=${own[key]}`];
}

const PROXIES = [
  "http_proxy",
  "https_proxy",
  "ftp_proxy",
  "no_proxy",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "FTP_PROXY",
  "NO_PROXY",
];

export interface EnvRequest {
  variables: readonly string[];
  files?: readonly string[];
  /** Our whole environment first. */
  host?: boolean;
  /** Our proxy variables first. */
  proxies?: boolean;
  own?: NodeJS.ProcessEnv;
}

/** Later ones win: our own, then files, then flags. Each key once, in order of first appearance. */
export function parseEnv(request: EnvRequest): string[] {
  const own = request.own ?? process.env;
  const merged = new Map<string, string>();
  const add = (entry: string): void => void merged.set(entry.slice(0, entry.indexOf("=")), entry);
  if (request.host === true) for (const [key, value] of Object.entries(own)) add(`${key}=${value}`);
  if (request.proxies === true)
    for (const key of PROXIES) if (own[key] !== undefined) add(`${key}=${own[key]}`);
  for (const file of request.files ?? []) {
    for (const line of lines("environment", file))
      for (const entry of resolveVariable("variable", line, own)) add(entry);
  }
  for (const text of request.variables)
    for (const entry of resolveVariable("variable", text, own)) add(entry);
  return [...merged.values()];
}

/** "k=v" or "k"; files before flags. Errors: invalid-argument. */
export function parseLabels(
  labels: readonly string[],
  files: readonly string[] = [],
): Record<string, string> {
  const all = [...files.flatMap((file) => lines("label", file)), ...labels];
  return parsePairs("label", all);
}

/** Errors: invalid-argument for an empty key. */
export function parsePairs(what: string, texts: readonly string[]): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const text of texts) {
    const equals = text.indexOf("=");
    const key = equals < 0 ? text : text.slice(0, equals);
    if (key.trim() === "") throw fail("invalid-argument", `invalid ${what} "${text}": the key is empty`);
    pairs[key] = equals < 0 ? "" : text.slice(equals + 1);
  }
  return pairs;
}
