/**
 * `--change` of import and commit: single Dockerfile instructions that alter the configuration.
 * "CMD /bin/sh", "CMD=/bin/sh", 'ENTRYPOINT ["/init"]', "ENV A=1 B='two words'", "LABEL k=v" …
 */
import { fail } from "../core/error.ts";
import { parseDuration } from "../core/time.ts";
import { excerpt } from "./digest.ts";
import type { ContainerConfig, Healthcheck } from "./image.ts";

type Apply = (config: ContainerConfig, rest: string, change: string) => void;

const INSTRUCTIONS: Record<string, Apply> = {
  CMD: (config, rest) => void (config.Cmd = commandOf(rest)),
  ENTRYPOINT: (config, rest) => void (config.Entrypoint = commandOf(rest)),
  ENV: (config, rest, change) => {
    for (const [key, value] of pairs(rest, change)) setEnv(config, key, value);
  },
  LABEL: (config, rest, change) => {
    for (const [key, value] of pairs(rest, change)) config.Labels = { ...config.Labels, [key]: value };
  },
  EXPOSE: (config, rest, change) => {
    for (const port of words(rest, change)) {
      for (const key of exposedPorts(port, change))
        config.ExposedPorts = { ...config.ExposedPorts, [key]: {} };
    }
  },
  VOLUME: (config, rest, change) => {
    for (const path of jsonStrings(rest) ?? words(rest, change))
      config.Volumes = { ...config.Volumes, [path]: {} };
  },
  USER: (config, rest, change) => void (config.User = single(rest, change)),
  WORKDIR: (config, rest, change) =>
    void (config.WorkingDir = joinPath(config.WorkingDir, single(rest, change))),
  STOPSIGNAL: (config, rest, change) => void (config.StopSignal = single(rest, change)),
  SHELL: (config, rest, change) => {
    const shell = jsonStrings(rest);
    if (shell === undefined || shell.length === 0)
      throw invalidChange(change, "SHELL takes a JSON list of strings");
    config.Shell = shell;
  },
  ONBUILD: (config, rest, change) => {
    const inner = /^\s*([A-Za-z]+)/.exec(rest)?.[1]?.toUpperCase() ?? "";
    if (["ONBUILD", "FROM", "MAINTAINER"].includes(inner))
      throw invalidChange(change, `ONBUILD ${inner} is not allowed`);
    config.OnBuild = [...(config.OnBuild ?? []), rest];
  },
  HEALTHCHECK: (config, rest, change) => void (config.Healthcheck = healthcheck(rest, change)),
};

function invalidChange(change: string, problem: string): Error {
  return fail("invalid-argument", `invalid change "${excerpt(change)}": ${problem}`, {
    reason: "invalid-change",
  });
}

/** A changed copy; `config` itself stays as it is. Errors: invalid-argument naming the change. */
export function applyChanges(config: ContainerConfig, changes: string[]): ContainerConfig {
  const changed = structuredClone(config);
  for (const change of changes) {
    const match = /^\s*([A-Za-z]+)(?:\s*=\s*|\s+)([^]*?)\s*$/.exec(change);
    const name = match?.[1]?.toUpperCase() ?? "";
    const apply = Object.hasOwn(INSTRUCTIONS, name) ? INSTRUCTIONS[name] : undefined;
    if (match === null || apply === undefined) {
      throw invalidChange(
        change,
        `it is not one of ${Object.keys(INSTRUCTIONS).join(", ")} with an argument`,
      );
    }
    if (match[2] === "") throw invalidChange(change, `${name} needs an argument`);
    apply(changed, match[2] as string, change);
  }
  return changed;
}

/** Replaces the variable in place, or adds it at the end. */
function setEnv(config: ContainerConfig, key: string, value: string): void {
  const env = config.Env ?? [];
  const at = env.findIndex((item) => item.startsWith(`${key}=`));
  config.Env = at === -1 ? [...env, `${key}=${value}`] : env.with(at, `${key}=${value}`);
}

/** Exec form as written, anything else through the shell. */
function commandOf(rest: string): string[] {
  return jsonStrings(rest) ?? ["/bin/sh", "-c", rest];
}

