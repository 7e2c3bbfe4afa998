/**
 * Diagnostics for people who run berth: always on stderr, never on success unless asked for.
 *
 * `--log-level` (or BERTH_LOG_LEVEL) sets the threshold, default `warn`. `BERTH_DEBUG=storage,registry` (or `all`) opens
 * debug lines of single areas whatever the level. `--trace` (or BERTH_TRACE=1) prints hops and
 * each spawned argv with the time since start.
 */
export type Level = "error" | "warn" | "info" | "debug" | "trace";

const RANK: Record<Level, number> = { error: 0, warn: 1, info: 2, debug: 3, trace: 4 };

export interface Log {
  error(message: string): void;
  warn(message: string): void;
  info(message: string): void;
  debug(message: string): void;
  /** A hop or a spawned argv; printed only under `--trace`. The argument is built lazily. */
  trace(message: () => string): void;
  /** The same sink under another area name (`registry`, `storage`, …). */
  area(name: string): Log;
}

export interface LogOptions {
  level?: Level;
  /** Areas opened by BERTH_DEBUG. */
  debugAreas?: ReadonlySet<string>;
  trace?: boolean;
  write?: (line: string) => void;
}

export function isLevel(text: string): text is Level {
  return text in RANK;
}

export function createLog(options: LogOptions = {}, area = ""): Log {
  const level = RANK[options.level ?? "warn"];
  const areas = options.debugAreas;
  const open = areas !== undefined && (areas.has("all") || areas.has(area));
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const put = (name: Level, message: string): void => {
    if (RANK[name] > level && !(open && name === "debug")) return;
    write(`berth: ${name}: ${area === "" ? "" : `${area}: `}${message}\n`);
  };
  return {
    error: (message) => put("error", message),
    warn: (message) => put("warn", message),
    info: (message) => put("info", message),
    debug: (message) => put("debug", message),
    trace: (message) => {
      if (options.trace === true) write(`[${performance.now().toFixed(1)} ms] ${message()}\n`);
    },
    area: (name) => createLog(options, name),
  };
}

/** A log that says nothing: for tests and for completion. */
export const silentLog: Log = createLog({ level: "error", write: () => {} });
