/**
 * Writes src/container/seccomp/syscall-tables.ts from the kernel's UAPI headers: names and numbers of the system calls of x86_64,
 * i386 and aarch64. Numbers from 424 on are the same everywhere; those newer than the headers of the build machine are
 * listed below, from the kernel's scripts/syscall.tbl.
 *
 * Usage: bun tools/syscall-table.ts [--check]   (needs cpp and linux-libc-dev)
 */
import { readFileSync, writeFileSync } from "node:fs";

export const TABLE_FILE = `${import.meta.dir}/../src/container/seccomp/syscall-tables.ts`;
const HEADERS_X86 = "/usr/include/x86_64-linux-gnu/asm";

/** Linux 6.5 to 6.17, on every architecture. */
const NEWER: readonly (readonly [string, number])[] = [
  ["cachestat", 451],
  ["fchmodat2", 452],
  ["map_shadow_stack", 453],
  ["futex_wake", 454],
  ["futex_wait", 455],
  ["futex_requeue", 456],
  ["statmount", 457],
  ["listmount", 458],
  ["lsm_get_self_attr", 459],
  ["lsm_set_self_attr", 460],
  ["lsm_list_modules", 461],
  ["mseal", 462],
  ["setxattrat", 463],
  ["getxattrat", 464],
  ["listxattrat", 465],
  ["removexattrat", 466],
  ["open_tree_attr", 467],
  ["file_getattr", 468],
  ["file_setattr", 469],
];

/** x86_64 alone: called by the kernel's own trampolines for traced functions. */
const NEWER_X86_64: readonly (readonly [string, number])[] = [
  ["uretprobe", 335],
  ["uprobe", 336],
];

/** What arch/arm64/include/uapi/asm/unistd.h sets before it includes the generic list. */
const ARM64_DEFINES = [
  "RENAMEAT",
  "NEW_STAT",
  "SET_GET_RLIMIT",
  "TIME32_SYSCALLS",
  "SYS_CLONE3",
  "MEMFD_SECRET",
];

type Table = Map<string, number>;

function macros(source: string): Map<string, string> {
  const done = Bun.spawnSync(["cpp", "-dM", "-"], { stdin: Buffer.from(source) });
  if (done.exitCode !== 0) throw new Error(`cpp failed: ${done.stderr.toString()}`);
  const found = new Map<string, string>();
  for (const match of done.stdout.toString().matchAll(/^#define (__NR\w+) (\w+)$/gm))
    found.set(match[1] ?? "", match[2] ?? "");
  return found;
}

function tableOf(defined: Map<string, string>, extra: readonly (readonly [string, number])[]): Table {
  const table: Table = new Map();
  for (const [macro, value] of defined) {
    if (!macro.startsWith("__NR_") || macro === "__NR_syscalls" || macro === "__NR_arch_specific_syscall")
      continue;
    const number = Number(defined.get(value) ?? value);
    if (!Number.isInteger(number)) throw new Error(`no number for ${macro}`);
    table.set(macro.slice("__NR_".length), number);
  }
  for (const [name, number] of extra) table.set(name, number);
  return table;
}

/** Names in the order of their numbers; a number is written where it is not the one before plus 1. */
function encode(table: Table): string[] {
  const words: string[] = [];
  let next = -1;
  for (const [name, number] of [...table].toSorted(([, a], [, b]) => a - b)) {
    if (number !== next) words.push(String(number));
    words.push(name);
    next = number + 1;
  }
  return wrap(words);
}

function wrap(words: string[]): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of words) {
    if (line.length + word.length > 96) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, line];
}

export function generate(): string {
  const generic = [
    ...ARM64_DEFINES.map((name) => `#define __ARCH_WANT_${name}`),
    "#include <asm-generic/unistd.h>",
  ].join("\n");
  const tables: [string, string, Table][] = [
    [
      "X86_64",
      "x86_64",
      tableOf(macros(`#include "${HEADERS_X86}/unistd_64.h"`), [...NEWER, ...NEWER_X86_64]),
    ],
    [
      "I386",
      "i386, which x86_64 kernels run too",
      tableOf(macros(`#include "${HEADERS_X86}/unistd_32.h"`), NEWER),
    ],
    ["AARCH64", "aarch64", tableOf(macros(generic), NEWER)],
  ];
  const parts = tables.map(([name, what, table]) =>
    [`/** System calls of ${what}. */`, `export const ${name} = \``, ...encode(table), "`;", ""].join("\n"),
  );
  const header = [
    "/**",
    " * System call numbers, written by tools/syscall-table.ts: do not edit. Words are names in the order of their numbers; a number",
    " * among them is that of the name after it.",
    " */",
    "",
  ].join("\n");
  return header + parts.join("\n");
}

if (import.meta.main) {
  const text = generate();
  if (!process.argv.includes("--check")) writeFileSync(TABLE_FILE, text);
  else if (readFileSync(TABLE_FILE, "utf8") !== text) {
    console.error("src/container/seccomp/syscall-tables.ts differs: run bun tools/syscall-table.ts");
    process.exit(1);
  }
}
