import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { generate } from "../../tools/syscall-table.ts";
import { AUDIT_AARCH64, AUDIT_I386, AUDIT_X86_64, runFilter, verdicts } from "../../test/golden/spec/bpf.ts";
import { CAPABILITY_NAMES, DEFAULT_CAPABILITIES } from "./capabilities.ts";
import { compileSeccomp, parseTable } from "./seccomp-bpf.ts";
import { GATE_CAPABILITIES, seccompCacheKey, type SeccompArch } from "./seccomp-key.ts";
import { seccompFor } from "./seccomp.ts";
import { GATED } from "./seccomp/profile.ts";
import { AARCH64, I386, X86_64 } from "./seccomp/syscall-tables.ts";
import type { OciSeccomp, OciSeccompArg, OciSeccompRule } from "./spec-oci.ts";

const ENOSYS = 0x50000 + 38;
const EPERM = 0x50000 + 1;
const EAFNOSUPPORT = 0x50000 + 97;
const ALLOW = 0x7fff0000;
const KILL = 0x80000000;

const ABIS: [SeccompArch, number, string][] = [
  ["x64", AUDIT_X86_64, X86_64],
  ["x64", AUDIT_I386, I386],
  ["arm64", AUDIT_AARCH64, AARCH64],
];

/** Values around everything the profile compares with, in both halves of 64 bits. */
function samples(): bigint[][] {
  const points = new Set<bigint>([0n, 1n, 0xffffffffn, 0xffffffffffffffffn]);
  for (let family = 0n; family < 50n; family++) points.add(family);
  for (const value of [0x8n, 0x20000n, 0x20008n, 0x7e020000n, 0x1200011n, 0x3d0f00n]) {
    for (const near of [value - 1n, value, value + 1n]) points.add(near);
  }
  for (let bit = 0n; bit < 64n; bit++) points.add(1n << bit);
  const shifted = [...points].map((point) => (point + (1n << 32n)) & 0xffffffffffffffffn);
  return [...points, ...shifted].map((point) => [point, 0n, 0n, 0n, 0n, 0n]);
}

function nameOf(table: Map<string, number>): Map<number, string> {
  return new Map([...table].map(([name, number]) => [number, name]));
}

