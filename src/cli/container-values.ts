/** Single values of `run` and `create`: limits, restart policies, namespaces, networks, platforms. */
import { resolve } from "node:path";
import { fail } from "../core/error.ts";
import type { ContainerSpec, Ulimit } from "../container/container.ts";
import { parseSize } from "./units.ts";

function invalid(flag: string, text: string, why: string): Error {
  return fail("invalid-argument", `invalid --${flag} "${text}": ${why}`, { reason: "flag-value" });
}

const ULIMITS = new Set(
  `as core cpu data fsize locks memlock msgqueue nice nofile nproc
  rss rtprio rttime sigpending stack`.split(/\s+/),
);

/** "nofile=1024:2048"; -1 or "unlimited" is no limit. Errors: invalid-argument. */
export function parseUlimit(text: string): Ulimit {
  const match = /^([a-z]+)=(-1|\d+|unlimited)(?::(-1|\d+|unlimited))?$/i.exec(text);
  if (match === null) throw invalid("ulimit", text, "write it as NAME=SOFT[:HARD]");
  const name = (match[1] as string).toLowerCase().replace(/^rlimit_/, "");
  if (!ULIMITS.has(name)) throw invalid("ulimit", text, `unknown limit "${name}"`);
  const number = (part: string): number => (part === "unlimited" ? -1 : Number(part));
  const soft = number(match[2] as string);
  const hard = match[3] === undefined ? soft : number(match[3]);
  if (hard !== -1 && (soft === -1 || soft > hard))
    throw invalid("ulimit", text, "the soft limit is above the hard one");
  return { name, soft, hard };
}

/** "no", "on-failure[:MAX]", "always", "unless-stopped". Errors: invalid-argument. */
export function parseRestart(text: string): ContainerSpec["restart"] {
  const [policy = "", count] = text.split(":");
  if (policy === "" || policy === "no" || policy === "never") return { policy: "no", max: 0 };
  if (policy === "on-failure") {
    if (count !== undefined && !/^\d+$/.test(count))
      throw invalid("restart", text, "the count is not a number");
    return { policy, max: Number(count ?? 0) };
  }
  if (policy !== "always" && policy !== "unless-stopped") {
    throw invalid("restart", text, "choose no, on-failure[:MAX], always or unless-stopped");
  }
  if (count !== undefined) throw invalid("restart", text, "only on-failure has a count");
  return { policy, max: 0 };
}

const MODES: Record<"pid" | "ipc" | "uts" | "cgroupns", readonly string[]> = {
  pid: ["host", "container"],
  ipc: ["host", "container", "shareable", "none"],
  uts: ["host", "container"],
  cgroupns: ["host", "private"],
};

/** Namespace modes as the spec keeps them: "" for a private one. Errors: invalid-argument, unimplemented. */
export function parseNamespace(flag: keyof typeof MODES, text: string | undefined): string {
  if (text === undefined || text === "" || (text === "private" && flag !== "cgroupns")) return "";
  if (text.startsWith("ns:")) throw fail("unimplemented", `--${flag} "${text}" is not supported yet`);
  const [mode = "", name] = text.split(":", 2);
  const isContainer = mode === "container";
  const known = MODES[flag].includes(mode) && isContainer === (name !== undefined);
  if (!known || name === "") {
    const choices = MODES[flag].map((choice) => (choice === "container" ? "container:NAME" : choice));
    throw invalid(flag, text, `choose ${[...new Set(["private", ...choices])].join(", ")}`);
  }
  return text;
}

/** The names podman and docker have for the default network. */
const DEFAULT_NETWORK = new Set(["", "bridge", "default", "podman"]);

/** Errors: invalid-argument, unimplemented (several networks, options, other drivers). */
export function parseNetwork(texts: readonly string[]): string {
  if (texts.length > 1) throw fail("unimplemented", "more than one --network is not supported yet");
  const text = texts[0] ?? "";
  if (DEFAULT_NETWORK.has(text)) return "bridge";
  if (text === "none" || text === "host") return text;
  if (text.startsWith("container:")) {
    if (text === "container:") throw invalid("network", text, "the name of the container is missing");
    return text;
  }
  if (/^(pasta|slirp4netns|ns:|private)/.test(text) || /[:,]/.test(text)) {
    throw fail("unimplemented", `--network "${text}" is not supported yet`);
  }
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text)) throw invalid("network", text, "not the name of a network");
  return text;
}

