/**
 * What a low-level runtime says when it fails, turned into the engine's kinds. The only place that
 * reads such texts (DESIGN §5); the texts of each runtime are recorded in test/golden/oci-errors.
 */
import { type EngineError, type ErrorFacts, fail } from "../core/error.ts";
import type { Kind } from "../core/error-table.ts";

export interface RuntimeFailure {
  /** "crun" */
  runtime: string;
  /** The subcommand: "create", "start", "exec", "kill", … */
  verb: string;
  /** What it wrote to stderr (or what the monitor passed on of it). */
  stderr: string;
  /** What it wrote to its `--log` file, JSON lines (runsc leaves the newlines out). */
  log?: string;
}

interface Rule {
  pattern: RegExp;
  kind: Kind;
  reason: string;
  hint?: string;
  /** Verbs that this can be about; all if absent. */
  verbs?: readonly string[];
}

const STARTING = ["create", "start", "exec", "run"] as const;

/** The first rule that matches decides, so the narrow ones come first. */
const rules: readonly Rule[] = [
  {
    pattern:
      /loading (container|sandbox)\b.*file does not exist|container does not exist|\/status`: No such file|cannot open directory '[^']*': No such file/i,
    kind: "not-found",
    reason: "no-container",
  },
  {
    pattern: /already exists$/i,
    kind: "already-exists",
    reason: "container-exists",
    verbs: ["create", "run"],
  },
  {
    pattern:
      /executable file .*not found in \$?PATH|error finding executable .* in PATH|exec: ".*": stat .*: no such file or directory|failed to load .*: no such file or directory|open executable: No such file|exec(?: container process)?(?: \S+)?: No such file or directory/i,
    kind: "command-not-found",
    reason: "command-not-found",
    verbs: STARTING,
  },
  {
    pattern:
      /open executable: |exec: ".*": (permission denied|is a directory)|failed to load .*: (permission denied|exec format error|is a directory)|exec(?: container process)?(?: \S+)?: (Exec format error|Permission denied|Is a directory|Operation not permitted)/i,
    kind: "command-not-executable",
    reason: "command-not-executable",
    verbs: STARTING,
  },
  {
    pattern:
      /chdir[ `].*(Not a directory|No such file|Permission denied)|mkdir .*: not a directory|chdir to cwd/i,
    kind: "invalid-argument",
    reason: "workdir",
    hint: "the working directory must be a directory that the container's user may enter",
    verbs: STARTING,
  },
  {
    pattern: /hybrid mode not supported/,
    kind: "unavailable",
    reason: "hybrid-cgroup",
    hint: "use --runtime runc on this host",
  },
  {
    pattern: /setrlimit|setting rlimit/i,
    kind: "permission-denied",
    reason: "rlimit",
    hint: "the host does not allow this limit: choose a lower --ulimit",
  },
  {
    pattern: /memory limit could be too low|unable to set memory limit/i,
    kind: "invalid-argument",
    reason: "memory-limit",
    hint: "the container needs more memory to start: choose a higher --memory",
  },
  {
    pattern: /\/proc\/sys\/.*(No such file|Permission denied|Operation not permitted|Invalid argument)/i,
    kind: "invalid-argument",
    reason: "sysctl",
    hint: "this kernel does not have, or does not allow, that --sysctl",
  },
  {
    pattern:
      /^error stat'ing file|error mounting ".*: stat .*: no such file|setting up FS: mounting .*stat\(".*no such file/i,
    kind: "invalid-argument",
    reason: "mount-source",
    hint: "the source of a bind mount must exist",
    verbs: STARTING,
  },
  { pattern: /^mount `|error mounting "/i, kind: "invalid-argument", reason: "mount", verbs: STARTING },
  {
    pattern: /namespace path: |^open `[^`]*`: No such file/i,
    kind: "not-found",
    reason: "namespace",
    verbs: STARTING,
  },
  {
    pattern: /invalid rootfs|^make `.*` private|mounting root on root/i,
    kind: "not-found",
    reason: "rootfs",
    verbs: STARTING,
  },
  {
    pattern: /exec\.fifo|already running|cannot start container .* in state (running|paused)/i,
    kind: "conflict",
    reason: "container-running",
    verbs: ["start"],
  },
  {
    pattern: /not paused|cannot resume container/i,
    kind: "conflict",
    reason: "container-not-paused",
    verbs: ["resume"],
  },
  { pattern: /(is|a) paused|in state paused/i, kind: "conflict", reason: "container-paused" },
  {
    pattern: /that is not stopped|not in `created` or `stopped` state/i,
    kind: "conflict",
    reason: "container-running",
    verbs: ["delete"],
  },
  {
    pattern:
      /not running|No such process|connecting to control server.*connection refused|process already finished|stopped container|has stopped|in state (stopped|created)/i,
    kind: "conflict",
    reason: "container-not-running",
  },
  {
    pattern: /unknown signal|signal.*invalid argument/i,
    kind: "invalid-argument",
    reason: "invalid-signal",
    verbs: ["kill"],
  },
  {
    pattern: /no space left on device|disk quota exceeded/i,
    kind: "resource-exhausted",
    reason: "no-space",
  },
];

/** Endings that podman gives these errors; scripts look for them. */
const ENDING: Partial<Record<Kind, string>> = {
  "command-not-found": "OCI runtime attempted to invoke a command that was not found",
  "command-not-executable": "OCI permission denied",
};

function unquote(literal: string): string {
  try {
    return JSON.parse(literal) as string;
  } catch {
    return literal.slice(1, -1);
  }
}

/**
 * The last error in the log; the first one where the last only says that a helper process has gone (runsc),
 * because then the helper itself wrote why.
 */
function loggedText(log: string): string | undefined {
  const messages = [...log.matchAll(/"msg":("(?:[^"\\]|\\.)*")/g)].map((m) => unquote(m[1] as string));
  const last = messages.at(-1);
  return last?.endsWith("EOF") === true ? messages[0] : last;
}

/** The text for people of a runtime's output: the error of its log if there is one, else stderr. */
export function runtimeText(stderr: string, log = ""): string {
  const text = loggedText(log) ?? stderr;
  const line = /^panic: .*$/m.exec(text)?.[0] ?? text;
  return line
    .trim()
    .replace(/^(runc )?(create|exec|run|start) failed: (unable to start container process: )?/, "")
    .replaceAll(/\s*\n\s*/g, "; ");
}

export function runtimeError(failure: RuntimeFailure, facts: ErrorFacts = {}): EngineError {
  const text = runtimeText(failure.stderr, failure.log) || "it failed without a word";
  const rule = rules.find((r) => (r.verbs?.includes(failure.verb) ?? true) && r.pattern.test(text));
  const kind = rule?.kind ?? "internal";
  return fail(kind, `${failure.runtime}: ${text}: ${ENDING[kind] ?? "OCI runtime error"}`, {
    reason: rule?.reason ?? "runtime-failed",
    ...(rule?.hint !== undefined && { hint: rule.hint }),
    ...facts,
    data: { runtime: failure.runtime, verb: failure.verb, text, ...facts.data },
  });
}
