/**
 * Seccomp profiles from users (`--security-opt seccomp=FILE`), in Docker's format: the runtime specification's object, plus conditions by
 * capability and architecture (`includes`, `excludes`) and, instead of a list of architectures, `archMap`.
 */
import { fail } from "../core/error.ts";
import type { SeccompArch } from "./seccomp-key.ts";
import type { OciSeccomp, OciSeccompArg, OciSeccompRule } from "./spec-oci.ts";
import { quote } from "./spec-text.ts";

/** Larger texts are not profiles. */
const MAX_PROFILE_FILE = 4 * 1024 * 1024;

type Json = Record<string, unknown>;

interface Facts {
  capabilities: ReadonlySet<string>;
  /** Names of this machine in profiles: Go's and the kernel's. */
  machines: readonly string[];
}

const MACHINES: Record<SeccompArch, { names: readonly string[]; scmp: string }> = {
  x64: { names: ["amd64", "x86_64", "x86", "386", "x32"], scmp: "SCMP_ARCH_X86_64" },
  arm64: { names: ["arm64", "aarch64", "arm"], scmp: "SCMP_ARCH_AARCH64" },
};

/** The profile for one container. Errors: invalid-argument, naming what is wrong. */
export function parseSeccompProfile(
  text: string,
  capabilities: readonly string[],
  arch: SeccompArch,
): OciSeccomp {
  const profile = objectOf(parseJson(text), "the profile");
  const facts: Facts = { capabilities: new Set(capabilities), machines: MACHINES[arch].names };
  const defaultAction = actionOf(profile["defaultAction"], "defaultAction");
  const errno = profile["defaultErrnoRet"];
  const rules = listOf(profile["syscalls"] ?? [], "syscalls").map((entry) =>
    objectOf(entry, "a system call rule"),
  );
  return {
    defaultAction,
    ...(errno === undefined || errno === null
      ? {}
      : { defaultErrnoRet: integerOf(errno, "defaultErrnoRet") }),
    architectures: architecturesOf(profile, arch),
    syscalls: rules.filter((rule) => applies(rule, facts)).map(ruleOf),
  };
}

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;

/** Masks of 64 bits do not fit a number: they are read from the text itself. */
function parseJson(text: string): unknown {
  if (text.length > MAX_PROFILE_FILE) throw fail("invalid-argument", "the seccomp profile is too large");
  const exact: Reviver = (_, value, { source }) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^\d+$/.test(source ?? "")
      ? BigInt(source ?? 0)
      : value;
  try {
    return JSON.parse(text, exact as (key: string, value: unknown) => unknown);
  } catch (cause) {
    throw fail("invalid-argument", "the seccomp profile is not JSON", { cause });
  }
}

function architecturesOf(profile: Json, arch: SeccompArch): string[] {
  const map = profile["archMap"];
  if (map === undefined || map === null) {
    return listOf(profile["architectures"] ?? [], "architectures").map((name) =>
      stringOf(name, "architectures"),
    );
  }
  const own = MACHINES[arch].scmp;
  for (const value of listOf(map, "archMap")) {
    const entry = objectOf(value, "archMap");
    if (entry["architecture"] !== own) continue;
    const others = listOf(entry["subArchitectures"] ?? [], "subArchitectures");
    return [own, ...others.map((name) => stringOf(name, "subArchitectures"))];
  }
  return [own];
}

/** Every condition of `includes` must hold, none of `excludes` may. A minimum kernel is older than any that berth runs on. */
function applies(rule: Json, facts: Facts): boolean {
  const includes = objectOf(rule["includes"] ?? {}, "includes");
  const excludes = objectOf(rule["excludes"] ?? {}, "excludes");
  const caps = (from: Json) => listOf(from["caps"] ?? [], "caps").map((name) => stringOf(name, "caps"));
  const arches = (from: Json) =>
    listOf(from["arches"] ?? [], "arches").map((name) => stringOf(name, "arches"));
  const here = (names: string[]) => names.some((name) => facts.machines.includes(name));
  const wanted = arches(includes);
  return (
    caps(includes).every((name) => facts.capabilities.has(name)) &&
    (wanted.length === 0 || here(wanted)) &&
    !caps(excludes).some((name) => facts.capabilities.has(name)) &&
    !here(arches(excludes))
  );
}

function ruleOf(rule: Json): OciSeccompRule {
  const names = rule["names"] === undefined ? [rule["name"]] : listOf(rule["names"], "names");
  const args = listOf(rule["args"] ?? [], "args").map((arg) => argOf(objectOf(arg, "args")));
  const errno = rule["errnoRet"];
  return {
    names: names.map((name) => stringOf(name, "names")),
    action: actionOf(rule["action"], "action"),
    ...(errno === undefined || errno === null ? {} : { errnoRet: integerOf(errno, "errnoRet") }),
    ...(args.length === 0 ? {} : { args }),
  };
}

const OPERATORS: ReadonlySet<string> = new Set<OciSeccompArg["op"]>([
  "SCMP_CMP_EQ",
  "SCMP_CMP_NE",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_LE",
  "SCMP_CMP_LT",
  "SCMP_CMP_MASKED_EQ",
]);

function argOf(arg: Json): OciSeccompArg {
  const op = stringOf(arg["op"], "op");
  if (!isOperator(op)) throw invalid("op", op);
  const index = integerOf(arg["index"], "index");
  if (index > 5) throw invalid("index", index);
  return {
    index,
    value: wideOf(arg["value"], "value"),
    valueTwo: wideOf(arg["valueTwo"] ?? 0, "valueTwo"),
    op,
  };
}

function isOperator(op: string): op is OciSeccompArg["op"] {
  return OPERATORS.has(op);
}

const ACTION = /^SCMP_ACT_(KILL|KILL_THREAD|KILL_PROCESS|TRAP|ERRNO|TRACE|LOG|ALLOW)$/;

/** SCMP_ACT_NOTIFY needs a listener, which berth does not have. */
function actionOf(value: unknown, where: string): string {
  const action = stringOf(value, where);
  if (!ACTION.test(action)) throw invalid(where, action);
  return action;
}

function objectOf(value: unknown, where: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(where, value);
  return value as Json;
}

function listOf(value: unknown, where: string): unknown[] {
  if (!Array.isArray(value)) throw invalid(where, value);
  return value;
}

function stringOf(value: unknown, where: string): string {
  if (typeof value !== "string" || value === "") throw invalid(where, value);
  return value;
}

function integerOf(value: unknown, where: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw invalid(where, value);
  return value;
}

function wideOf(value: unknown, where: string): number | bigint {
  if (typeof value === "bigint" && value <= 0xffffffffffffffffn) return value;
  return integerOf(value, where);
}

function invalid(where: string, value: unknown): Error {
  return fail("invalid-argument", `invalid ${where} ${quote(String(value))} in the seccomp profile`);
}