/** "name:ip", "name=ip" (docker), "name:[v6]", several names joined with ";" (podman). Errors: invalid-argument. */
export function parseAddHost(text: string): string[] {
  const match = /^([^:=]+)[:=]\[?([^[\]]+)\]?$/.exec(text);
  const address = match?.[2] ?? "";
  if (match === null || !/^([\d.]+|[\da-fA-F:.]*:[\da-fA-F:.]*|host-gateway)$/.test(address)) {
    throw invalid("add-host", text, "write it as NAME:IP");
  }
  return (match[1] as string).split(";").map((name) => `${name}:${address}`);
}

/** `--entrypoint`: a JSON array, one word, or "" for none. */
export function parseEntrypoint(text: string): string[] {
  if (text === "") return [];
  if (!text.startsWith("[")) return [text];
  try {
    const array: unknown = JSON.parse(text);
    if (Array.isArray(array) && array.every((item): item is string => typeof item === "string")) return array;
  } catch {
    // Not JSON: the name of a program that begins with a bracket.
  }
  return [text];
}

/** `--umask`: octal. */
export function parseUmask(text: string): number {
  if (!/^[0-7]{1,4}$/.test(text)) throw invalid("umask", text, "not an octal mode");
  return Number.parseInt(text, 8);
}

interface PlatformValues {
  platform?: string | undefined;
  os?: string | undefined;
  arch?: string | undefined;
  variant?: string | undefined;
}

/** One platform out of --platform, or --os, --arch and --variant. Errors: invalid-argument for both. */
export function parsePlatformFlags(values: PlatformValues): string | undefined {
  const { platform, os, arch, variant } = values;
  if (os === undefined && arch === undefined && variant === undefined) return platform;
  if (platform !== undefined) {
    throw fail("invalid-argument", "--platform cannot be used with --os, --arch or --variant", {
      reason: "arguments",
    });
  }
  const own = process.arch === "x64" ? "amd64" : process.arch;
  return [os ?? "linux", arch ?? own, ...(variant === undefined ? [] : [variant])].join("/");
}

const LOG_DRIVERS = ["k8s-file", "json-file", "none", "passthrough"] as const;

export function parseLogDriver(text: string | undefined): ContainerSpec["logDriver"] {
  if (text === undefined) return "k8s-file";
  const driver = LOG_DRIVERS.find((known) => known === text);
  if (driver !== undefined) return driver;
  if (["journald", "local", "syslog", "fluentd", "gelf", "awslogs", "splunk"].includes(text)) {
    throw fail("unimplemented", `log driver "${text}" is not supported yet`, {
      hint: `choose ${LOG_DRIVERS.join(", ")}`,
    });
  }
  throw invalid("log-driver", text, `choose ${LOG_DRIVERS.join(", ")}`);
}

/** `--device HOST[:PATH[:rwm]]`. Errors: invalid-argument. */
export function parseDevice(text: string): string {
  const [host = "", second, third] = text.split(":");
  const permissions = third ?? (second !== undefined && !second.startsWith("/") ? second : "rwm");
  if (!host.startsWith("/") || !/^[rwm]{1,3}$/.test(permissions) || text.split(":").length > 3) {
    throw invalid("device", text, "write it as HOST[:PATH[:rwm]]");
  }
  const path = second?.startsWith("/") === true ? second : host;
  return permissions === "rwm" && path === host && second === undefined
    ? text
    : `${host}:${path}:${permissions}`;
}

/**
 * `--log-opt`: `max-size` in bytes, `path` absolute; docker's `max-file` and podman's `tag` are taken but mean nothing to
 * the drivers that are here. Errors: invalid-argument for any other.
 */
export function parseLogOptions(options: Record<string, string>): Record<string, string> {
  const parsed: Record<string, string> = {};
  for (const [key, value] of Object.entries(options)) {
    if (key === "max-size") {
      const bytes = parseSize(value);
      if (bytes > 0) parsed[key] = String(bytes);
    } else if (key === "path") {
      parsed[key] = resolve(value);
    } else if (key === "tag" || key === "max-file") {
      parsed[key] = value;
    } else {
      throw fail("invalid-argument", `unknown log option "${key}"`, {
        reason: "flag-value",
        hint: "known: max-size, path, tag",
      });
    }
  }
  return parsed;
}
