/** What `version` says of this program. Apart from the other verbs: it needs none of them. */
export interface VersionFacts {
  version: string;
  /** Docker Engine API version that output and flags follow. */
  apiVersion: string;
  gitCommit: string;
  /** RFC 3339. */
  built: string;
  bun: string;
  os: string;
  arch: string;
}

const VERSION = "0.1.0";

export function versionFacts(): VersionFacts {
  return {
    version: VERSION,
    apiVersion: "1.47",
    gitCommit: process.env.BERTH_BUILD_COMMIT ?? "unknown",
    built: process.env.BERTH_BUILD_TIME ?? "",
    bun: Bun.version,
    os: "linux",
    arch: process.arch === "x64" ? "amd64" : process.arch,
  };
}
