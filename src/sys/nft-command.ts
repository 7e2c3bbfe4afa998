/** nft(8), for whole rulesets; single elements go in process (netlink-netfilter.ts). */
import { fail } from "../core/error.ts";

/** The nft binary's path, also outside of a user's PATH; undefined when it is not installed. */
export function findNft(): string | undefined {
  return (
    Bun.which("nft", { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/local/sbin` }) ?? undefined
  );
}

/**
 * Carries out a ruleset (nft -f -) as one transaction. About 10 ms.
 * Errors: unimplemented when nft is not installed, internal with nft's own words (its text is on stderr).
 */
export function loadRuleset(text: string): void {
  const nft = findNft();
  if (nft === undefined) {
    throw fail("unimplemented", "nft was not found, and bridge networks need it", {
      reason: "nft-missing",
      hint: 'install the package "nftables", or use --network none or --network host',
    });
  }
  const result = Bun.spawnSync([nft, "-f", "-"], {
    stdin: Buffer.from(text),
    stdout: "ignore",
    stderr: "pipe",
  });
  if (result.success) return;
  throw fail("internal", `nft refused the ruleset: ${result.stderr.toString().trim().split("\n")[0] ?? ""}`, {
    reason: "nft-failed",
    data: { exitCode: result.exitCode, stderr: result.stderr.toString().slice(0, 4096) },
  });
}