function jsonStrings(text: string): string[] | undefined {
  if (!text.startsWith("[")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined;
  } catch {
    return undefined;
  }
}

function single(rest: string, change: string): string {
  const list = words(rest, change);
  if (list.length !== 1) throw invalidChange(change, "it takes exactly one argument");
  return list[0] as string;
}

function joinPath(base: string | undefined, path: string): string {
  const parts: string[] = [];
  for (const part of (path.startsWith("/") ? path : `${base ?? "/"}/${path}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** "K=V K2=V2", or the old form "K value with spaces". */
function pairs(rest: string, change: string): [string, string][] {
  const first = /^(?:"[^"]*"|'[^']*'|\S)+/.exec(rest)?.[0] ?? "";
  if (!first.includes("=")) {
    const value = rest.slice(first.length).trim();
    if (value === "") throw invalidChange(change, "write it as KEY=VALUE");
    return [[first, words(value, change).join(" ")]];
  }
  return words(rest, change).map((word) => {
    const equals = word.indexOf("=");
    if (equals < 1) throw invalidChange(change, `"${word}" is not KEY=VALUE`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

/** Splits at blanks outside quotes; takes quotes and backslashes away as a shell does. */
function words(text: string, change: string): string[] {
  const found: string[] = [];
  const unit = /\s+|'([^']*)'|"((?:\\[^]|[^"\\])*)"|\\([^])|([^\s'"\\]+)|[^]/gy;
  let word: string | undefined;
  for (const [all, quoted, double, escaped, plain] of text.matchAll(unit)) {
    const piece = quoted ?? double?.replace(/\\(["\\$`])/g, "$1") ?? escaped ?? plain;
    if (piece !== undefined) word = (word ?? "") + piece;
    else if (all.trim() !== "") throw invalidChange(change, "a quote is not closed");
    else if (word !== undefined) {
      found.push(word);
      word = undefined;
    }
  }
  return word === undefined ? found : [...found, word];
}

/** "80", "80/udp", "8000-8002/tcp" → "8000/tcp", "8001/tcp", … */
function exposedPorts(text: string, change: string): string[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(text);
  const from = Number(match?.[1]);
  const to = Number(match?.[2] ?? from);
  if (match === null || from < 1 || to > 65535 || from > to) {
    throw invalidChange(change, `"${text}" is not a port`);
  }
  const protocol = (match[3] ?? "tcp").toLowerCase();
  return Array.from({ length: to - from + 1 }, (_, i) => `${from + i}/${protocol}`);
}

const HEALTH_OPTIONS: Record<string, "Interval" | "Timeout" | "StartPeriod" | "StartInterval"> = {
  interval: "Interval",
  timeout: "Timeout",
  "start-period": "StartPeriod",
  "start-interval": "StartInterval",
};

/** Durations become nanoseconds, as the image config keeps them. */
function healthcheck(rest: string, change: string): Healthcheck {
  const health: Healthcheck = {};
  let left = rest;
  for (
    let option;
    (option = /^--([a-z-]+)=(\S+)\s+/.exec(left)) !== null;
    left = left.slice(option[0].length)
  ) {
    const [, name, value] = option as unknown as [string, string, string];
    const field = Object.hasOwn(HEALTH_OPTIONS, name) ? HEALTH_OPTIONS[name] : undefined;
    if (field !== undefined) health[field] = Math.round(parseDuration(value) * 1e6);
    else if (name === "retries" && /^\d+$/.test(value)) health.Retries = Number(value);
    else throw invalidChange(change, `"--${name}=${value}" is not an option of HEALTHCHECK`);
  }
  if (/^NONE$/i.test(left)) return { Test: ["NONE"] };
  const command = /^CMD\s+([^]+)$/i.exec(left)?.[1];
  if (command === undefined) throw invalidChange(change, "HEALTHCHECK takes CMD and a command, or NONE");
  const argv = jsonStrings(command);
  return { Test: argv === undefined ? ["CMD-SHELL", command] : ["CMD", ...argv], ...health };
}