describe("the default profile, compiled", () => {
  const sets: [string, readonly string[]][] = [
    ["the default capabilities", DEFAULT_CAPABILITIES],
    ["no capabilities", []],
    ["SYS_ADMIN", [...DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN"]],
    ["all capabilities", CAPABILITY_NAMES],
  ];
  for (const [what, capabilities] of sets) {
    for (const [arch, audit, text] of ABIS) {
      test(`says of every call what the profile says: ${what}, 0x${audit.toString(16)}`, () => {
        const profile = seccompFor(capabilities, arch);
        const program = compileSeccomp(profile, arch);
        const names = nameOf(parseTable(text));
        const conditional = new Set(
          profile.syscalls.filter((rule) => rule.args).flatMap((rule) => rule.names),
        );
        const many = samples();
        for (let number = 0; number < 600; number++) {
          const name = names.get(number);
          const argued = name !== undefined && conditional.has(name) ? many : many.slice(0, 3);
          for (const args of argued) {
            const wanted = verdicts(profile, name, args);
            expect(new Set(wanted).size).toBe(1);
            const got = runFilter(program, { arch: audit, number, args });
            if (got !== wanted[0]) throw new Error(`${name ?? number}(${args[0]}): 0x${got.toString(16)}`);
          }
        }
      });
    }
  }

  test("denies calls of x32 and of numbers to come as unknown, and kills on a foreign architecture", () => {
    const program = compileSeccomp(seccompFor(DEFAULT_CAPABILITIES, "x64"), "x64");
    const args = [0n, 0n, 0n, 0n, 0n, 0n];
    for (const number of [0x40000000, 0x40000027, 0x7fffffff, 0xffffffff, 1000, 337]) {
      expect(runFilter(program, { arch: AUDIT_X86_64, number, args })).toBe(ENOSYS);
    }
    for (const arch of [AUDIT_AARCH64, 0x40000028, 0]) {
      expect(runFilter(program, { arch, number: 0, args })).toBe(KILL);
    }
  });

  test("knows every name of its lists on some architecture, and every capability of its gates", () => {
    const known = new Set([X86_64, I386, AARCH64].flatMap((text) => [...parseTable(text).keys()]));
    // Calls of 32-bit ARM, for which the runtime's own table counts.
    const arm = [
      "arm_fadvise64_64",
      "arm_sync_file_range",
      "breakpoint",
      "cacheflush",
      "set_tls",
      "sync_file_range2",
    ];
    const others = [...arm, "recv", "send", "timerfd"];
    const profile = seccompFor(DEFAULT_CAPABILITIES, "x64");
    const strangers = profile.syscalls.flatMap((rule) => rule.names).filter((name) => !known.has(name));
    expect(strangers.filter((name) => !others.includes(name))).toEqual([]);
    const gates = new Set(GATED.flatMap((gate) => gate.capabilities.split(" ")));
    expect([...gates].toSorted()).toEqual([...GATE_CAPABILITIES].toSorted());
  });

  test("names each call once, but for those judged by their arguments", () => {
    for (const capabilities of [DEFAULT_CAPABILITIES, CAPABILITY_NAMES]) {
      const plain = seccompFor(capabilities, "x64")
        .syscalls.filter((rule) => !rule.args)
        .flatMap((rule) => rule.names);
      expect(plain.length).toBe(new Set(plain).size);
      for (const name of ["socket", "personality"]) expect(plain).not.toContain(name);
    }
  });
});

test("no call changes its fate unnoticed: test/golden/spec/seccomp.txt", () => {
  const profile = seccompFor(DEFAULT_CAPABILITIES, "x64");
  const program = compileSeccomp(profile, "x64");
  const conditional = new Set(profile.syscalls.filter((rule) => rule.args).flatMap((rule) => rule.names));
  const words = new Map([
    [ALLOW, "allow"],
    [EPERM, "EPERM"],
    [ENOSYS, "ENOSYS"],
  ]);
  const lines = ABIS.slice(0, 2).flatMap(([, arch, text]) =>
    [...parseTable(text)].map(([name, number]) => {
      const fate = runFilter(program, { arch, number, args: [0n, 0n, 0n, 0n, 0n, 0n] });
      return `${arch === AUDIT_I386 ? "i386" : "x86_64"} ${name} ${conditional.has(name) ? "by argument" : words.get(fate)}`;
    }),
  );
  const path = `${import.meta.dir}/../../test/golden/spec/seccomp.txt`;
  const listing = `${lines.toSorted().join("\n")}\n`;
  if (process.env["BERTH_UPDATE_GOLDEN"]) writeFileSync(path, listing);
  expect(listing).toBe(readFileSync(path, "utf8"));
});

describe("what the default profile lets through", () => {
  const program = compileSeccomp(seccompFor(DEFAULT_CAPABILITIES, "x64"), "x64");
  const table = parseTable(X86_64);
  const judge = (name: string, first = 0n) =>
    runFilter(program, {
      arch: AUDIT_X86_64,
      number: table.get(name) ?? -1,
      args: [first, 0n, 0n, 0n, 0n, 0n],
    });

  test("ordinary programs", () => {
    for (const name of [
      "read",
      "openat2",
      "execve",
      "futex",
      "ptrace",
      "seccomp",
      "statx",
      "mseal",
      "fchmodat2",
    ]) {
      expect(judge(name)).toBe(ALLOW);
    }
    expect(judge("clone", 0x3d0f00n)).toBe(ALLOW);
    expect(judge("clone3")).toBe(ENOSYS);
  });

  test("no new namespaces, mounts, keys, io_uring, bpf, perf, userfaultfd", () => {
    for (const name of [
      "unshare",
      "setns",
      "mount",
      "umount2",
      "fsopen",
      "keyctl",
      "add_key",
      "bpf",
      "perf_event_open",
    ]) {
      expect(judge(name)).toBe(EPERM);
    }
    for (const name of [
      "io_uring_setup",
      "userfaultfd",
      "kexec_load",
      "init_module",
      "open_by_handle_at",
      "reboot",
    ]) {
      expect(judge(name)).toBe(EPERM);
    }
    for (const bit of [0x20000n, 0x2000000n, 0x4000000n, 0x8000000n, 0x10000000n, 0x20000000n, 0x40000000n]) {
      expect(judge("clone", bit)).toBe(EPERM);
    }
  });

  test("no AF_ALG and no AF_VSOCK, nor behind bits that the kernel drops", () => {
    for (const family of [38n, 40n, 38n + (1n << 32n), 40n + (1n << 63n)]) {
      expect(judge("socket", family)).toBe(EAFNOSUPPORT);
    }
    for (const family of [1n, 2n, 10n, 16n, 17n, 37n, 39n, 41n, 44n])
      expect(judge("socket", family)).toBe(ALLOW);
    expect(judge("socket", 2n + (1n << 32n))).toBe(ENOSYS);
  });
});

test("compiles any rules as they read, first match first", () => {
  const names = [...parseTable(X86_64).keys()];
  const wide = fc.oneof(
    fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
    fc.constantFrom(0n, 1n, 0xffffffffn, 0x100000000n, 0xffffffff00000000n),
  );
  const op = fc.constantFrom<OciSeccompArg["op"]>(
    "SCMP_CMP_EQ",
    "SCMP_CMP_NE",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
  );
  const arg = fc.record({ index: fc.integer({ min: 0, max: 5 }), value: wide, valueTwo: wide, op });
  const rule: fc.Arbitrary<OciSeccompRule> = fc.record({
    names: fc.array(fc.constantFrom(...names.slice(0, 8)), { minLength: 1, maxLength: 4 }),
    action: fc.constantFrom("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"),
    errnoRet: fc.integer({ min: 0, max: 4095 }),
    args: fc.array(arg, { maxLength: 3 }),
  });
  fc.assert(
    fc.property(
      fc.array(rule, { maxLength: 6 }),
      fc.array(wide, { minLength: 6, maxLength: 6 }),
      (syscalls, args) => {
        const profile: OciSeccomp = { defaultAction: "SCMP_ACT_KILL_PROCESS", architectures: [], syscalls };
        const program = compileSeccomp(profile, "x64");
        // Arguments taken from the rules as well, or few comparisons would ever hold.
        const near = syscalls.flatMap((one) => (one.args ?? []).map((a) => BigInt(a.value)));
        const tries = [args, ...near.map((value) => args.map(() => value))];
        for (const tried of tries) {
          for (let number = 0; number < 9; number++) {
            const wanted = verdicts(profile, names[number], tried)[0];
            expect(runFilter(program, { arch: AUDIT_X86_64, number, args: tried })).toBe(wanted ?? -1);
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("reaches over bodies longer than a conditional jump, and lets no x32 call in by default", () => {
  const names = [...parseTable(X86_64).keys()];
  const syscalls = names.slice(0, 100).map((name, index): OciSeccompRule => {
    const arg = (value: number): OciSeccompArg => ({ index: 0, value, op: "SCMP_CMP_EQ" });
    return { names: [name], action: "SCMP_ACT_ERRNO", errnoRet: 1000 + index, args: [arg(index)] };
  });
  const profile: OciSeccomp = { defaultAction: "SCMP_ACT_ALLOW", architectures: [], syscalls };
  const program = compileSeccomp(profile, "x64");
  expect(program.length / 8).toBeGreaterThan(600);
  for (let number = 0; number < 110; number++) {
    for (const first of [0n, 50n, BigInt(number)]) {
      const args = [first, 0n, 0n, 0n, 0n, 0n];
      const wanted = verdicts(profile, names[number], args)[0] ?? -1;
      expect(runFilter(program, { arch: AUDIT_X86_64, number, args })).toBe(wanted);
    }
  }
  const args = [0n, 0n, 0n, 0n, 0n, 0n];
  expect(runFilter(program, { arch: AUDIT_X86_64, number: 0x3fffffff, args })).toBe(ALLOW);
  expect(runFilter(program, { arch: AUDIT_X86_64, number: 0x40000000, args })).toBe(ENOSYS);
});

test("refuses a profile that no kernel would load, and unknown words", () => {
  const many = Array.from({ length: 2000 }, (_, value): OciSeccompRule => {
    return { names: ["read"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value, op: "SCMP_CMP_EQ" }] };
  });
  const base = { defaultAction: "SCMP_ACT_ERRNO", architectures: [] };
  expect(() => compileSeccomp({ ...base, syscalls: many }, "x64")).toThrow("compiles to");
  expect(() => compileSeccomp({ ...base, syscalls: [{ names: ["read"], action: "NO" }] }, "x64")).toThrow(
    "unknown seccomp action",
  );
});

test("the cache key tells filters apart, and only filters", () => {
  const key = seccompCacheKey(DEFAULT_CAPABILITIES, "x64");
  expect(key).toMatch(/^seccomp-v\d+-x64-[0-9a-f]+$/);
  expect(seccompCacheKey([...DEFAULT_CAPABILITIES, "CAP_NET_RAW"].toReversed(), "x64")).toBe(key);
  expect(seccompCacheKey([...DEFAULT_CAPABILITIES, "CAP_SYS_TIME"], "x64")).not.toBe(key);
  expect(seccompCacheKey(DEFAULT_CAPABILITIES, "arm64")).not.toBe(key);
});

const headers = existsSync("/usr/include/x86_64-linux-gnu/asm/unistd_64.h") && Bun.which("cpp") !== null;
if (!headers)
  console.warn("skip: tables against the kernel's headers: cpp or linux-libc-dev is not installed");

test.skipIf(!headers)("the tables are what the tool makes of this machine's headers", () => {
  const written = [X86_64, I386, AARCH64].map(parseTable);
  const made = [...generate().matchAll(/`([^`]*)`/g)].map((match) => parseTable(match[1] ?? ""));
  expect(made.length).toBe(3);
  for (const [index, table] of made.entries()) {
    // Other headers may know fewer or more; what both know must agree.
    for (const [name, number] of table) expect(written[index]?.get(name) ?? number).toBe(number);
  }
});
