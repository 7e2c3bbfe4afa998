/**
 * The system-call filter of a container: nothing, a file of the user's, or our profile; for crun our
 * profile goes as ready BPF, compiled once per boot and kept in the run directory, because compiling costs 16-20 ms a start.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { fail, ioText } from "../core/error.ts";
import type { RuntimeInfo } from "../runtime/runtime.ts";
import { boundingSet } from "./capabilities.ts";
import type { ContainerSpec } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";
import { type SeccompArch, seccompCacheKey } from "./seccomp-key.ts";
import type { HostFacts, SeccompChoice } from "./spec-input.ts";
import { seccompPlan } from "./spec-security.ts";

export interface SeccompRequest {
  spec: ContainerSpec;
  host: HostFacts;
  runtime: RuntimeInfo;
}

/** Undefined when unconfined. Errors: not-found, invalid-argument (the user's profile). */
export async function seccompChoice(
  deps: ContainerDeps,
  request: SeccompRequest,
): Promise<SeccompChoice | undefined> {
  const { spec, host } = request;
  const plan = seccompPlan(spec, host);
  if (plan.kind === "unconfined") return undefined;
  // The bounding set decides: one filter for every user and session of the container.
  const bounding = boundingSet({
    add: spec.capAdd,
    drop: spec.capDrop,
    privileged: spec.privileged,
    available: host.capabilities,
  });
  const arch = process.arch as SeccompArch;
  if (plan.kind !== "default") {
    const { parseSeccompProfile } = await import("./seccomp-file.ts");
    const text = plan.kind === "inline" ? plan.text : profileText(plan.path);
    return { kind: "profile", profile: parseSeccompProfile(text, bounding, arch) };
  }
  if (request.runtime.name !== "crun") {
    const { seccompFor } = await import("./seccomp.ts");
    return { kind: "profile", profile: seccompFor(bounding, arch) };
  }
  return { kind: "bpf", base64: await compiled(deps, bounding, arch) };
}

async function compiled(deps: ContainerDeps, capabilities: string[], arch: SeccompArch): Promise<string> {
  const directory = `${deps.paths.run}/seccomp`;
  const path = `${directory}/${seccompCacheKey(capabilities, arch)}`;
  try {
    return readFileSync(path, "latin1");
  } catch {
    // Not compiled since the last boot.
  }
  const [{ seccompFor }, { compileSeccomp }] = await Promise.all([
    import("./seccomp.ts"),
    import("./seccomp-bpf.ts"),
  ]);
  const base64 = Buffer.from(compileSeccomp(seccompFor(capabilities, arch), arch)).toString("base64");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const aside = `${path}.${process.pid}`;
  writeFileSync(aside, base64, { mode: 0o600 });
  renameSync(aside, path);
  return base64;
}

function profileText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw fail("not-found", `cannot read the seccomp profile "${path}": ${ioText(error)}`, {
      cause: error,
    });
  }
}
