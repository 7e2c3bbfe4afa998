/**
 * A static x86_64 program, made here byte by byte, that makes system calls with given numbers and arguments (natively, or as an
 * i386 program would) and writes the results to stdout: what a filter does in earnest, without compiler or libc.
 */

export interface Probe {
  abi: "x86_64" | "i386";
  number: number;
  /** Up to six. */
  args: bigint[];
}

const BASE = 0x400000;
const HEADERS = 64 + 56;

class Code {
  readonly #bytes: number[] = [];

  put(...bytes: number[]): void {
    this.#bytes.push(...bytes);
  }

  u32(value: number | bigint): void {
    const wide = BigInt(value);
    for (let shift = 0n; shift < 32n; shift += 8n) this.#bytes.push(Number((wide >> shift) & 0xffn));
  }

  u64(value: bigint): void {
    this.u32(value & 0xffffffffn);
    this.u32((value >> 32n) & 0xffffffffn);
  }

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

/** mov REG, imm64 for rdi, rsi, rdx, r10, r8, r9. */
const MOVE_64 = [
  [0x48, 0xbf],
  [0x48, 0xbe],
  [0x48, 0xba],
  [0x49, 0xba],
  [0x49, 0xb8],
  [0x49, 0xb9],
];

/** mov REG, imm32 for ebx, ecx, edx, esi, edi, ebp. */
const MOVE_32 = [0xbb, 0xb9, 0xba, 0xbe, 0xbf, 0xbd];

export function probeProgram(probes: readonly Probe[]): Uint8Array {
  const size = bodyOf(probes, 0n).length;
  const results = BigInt(BASE + HEADERS + size + 16) & ~0xfn;
  const body = bodyOf(probes, results);
  const memory = HEADERS + size + 32 + 8 * probes.length;
  return Buffer.concat([elfHeader(), programHeader(HEADERS + size, memory), body]);
}

function bodyOf(probes: readonly Probe[], results: bigint): Uint8Array {
  const code = new Code();
  code.put(0x49, 0xbc); // mov r12, results
  code.u64(results);
  probes.forEach((probe, index) => {
    if (probe.abi === "x86_64") native(code, probe);
    else compatible(code, probe);
    code.put(0x49, 0x89, 0x84, 0x24); // mov [r12 + 8 * index], rax
    code.u32(8 * index);
  });
  code.put(0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x4c, 0x89, 0xe6, 0xba); // write(1, r12, …)
  code.u32(8 * probes.length);
  code.put(0x0f, 0x05, 0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05); // exit_group(0)
  return code.bytes;
}

function native(code: Code, { number, args }: Probe): void {
  MOVE_64.forEach((move, index) => {
    code.put(...move);
    code.u64(BigInt.asUintN(64, args[index] ?? 0n));
  });
  code.put(0x48, 0xb8); // mov rax, number
  code.u64(BigInt(number));
  code.put(0x0f, 0x05); // syscall
}

function compatible(code: Code, { number, args }: Probe): void {
  MOVE_32.forEach((move, index) => {
    code.put(move);
    code.u32(BigInt.asUintN(32, args[index] ?? 0n));
  });
  code.put(0xb8); // mov eax, number
  code.u32(number);
  code.put(0xcd, 0x80, 0x48, 0x63, 0xc0); // int 0x80; movsxd rax, eax
}

function elfHeader(): Uint8Array {
  const code = new Code();
  code.put(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0);
  code.u32(1);
  code.u64(BigInt(BASE + HEADERS));
  code.u64(64n);
  code.u64(0n);
  code.u32(0);
  code.put(64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0);
  return code.bytes;
}

/** One segment: readable, writable and executable. */
function programHeader(file: number, memory: number): Uint8Array {
  const code = new Code();
  code.u32(1);
  code.u32(7);
  for (const value of [0, BASE, BASE, file, memory, 0x1000]) code.u64(BigInt(value));
  return code.bytes;
}

/** Results in the order of the probes; negative ones are error numbers. */
export function probeResults(stdout: Uint8Array): number[] {
  const view = new DataView(stdout.buffer, stdout.byteOffset, stdout.byteLength);
  return Array.from({ length: stdout.byteLength / 8 }, (_, index) => Number(view.getBigInt64(index * 8, true)));
}
