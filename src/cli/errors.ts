/** The edge where errors become words on stderr and exit codes (DESIGN §5, podman's and docker's habits). */
import { EngineError, kindOf, messageOf } from "../core/error.ts";
import { errorTable } from "../core/error-table.ts";
import type { Output } from "./output.ts";
import type { Personality } from "./personality.ts";

/** Commands whose missing object is exit code 1 and whose object in use is 2, as in podman. */
const REMOVERS = new Set([
  "rm",
  "rmi",
  "container rm",
  "image rm",
  "manifest rm",
  "network rm",
  "volume rm",
  "pod rm",
  "secret rm",
]);

/** Commands of docker that keep 125, 126 and 127. */
const DOCKER_RUNS = new Set(["run", "create", "exec", "container run", "container create", "container exec"]);

export function exitCodeOf(error: unknown, path: string, personality: Personality): number {
  const kind = kindOf(error);
  const { exit } = errorTable[kind];
  if (kind === "not-modified" || kind === "canceled") return exit;
  if (personality.docker) return dockerExitCode(error, path, exit);
  // skopeo knows no other.
  if (personality.name === "skopeo") return 1;
  if (REMOVERS.has(path)) {
    // podman has no number of its own for an image with several names.
    if (isReason(error, "image-has-names")) return exit;
    if (kind === "not-found") return 1;
    if (kind === "in-use" || kind === "conflict") return 2;
  }
  return exit;
}

/** docker: 1 everywhere, but for what `run`, `create` and `exec` say of the command to run, and 125 for a failed run. */
function dockerExitCode(error: unknown, path: string, exit: number): number {
  if (!DOCKER_RUNS.has(path) || isReason(error, "arguments")) return 1;
  return path.endsWith("exec") && exit === 125 ? 1 : exit;
}

/** Mistakes in the call itself, found before any verb was called. */
function isUsageError(error: unknown): boolean {
  return ["unknown-flag", "flag-value", "flag-needs-value", "arguments"].some((reason) =>
    isReason(error, reason),
  );
}

function isReason(error: unknown, reason: string): boolean {
  return error instanceof EngineError && error.reason === reason;
}

function isInternal(error: unknown): boolean {
  return !(error instanceof EngineError) || error.kind === "internal";
}

export interface ErrorContext {
  out: Output;
  personality: Personality;
  path: string;
  trace: boolean;
  /** "[options] IMAGE" of the command, for docker's usage line. */
  usage?: string;
}

/** `Error: …` and the hint on the next line; docker's prefixes under docker's name. */
export function printError(error: unknown, context: ErrorContext): void {
  const { out, personality } = context;
  const lines = personality.docker ? dockerLines(error, context) : plainLines(error, context);
  const hint = error instanceof EngineError ? error.hint : undefined;
  if (hint !== undefined) lines.splice(1, 0, named(hint, personality));
  out.error(printable(lines.join("\n")));
  if (context.trace && isInternal(error)) out.error(Bun.inspect(error));
}

/** Errors quote documents, servers and file names of strangers, who must not write to the terminal through them. */
function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, "?");
}

/** Commands in a hint are called by the name that the caller used. */
function named(hint: string, { name }: Personality): string {
  return name === "berth" ? hint : hint.replace(/\bberth (?=[a-z])/g, `${name} `);
}

function plainLines(error: unknown, context: ErrorContext): string[] {
  const lines = [`Error: ${messageOf(error)}`];
  if (isUsageError(error))
    lines.push(`See '${context.personality.name} ${context.path} --help'`.replace("  ", " "));
  return lines;
}

/** docker's own words where scripts look for them; the engine speaks podman's. */
const DOCKER_WORDS: [RegExp, string][] = [
  [/^no container with name or ID "(.*)" found: no such container$/, "No such container: $1"],
  [/^(.*): image not known$/, "No such image: $1"],
  [/^(.*): manifest list not known$/, "No such manifest: $1"],
  [
    /^image "(.*)" is in use by container ([0-9a-f]{12}).*$/,
    'conflict: unable to remove repository reference "$1" (must force) - container $2 is using its referenced image',
  ],
  [
    /^unable to delete image "(.*)" by ID with more than one tag .*$/,
    "conflict: unable to delete $1 (must be forced) - image is referenced in multiple repositories",
  ],
  [/^no such object: "(.*)"$/, "No such object: $1"],
];

function dockerMessage(error: unknown): string {
  const message = messageOf(error);
  for (const [pattern, words] of DOCKER_WORDS) {
    if (pattern.test(message)) return message.replace(pattern, words);
  }
  return message;
}

function dockerLines(error: unknown, context: ErrorContext): string[] {
  const message = dockerMessage(error);
  const program = `docker ${context.path}`.trimEnd();
  if (isReason(error, "unknown-command"))
    return [`docker: ${message}`, `\nRun '${program} --help' for more information`];
  if (isReason(error, "no-such-object")) return [`Error: ${message}`];
  if (isUsageError(error)) {
    const usage = context.usage === undefined ? [] : [`\nUsage:  ${program} ${context.usage}`];
    return [message, ...usage, `\nRun '${program} --help' for more information`];
  }
  if (DOCKER_RUNS.has(context.path) && !context.path.endsWith("exec")) {
    return [
      `docker: Error response from daemon: ${message}`,
      `\nRun '${program} --help' for more information`,
    ];
  }
  return [`Error response from daemon: ${message}`];
}
