/**
 * OCI annotations are orders to low-level runtimes (run.oci.* to crun, org.systemd.property.* to runc's systemd driver), so nothing
 * gets here from an image, and from a request only names that the administrator listed, compared whole
 * (CVE-2023-6476, CVE-2024-3154, CVE-2026-53488).
 */
import type { SpecInput } from "./spec-input.ts";
import { checkLine, checkNul } from "./spec-text.ts";

/** Ours alone, even when listed: they can replace the filter or have hooks run. */
const RESERVED_PREFIX = "run.oci.";

export function specAnnotations(input: SpecInput, notes: string[]): Record<string, string> {
  const allowed = new Set(input.allowedAnnotations ?? []);
  const annotations: Record<string, string> = {};
  for (const [name, value] of Object.entries(input.spec.annotations)) {
    checkLine("annotation", name);
    checkNul("annotation", value);
    if (allowed.has(name) && !name.startsWith(RESERVED_PREFIX)) annotations[name] = value;
    else notes.push(`annotation ${name} is kept in the record and not given to the runtime`);
  }
  annotations["io.container.manager"] = "berth";
  const signal = input.spec.stopSignal ?? input.image?.config.StopSignal;
  if (signal !== undefined && signal !== "") {
    annotations["org.opencontainers.image.stopSignal"] = checkLine("stop signal", signal);
  }
  if (input.seccomp?.kind === "bpf" && input.runtime.name === "crun") {
    annotations["run.oci.seccomp_bpf_data"] = input.seccomp.base64;
  }
  return annotations;
}
