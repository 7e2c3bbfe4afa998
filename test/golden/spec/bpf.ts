/** A reader of classic BPF as the kernel's seccomp runs it, and what a profile says in plain words, to compare the two. */
import type { OciSeccomp, OciSeccompArg } from "../../../src/container/spec-oci.ts";

export interface Call {
  arch: number;
  number: number;
  args: bigint[];
}

export const AUDIT_X86_64 = 0xc000003e;
export const AUDIT_I386 = 0x40000003;
export const AUDIT_AARCH64 = 0xc00000b7;

/** struct seccomp_data: nr, arch, instruction pointer, six arguments. */
function seccompData(call: Call): DataView {
  const view = new DataView(new ArrayBuffer(64));
  view.setUint32(0, call.number, true);
  view.setUint32(4, call.arch, true);
  call.args.forEach((arg, index) => view.setBigUint64(16 + 8 * index, arg, true));
  return view;
}

/** The filter's verdict (SECCOMP_RET_* with data). Throws on anything the kernel's checker would refuse. */
export function runFilter(program: Uint8Array, call: Call): number {
  const code = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const data = seccompData(call);
  let accumulator = 0;
  for (let pc = 0; pc < program.byteLength / 8; pc++) {
    const op = code.getUint16(pc * 8, true);
    const jt = code.getUint8(pc * 8 + 2);
    const jf = code.getUint8(pc * 8 + 3);
    const k = code.getUint32(pc * 8 + 4, true);
    if (op === 0x06) return k;
    if (op === 0x20) {
      if (k % 4 !== 0 || k > 60) throw new Error(`load outside of seccomp_data: ${k}`);
      accumulator = data.getUint32(k, true);
    } else if (op === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (op === 0x05) pc += k;
    else pc += decide(op, accumulator, k) ? jt : jf;
  }
  throw new Error("the program ran off its end");
}

function decide(op: number, accumulator: number, k: number): boolean {
  if (op === 0x15) return accumulator === k;
  if (op === 0x25) return accumulator > k;
  if (op === 0x35) return accumulator >= k;
  if (op === 0x45) return (accumulator & k) !== 0;
  throw new Error(`operation 0x${op.toString(16)} is not expected in a filter`);
}

/** SECCOMP_RET_* of every rule that matches; more than one value means that the order of rules matters. */
export function verdicts(profile: OciSeccomp, name: string | undefined, args: bigint[]): number[] {
  const matching = profile.syscalls.filter(
    (rule) => name !== undefined && rule.names.includes(name) && (rule.args ?? []).every((arg) => holds(arg, args)),
  );
  if (matching.length === 0) return [verdict(profile.defaultAction, profile.defaultErrnoRet)];
  return matching.map((rule) => verdict(rule.action, rule.errnoRet));
}

function verdict(action: string, errno = 1): number {
  if (action === "SCMP_ACT_ALLOW") return 0x7fff0000;
  if (action === "SCMP_ACT_ERRNO") return 0x50000 + errno;
  if (action === "SCMP_ACT_KILL_PROCESS") return 0x80000000;
  throw new Error(`action ${action} is not in these tests`);
}

function holds(arg: OciSeccompArg, args: bigint[]): boolean {
  const actual = args[arg.index] ?? 0n;
  const value = BigInt(arg.value);
  switch (arg.op) {
    case "SCMP_CMP_EQ":
      return actual === value;
    case "SCMP_CMP_NE":
      return actual !== value;
    case "SCMP_CMP_GT":
      return actual > value;
    case "SCMP_CMP_GE":
      return actual >= value;
    case "SCMP_CMP_LT":
      return actual < value;
    case "SCMP_CMP_LE":
      return actual <= value;
    case "SCMP_CMP_MASKED_EQ":
      return (actual & value) === BigInt(arg.valueTwo ?? 0);
  }
}
