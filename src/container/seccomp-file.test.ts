import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { DEFAULT_CAPABILITIES } from "./capabilities.ts";
import { parseSeccompProfile } from "./seccomp-file.ts";
import { encodeSpec } from "./spec-oci.ts";

const parse = (profile: object | string, capabilities: readonly string[] = DEFAULT_CAPABILITIES) =>
  parseSeccompProfile(typeof profile === "string" ? profile : JSON.stringify(profile), capabilities, "x64");

test("conditions by capability and architecture decide which rules are left", () => {
  const rule = (name: string, conditions: object) => ({
    names: [name],
    action: "SCMP_ACT_ALLOW",
    ...conditions,
  });
  const profile = {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: 38,
    archMap: [
      { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] },
      { architecture: "SCMP_ARCH_AARCH64" },
    ],
    syscalls: [
      rule("read", {}),
      rule("mount", { includes: { caps: ["CAP_SYS_ADMIN"] } }),
      rule("chroot", { includes: { caps: ["CAP_SYS_CHROOT"] } }),
      rule("chroot2", { excludes: { caps: ["CAP_SYS_CHROOT"] } }),
      rule("arch_prctl", { includes: { arches: ["amd64", "x32"] } }),
      rule("s390", { includes: { arches: ["s390"] } }),
      rule("not_here", { excludes: { arches: ["amd64"] } }),
      { name: "old_form", action: "SCMP_ACT_ERRNO", errnoRet: 1, args: null },
    ],
  };
  const made = parse(profile);
  expect(made.syscalls.flatMap((one) => one.names)).toEqual(["read", "chroot", "arch_prctl", "old_form"]);
  expect(made.architectures).toEqual(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
  expect(made.defaultErrnoRet).toBe(38);
  expect(made.syscalls.at(-1)).toEqual({ names: ["old_form"], action: "SCMP_ACT_ERRNO", errnoRet: 1 });
});

test("64-bit masks survive reading and writing", () => {
  const text = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ERRNO",
    "args":[{"index":0,"value":18446744073709551615,"valueTwo":9007199254740993,"op":"SCMP_CMP_MASKED_EQ"}]}]}`;
  const made = parse(text);
  expect(made.syscalls[0]?.args?.[0]).toMatchObject({
    value: 18446744073709551615n,
    valueTwo: 9007199254740993n,
  });
  expect(encodeSpec(made)).toContain('"value":18446744073709551615,"valueTwo":9007199254740993');
});

test("names what is wrong", () => {
  const base = { defaultAction: "SCMP_ACT_ALLOW" };
  const rule = { names: ["read"], action: "SCMP_ACT_ERRNO" };
  const bad: [object | string, string][] = [
    ["{", "not JSON"],
    ["null", "the profile"],
    [{}, "defaultAction"],
    [{ defaultAction: "SCMP_ACT_NOTIFY" }, "SCMP_ACT_NOTIFY"],
    [{ ...base, syscalls: {} }, "syscalls"],
    [{ ...base, syscalls: [{ ...rule, names: [1] }] }, "names"],
    [{ ...base, syscalls: [{ ...rule, action: "allow" }] }, "allow"],
    [{ ...base, syscalls: [{ ...rule, errnoRet: -1 }] }, "errnoRet"],
    [{ ...base, syscalls: [{ ...rule, args: [{ index: 6, value: 0, op: "SCMP_CMP_EQ" }] }] }, "index"],
    [{ ...base, syscalls: [{ ...rule, args: [{ index: 0, value: 0, op: "EQ" }] }] }, '"EQ"'],
    [{ ...base, syscalls: [{ ...rule, args: [{ index: 0, value: 1.5, op: "SCMP_CMP_EQ" }] }] }, "value"],
  ];
  for (const [profile, text] of bad) expect(() => parse(profile)).toThrow(text);
});

const PODMAN = "/usr/share/containers/seccomp.json";

test.skipIf(!existsSync(PODMAN))("reads the profile of Debian's Podman", () => {
  const made = parse(readFileSync(PODMAN, "utf8"));
  expect(made.syscalls.length).toBeGreaterThan(5);
  expect(made.syscalls.flatMap((one) => one.names)).toContain("read");
});
if (!existsSync(PODMAN)) console.warn(`skip: reading ${PODMAN}: it is not installed`);
