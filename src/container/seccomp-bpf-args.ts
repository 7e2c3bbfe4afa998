/** Code for the rules of one system call: comparisons of 64-bit arguments, which classic BPF reads as two 32-bit halves. */
import { fail } from "../core/error.ts";
import type { OciSeccompArg, OciSeccompRule } from "./spec-oci.ts";
import { quote } from "./spec-text.ts";

/** code, jt, jf, k of struct sock_filter; jumps are relative to the next instruction. */
export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

export const RET = 0x06;
const LD_ABS = 0x20;
const JEQ = 0x15;
const JGT = 0x25;
const JGE = 0x35;
const AND = 0x54;

/** Offset of args[0] in struct seccomp_data; each is 8 bytes, the low half first on little-endian machines. */
const OFFSET_ARGS = 16;

const EPERM = 1;

const ACTIONS: Record<string, number> = {
  SCMP_ACT_KILL: 0x00000000,
  SCMP_ACT_KILL_THREAD: 0x00000000,
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
};

/** SECCOMP_RET_* with its data. Errors: invalid-argument. */
export function returnValue(action: string, errno: number | undefined): number {
  const base = ACTIONS[action];
  if (base === undefined) throw fail("invalid-argument", `unknown seccomp action ${quote(action)}`);
  const carriesData = action === "SCMP_ACT_ERRNO" || action === "SCMP_ACT_TRACE";
  return carriesData ? base + ((errno ?? EPERM) & 0xffff) : base;
}

/** Tries the rules in order; the fallback if none matches. */
export function argumentBlock(rules: readonly OciSeccompRule[], fallback: number): Instruction[] {
  const code: Instruction[] = [];
  for (const rule of rules) {
    const verdict: Instruction = [RET, 0, 0, returnValue(rule.action, rule.errnoRet)];
    if (rule.args === undefined || rule.args.length === 0) return [...code, verdict];
    code.push(...ruleCode(rule.args, verdict));
  }
  return [...code, [RET, 0, 0, fallback]];
}

/** Jumps to the symbols are resolved when the whole rule is known. */
type Target = "next" | "pass" | "fail";
type Step = { code: number; k: number; yes: Target; no: Target };

function ruleCode(args: readonly OciSeccompArg[], verdict: Instruction): Instruction[] {
  const tests = args.map(testOf);
  const total = tests.reduce((sum, test) => sum + test.length, 0);
  const code: Instruction[] = [];
  for (const test of tests) {
    const end = code.length + test.length;
    for (const step of test) {
      const here = code.length + 1;
      // Past the last test stands the verdict, and past that the next rule.
      const distance = { next: 0, pass: end - here, fail: total + 1 - here };
      const jumps = step.code !== LD_ABS && step.code !== AND;
      code.push(
        jumps ? [step.code, distance[step.yes], distance[step.no], step.k] : [step.code, 0, 0, step.k],
      );
    }
  }
  return [...code, verdict];
}

function testOf(arg: OciSeccompArg): Step[] {
  if (!Number.isInteger(arg.index) || arg.index < 0 || arg.index > 5) {
    throw fail("invalid-argument", `seccomp argument index ${arg.index} is not 0 to 5`);
  }
  const [high, low] = halves(arg.value);
  const upper = load(arg.index, 4);
  const lower = load(arg.index, 0);
  switch (arg.op) {
    case "SCMP_CMP_EQ":
      return [upper, jump(JEQ, high, "next", "fail"), lower, jump(JEQ, low, "pass", "fail")];
    case "SCMP_CMP_NE":
      return [upper, jump(JEQ, high, "next", "pass"), lower, jump(JEQ, low, "fail", "pass")];
    case "SCMP_CMP_GT":
    case "SCMP_CMP_GE":
      return above(arg, "pass", "fail");
    case "SCMP_CMP_LE":
    case "SCMP_CMP_LT":
      return above(arg, "fail", "pass");
    case "SCMP_CMP_MASKED_EQ": {
      const [high2, low2] = halves(arg.valueTwo ?? 0);
      return [
        upper,
        mask(high),
        jump(JEQ, high2, "next", "fail"),
        lower,
        mask(low),
        jump(JEQ, low2, "pass", "fail"),
      ];
    }
    default:
      throw fail("invalid-argument", `unknown seccomp operator ${quote(String(arg.op))}`);
  }
}

/** `argument > value` for GT and LE, `>=` for GE and LT, with the two outcomes named by the caller. */
function above(arg: OciSeccompArg, yes: Target, no: Target): Step[] {
  const [high, low] = halves(arg.value);
  const last = arg.op === "SCMP_CMP_GT" || arg.op === "SCMP_CMP_LE" ? JGT : JGE;
  return [
    load(arg.index, 4),
    jump(JGT, high, yes, "next"),
    jump(JEQ, high, "next", no),
    load(arg.index, 0),
    jump(last, low, yes, no),
  ];
}

function load(index: number, half: number): Step {
  return { code: LD_ABS, k: OFFSET_ARGS + 8 * index + half, yes: "next", no: "next" };
}

function mask(k: number): Step {
  return { code: AND, k, yes: "next", no: "next" };
}

function jump(code: number, k: number, yes: Target, no: Target): Step {
  return { code, k, yes, no };
}

function halves(value: number | bigint): [high: number, low: number] {
  const wide = BigInt(value);
  if (wide < 0n || wide > 0xffffffffffffffffn)
    throw fail("invalid-argument", `seccomp value ${value} is not a 64-bit number`);
  return [Number(wide >> 32n), Number(wide & 0xffffffffn)];
}
