/**
 * Platforms: `os/architecture[/variant]`, normalised as Go names them, and the choice of a manifest
 * from an index: the first entry, in the index's order, for the best candidate that has one.
 */
import { fail } from "../core/error.ts";
import { excerpt } from "./digest.ts";
import { defined, type JsonObject, optionalString, optionalStrings } from "./document.ts";
import type { Descriptor, Index, Platform } from "./image.ts";

/** A map, because a config may say "__proto__". */
const ARCHITECTURES = new Map<string, [architecture: string, variant?: string]>([
  ["x86_64", ["amd64"]],
  ["x86-64", ["amd64"]],
  ["x64", ["amd64"]],
  ["i386", ["386"]],
  ["i486", ["386"]],
  ["i586", ["386"]],
  ["i686", ["386"]],
  ["ia32", ["386"]],
  ["aarch64", ["arm64"]],
  ["armhf", ["arm", "v7"]],
  ["armel", ["arm", "v6"]],
  ["ppc64el", ["ppc64le"]],
]);

const KNOWN_ARCHITECTURES = new Set(
  "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm".split(" "),
);
const KNOWN_OS = new Set(
  "aix darwin freebsd illumos linux netbsd openbsd plan9 solaris wasip1 windows".split(" "),
);

/** The machine this runs on. */
export function hostPlatform(): Platform {
  return normalizePlatform({ os: process.platform, architecture: process.arch });
}

/** One spelling for each platform: arm64/v8 and amd64/v1 lose their variant, arm without one is v7. */
function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase() === "macos" ? "darwin" : platform.os.toLowerCase();
  const given = platform.architecture.toLowerCase();
  const [architecture, implied] = ARCHITECTURES.get(given) ?? [given];
  const variant = normalVariant(architecture, platform.variant?.toLowerCase() || implied);
  return defined<Platform>({ ...platform, os, architecture, variant });
}

function normalVariant(architecture: string, variant: string | undefined): string | undefined {
  const named = variant !== undefined && /^\d/.test(variant) ? `v${variant}` : variant;
  if (architecture === "arm64") return named === "v8" || named === "v8.0" ? undefined : named;
  if (architecture === "amd64") return named === "v1" ? undefined : named;
  return architecture === "arm" ? (named ?? "v7") : named;
}

/** "linux/arm64", "linux/arm/v7", "arm64" (on this OS) or "linux" (on this architecture). Errors: invalid-argument. */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  const host = hostPlatform();
  if (parts.length <= 3 && parts.every((part) => /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(part))) {
    const [first, second, variant] = parts as [string, string?, string?];
    if (second !== undefined) {
      return normalizePlatform(defined<Platform>({ os: first, architecture: second, variant }));
    }
    if (KNOWN_OS.has(first.toLowerCase())) return normalizePlatform({ ...host, os: first });
    const alone = normalizePlatform({ os: host.os, architecture: first });
    if (KNOWN_ARCHITECTURES.has(alone.architecture)) return alone;
  }
  throw fail("invalid-argument", `invalid platform "${excerpt(text)}"`, {
    reason: "invalid-platform",
    hint: 'write it as "os/architecture" or "os/architecture/variant", for example "linux/arm64"',
  });
}

export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return variant === undefined || variant === ""
    ? `${os}/${architecture}`
    : `${os}/${architecture}/${variant}`;
}

/** The `platform` object of a descriptor; missing members are empty strings. */
export function platformOf(fields: JsonObject): Platform {
  const text = (key: string) => optionalString("platform", key, fields[key]);
  return defined<Platform>({
    os: text("os") ?? "",
    architecture: text("architecture") ?? "",
    variant: text("variant") || undefined,
    "os.version": text("os.version") || undefined,
    "os.features": optionalStrings("platform", "os.features", fields["os.features"]),
  });
}

/** Everything that runs where `wanted` runs, best first: lower variants of the same architecture. */
function candidates(wanted: Platform): Platform[] {
  const { os, architecture, variant } = normalizePlatform(wanted);
  const make = (v: string | undefined): Platform => defined<Platform>({ os, architecture, variant: v });
  const level = /^v(\d+)(?:\.(\d+))?$/.exec(variant ?? "");
  if (architecture === "arm" && level !== null) return below(Number(level[1]), 5).map((n) => make(`v${n}`));
  if (architecture === "amd64") {
    const levels = level === null ? [] : below(Number(level[1]), 2).map((n) => make(`v${n}`));
    return [...levels, make(undefined)];
  }
  if (architecture === "arm64") return [...(variant === undefined ? [] : [make(variant)]), make(undefined)];
  return variant === undefined ? [make(undefined)] : [make(variant), make(undefined)];
}

/** n, n-1, … min. */
function below(n: number, min: number): number[] {
  return Array.from({ length: Math.max(0, Math.min(n, 99) - min + 1) }, (_, i) => Math.min(n, 99) - i);
}

/** What this host's kernel runs although it was built for another architecture; used only when nobody asked for a platform. */
function foreignCandidates(host: Platform): Platform[] {
  if (host.architecture === "amd64") return [{ os: host.os, architecture: "386" }];
  return host.architecture === "arm64" ? candidates({ os: host.os, architecture: "arm", variant: "v8" }) : [];
}

/** True if an image built for `offered` runs where `wanted` was asked for. */
export function platformMatches(wanted: Platform, offered: Platform): boolean {
  return candidates(wanted).some((candidate) => samePlatform(candidate, offered));
}

function samePlatform(candidate: Platform, offered: Platform): boolean {
  const normal = normalizePlatform(offered);
  return (
    candidate.os === normal.os &&
    candidate.architecture === normal.architecture &&
    (candidate.variant ?? "") === (normal.variant ?? "")
  );
}

/** Attestations and other companions of an image that are no image themselves. */
function isCompanion(descriptor: Descriptor): boolean {
  const { platform, annotations } = descriptor;
  return (
    annotations?.["vnd.docker.reference.type"] !== undefined ||
    (platform?.os === "unknown" && platform.architecture === "unknown")
  );
}

/**
 * The entry for `wanted`, or for this host when nothing was asked for. An entry without a platform is
 * taken only when none with one fits. Errors: not-found, naming what the index offers.
 */
export function selectPlatform(index: Index, wanted?: Platform): Descriptor {
  const entries = index.manifests.filter((entry) => !isCompanion(entry));
  const target = wanted ?? hostPlatform();
  const order =
    wanted === undefined ? [...candidates(target), ...foreignCandidates(target)] : candidates(target);
  for (const candidate of order) {
    const match = entries.find((e) => e.platform !== undefined && samePlatform(candidate, e.platform));
    if (match !== undefined) return match;
  }
  const anyPlatform = entries.find((entry) => entry.platform === undefined);
  if (anyPlatform !== undefined) return anyPlatform;
  const offered = [...new Set(entries.map((e) => formatPlatform(e.platform as Platform)))];
  throw fail("not-found", `no image for platform "${formatPlatform(target)}"`, {
    reason: "no-matching-platform",
    hint: offered.length === 0 ? "the index is empty" : `available: ${excerpt(offered.join(", "), 500)}`,
    data: { platform: formatPlatform(target), available: offered },
  });
}
