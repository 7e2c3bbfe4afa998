/**
 * The default profile for one container, in the runtime specification's words. Rules for one system call never overlap, so that
 * the order in which a runtime looks at them does not matter.
 *
 * Load it lazily (`await import`): a start whose filter is cached (seccomp-key.ts) needs nothing of it.
 */
import {
  ALLOWED,
  CLONE_NAMESPACES,
  GATED,
  PERSONALITIES,
  REFUSED,
  SOCKET_FAMILIES,
} from "./seccomp/profile.ts";
import type { SeccompArch } from "./seccomp-key.ts";
import type { OciSeccomp, OciSeccompRule } from "./spec-oci.ts";

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** x32 is left out on purpose: hardly a kernel enables it, and it doubles what has to be right. */
const ARCHITECTURES: Record<SeccompArch, string[]> = {
  x64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
  arm64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
};

/** `capabilities` is the bounding set ("CAP_CHOWN"). The same filter for every user and session of a container. */
export function seccompFor(capabilities: readonly string[], arch: SeccompArch): OciSeccomp {
  const held = new Set(capabilities);
  const allowed = Object.values(ALLOWED).flatMap(words);
  const denied = new Map<number, string[]>([[EPERM, words(REFUSED)]]);
  for (const gate of GATED) {
    const open = words(gate.capabilities).some((name) => held.has(`CAP_${name}`));
    const errno = gate.errno ?? EPERM;
    if (open) allowed.push(...words(gate.names));
    else denied.set(errno, [...(denied.get(errno) ?? []), ...words(gate.names)]);
  }
  const admin = held.has("CAP_SYS_ADMIN");
  if (admin) allowed.push("clone", "clone3");
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: ENOSYS,
    architectures: ARCHITECTURES[arch],
    syscalls: [
      { names: allowed.toSorted(), action: "SCMP_ACT_ALLOW" },
      ...[...denied].map(([errno, names]) => deny(names.toSorted(), errno)),
      ...(admin ? [] : cloneRules()),
      ...PERSONALITIES.map((value) => allowEqual("personality", value)),
      ...socketRules(),
    ],
  };
}

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

function deny(names: string[], errnoRet: number): OciSeccompRule {
  return { names, action: "SCMP_ACT_ERRNO", errnoRet };
}

function allowEqual(name: string, value: number): OciSeccompRule {
  return { names: [name], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value, op: "SCMP_CMP_EQ" }] };
}

/**
 * Threads and processes, but no new namespaces. clone3 hides its flags behind a pointer where no filter can see them: ENOSYS makes
 * C libraries use clone.
 */
function cloneRules(): OciSeccompRule[] {
  const bits = Array.from({ length: 31 }, (_, bit) => 2 ** bit).filter(
    (bit) => (CLONE_NAMESPACES & bit) !== 0,
  );
  return [
    {
      names: ["clone"],
      action: "SCMP_ACT_ALLOW",
      args: [{ index: 0, value: CLONE_NAMESPACES, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
    },
    ...bits.map((bit): OciSeccompRule => {
      return {
        ...deny(["clone"], EPERM),
        args: [{ index: 0, value: bit, valueTwo: bit, op: "SCMP_CMP_MASKED_EQ" }],
      };
    }),
    deny(["clone3"], ENOSYS),
  ];
}

function socketRules(): OciSeccompRule[] {
  const allow = SOCKET_FAMILIES.map(([first, count]): OciSeccompRule => {
    const mask = 0xffffffffffffffffn - BigInt(count - 1);
    return {
      names: ["socket"],
      action: "SCMP_ACT_ALLOW",
      args: [{ index: 0, value: mask, valueTwo: first, op: "SCMP_CMP_MASKED_EQ" }],
    };
  });
  // As a kernel built without these families answers.
  const refuse = [38, 40].map((family): OciSeccompRule => {
    return {
      ...deny(["socket"], EAFNOSUPPORT),
      args: [{ index: 0, value: 0xffffffff, valueTwo: family, op: "SCMP_CMP_MASKED_EQ" }],
    };
  });
  return [...allow, ...refuse];
}
