/**
 * A compiler from the runtime specification's seccomp object to classic BPF (struct sock_filter, seccomp(2)), for crun's annotation
 * `run.oci.seccomp_bpf_data`: base64 of the array, as it stands. It spares crun 16-20 ms of libseccomp at every start.
 *
 * Shape: check of the architecture → binary search over ranges of system call numbers that share a fate → return, or a few argument
 * comparisons. About 6 comparisons decide a call. Rules of one call are tried in the order given, first match wins.
 */
import { fail } from "../core/error.ts";
import type { SeccompArch } from "./seccomp-key.ts";
import { argumentBlock, type Instruction, RET, returnValue } from "./seccomp-bpf-args.ts";
import { AARCH64, I386, X86_64 } from "./seccomp/syscall-tables.ts";
import type { OciSeccomp, OciSeccompRule } from "./spec-oci.ts";

const LD_ABS = 0x20;
const JEQ = 0x15;
const JGE = 0x35;
const JA = 0x05;
const OFFSET_NUMBER = 0;
const OFFSET_ARCH = 4;
const SECCOMP_RET_KILL_PROCESS = 0x80000000;

/** BPF_MAXINSNS: the kernel takes no longer program. */
const MAX_INSTRUCTIONS = 4096;

/** Numbers from here on are x32 calls, which carry the architecture of x86_64. No profile speaks of them: there are none. */
const X32_BIT = 0x40000000;
const ERRNO_ENOSYS = 0x50000 + 38;

interface Abi {
  audit: number;
  table: string;
  /** First number of another ABI under the same architecture. */
  foreign?: number;
}

const ABIS: Record<SeccompArch, readonly Abi[]> = {
  x64: [
    { audit: 0xc000003e, table: X86_64, foreign: X32_BIT },
    { audit: 0x40000003, table: I386 },
  ],
  arm64: [{ audit: 0xc00000b7, table: AARCH64 }],
};

/** What happens to one call: the rules that name it, in order. An empty list is the default action. */
type Fate = OciSeccompRule[];

interface Range {
  /** First number of the range; it ends where the next begins. */
  from: number;
  code: Instruction[];
}

/** Little-endian sock_filter array. Errors: invalid-argument (unknown action or operator), resource-exhausted (over 4096 instructions). */
export function compileSeccomp(profile: OciSeccomp, arch: SeccompArch): Uint8Array {
  const fates = fatesByName(profile);
  const fallback = returnValue(profile.defaultAction, profile.defaultErrnoRet);
  const program: Instruction[] = [[LD_ABS, 0, 0, OFFSET_ARCH]];
  for (const abi of ABIS[arch]) {
    const body: Instruction[] = [
      [LD_ABS, 0, 0, OFFSET_NUMBER],
      ...searchTree(rangesOf(abi, fates, fallback)),
    ];
    // A body is longer than a conditional jump reaches (255): jump over a jump.
    program.push([JEQ, 1, 0, abi.audit], [JA, 0, 0, body.length], ...body);
  }
  program.push([RET, 0, 0, SECCOMP_RET_KILL_PROCESS]);
  if (program.length > MAX_INSTRUCTIONS) {
    throw fail("resource-exhausted", `seccomp profile compiles to ${program.length} instructions`, {
      hint: `the kernel takes ${MAX_INSTRUCTIONS}: use fewer conditions on arguments`,
    });
  }
  return encodeProgram(program);
}

/** Numbers by name, from the words of a table (seccomp/syscall-tables.ts). */
export function parseTable(table: string): Map<string, number> {
  const numbers = new Map<string, number>();
  let next = 0;
  for (const word of table.trim().split(/\s+/)) {
    const first = word.charCodeAt(0);
    if (first >= 48 && first <= 57) next = Number(word);
    else numbers.set(word, next++);
  }
  return numbers;
}

function fatesByName(profile: OciSeccomp): Map<string, Fate> {
  const fates = new Map<string, Fate>();
  for (const rule of profile.syscalls) {
    for (const name of rule.names) {
      const fate = fates.get(name);
      if (fate === undefined) fates.set(name, [rule]);
      else fate.push(rule);
    }
  }
  return fates;
}

/** Neighbours with the same code are one range; holes between numbers have the default. */
function rangesOf(abi: Abi, fates: Map<string, Fate>, fallback: number): Range[] {
  const blocks = new Map<string, Instruction[]>();
  const otherwise: Instruction[] = [[RET, 0, 0, fallback]];
  const shared = (code: Instruction[]): Instruction[] => {
    const key = JSON.stringify(code);
    const known = blocks.get(key);
    if (known === undefined) blocks.set(key, code);
    return known ?? code;
  };
  shared(otherwise);
  const calls = [...parseTable(abi.table)].toSorted(([, a], [, b]) => a - b);
  const ranges: Range[] = [{ from: 0, code: otherwise }];
  const put = (from: number, code: Instruction[]): void => {
    const last = ranges.at(-1);
    if (last?.from === from) ranges.pop();
    if (ranges.at(-1)?.code !== code) ranges.push({ from, code });
  };
  let next = 0;
  for (const [name, number] of calls) {
    if (number > next) put(next, otherwise);
    put(number, shared(argumentBlock(fates.get(name) ?? [], fallback)));
    next = number + 1;
  }
  put(next, otherwise);
  if (abi.foreign !== undefined) put(abi.foreign, shared([[RET, 0, 0, ERRNO_ENOSYS]]));
  return ranges;
}

/** `if (number >= middle) upper else lower`, leaves in place. */
function searchTree(ranges: readonly Range[]): Instruction[] {
  const [only] = ranges;
  if (ranges.length === 1 && only !== undefined) return only.code;
  const middle = ranges.length >> 1;
  const lower = searchTree(ranges.slice(0, middle));
  const upper = searchTree(ranges.slice(middle));
  const pivot = ranges[middle]?.from ?? 0;
  if (lower.length <= 255) return [[JGE, lower.length, 0, pivot], ...lower, ...upper];
  return [[JGE, 0, 1, pivot], [JA, 0, 0, lower.length], ...lower, ...upper];
}

function encodeProgram(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach(([code, jt, jf, k], index) => {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, jt);
    view.setUint8(index * 8 + 3, jf);
    view.setUint32(index * 8 + 4, k, true);
  });
  return bytes;
}
