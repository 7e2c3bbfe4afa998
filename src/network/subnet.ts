/** Which subnets a new network gets: ones that nothing on the host routes to yet. */
import { fail } from "../core/error.ts";
import { formatSubnet, ipFromBytes, overlaps, parseSubnet, type Subnet, subnetOf } from "./address.ts";

/** What is taken: the host's routes and addresses, and the subnets of our other networks. */
export type Taken = readonly Subnet[];

/**
 * 10.87.0.0/16 for the default store where it is free, else the next of 10.89-10.254, of 172.16-172.31 and of
 * 192.168.0-192.168.255 (10.88 is podman's). Other stores start at a place of their own, so that two that choose at once rarely meet.
 * Errors: resource-exhausted.
 */
export function chooseIpv4Subnet(taken: Taken, suffix: string): string {
  const tens = Array.from({ length: 166 }, (_, i) => `10.${89 + i}.0.0/16`);
  const start = suffix === "" ? 0 : Number.parseInt(suffix, 16) % tens.length;
  const candidates = [
    ...(suffix === "" ? ["10.87.0.0/16"] : []),
    ...tens.slice(start),
    ...tens.slice(0, start),
    ...Array.from({ length: 16 }, (_, i) => `172.${16 + i}.0.0/16`),
    ...Array.from({ length: 256 }, (_, i) => `192.168.${i}.0/24`),
  ];
  const free = candidates.find((text) => !taken.some((t) => overlaps(t, parseSubnet(text) as Subnet)));
  if (free !== undefined) return free;
  throw fail("resource-exhausted", "no private IPv4 subnet is free on this host", {
    reason: "subnets-exhausted",
    hint: "all of 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16 is routed somewhere already",
  });
}

/** A unique local /64 with a random global id (RFC 4193). */
export function chooseIpv6Subnet(): string {
  const bytes = new Uint8Array([0xfd, ...crypto.getRandomValues(new Uint8Array(5)), ...new Uint8Array(10)]);
  return formatSubnet(subnetOf(ipFromBytes(bytes), 64));
}
