/**
 * Container networks, built in process: links, addresses and routes over rtnetlink, NAT and
 * publishing in our own nftables table (`inet berth`), address leases in the state database.
 *
 * Vocabulary: a *network* is a named bridge with subnets; an *attachment* is one container's veth
 * end in it, with its addresses; a *published port* is a host address, port and protocol that leads to a container port.
 * `none` has only `lo`; `host` is the host's own namespace and has no attachment; `container:ID` joins another's namespace.
 *
 * Worked example: `createNetns` → `attach` gives eth0 10.87.0.2/16, default route, rules → `detach` takes the rules and the lease
 * back at once; the namespace itself is let go lazily (its links die with it), off the path of `run --rm`.
 * The bridge stays when its last container goes. Errors: in-use (port taken: names who holds it if it is ours),
 * resource-exhausted (no address left), unimplemented (nft missing; `none` and `host` still work).
 *
 * The host reaches published ports at each of its IPv4 addresses, 127.0.0.1 among them, and at its IPv6 addresses except ::1:
 * the kernel has no route_localnet for IPv6. What connects to "localhost" falls back to 127.0.0.1 at once.
 */
import type { Ctx } from "../core/ctx.ts";

export type Protocol = "tcp" | "udp" | "sctp";

export interface PortMapping {
  hostIp: string; // "" means every address, both families
  hostPort: number; // 0 asks for a free port
  containerPort: number;
  protocol: Protocol;
  /** Number of consecutive ports, 1 for a single one. */
  range: number;
  /** Only in requests: any free host port of hostPort..hostPortEnd will do; `range` is 1 then. */
  hostPortEnd?: number;
}

export interface NetworkRecord {
  name: string;
  id: string;
  driver: "bridge";
  /** "berth0" */
  bridge: string;
  /** At most one of each address family. */
  subnets: { subnet: string; gateway: string }[];
  mtu?: number;
  internal: boolean;
  labels: Record<string, string>;
  created: string;
}

/** What users call the default network: docker's and podman's names for theirs mean it too. */
export const DEFAULT_NETWORK = "bridge";

export interface AttachRequest {
  containerId: string;
  containerName: string;
  netnsPath: string;
  network: string;
  ports: PortMapping[];
  staticIp?: string;
  mac?: string;
  /** Name inside the container; "eth0" by default. */
  interfaceName?: string;
}

export interface Attachment {
  network: string;
  interfaceName: string;
  mac: string;
  addresses: { address: string; prefix: number; gateway: string }[];
  /** With free ports filled in. */
  ports: PortMapping[];
  hostVeth: string;
}

export interface NetworkDriver {
  list(): NetworkRecord[];
  /** Makes the default network's record at its first use. Errors: not-found. */
  inspect(name: string): NetworkRecord;
  /** Creates and pins a namespace with `lo` up. */
  createNetns(id: string): string;
  /** Unpins it; idempotent; what is in it dies asynchronously. */
  removeNetns(id: string): void;
  attach(ctx: Ctx, request: AttachRequest): Attachment;
  /** From all of its networks. Idempotent; also undoes a half-done attach found by its lease. Follow it with `removeNetns`. */
  detach(ctx: Ctx, containerId: string): void;
  /** Puts bridge, sysctls and nft rules back from the records, after a reboot or a firewall flush. */
  reload(ctx: Ctx): void;
  /** Deletes a network with its bridge and rules. Errors: not-found, in-use (names the containers in it). */
  destroy(ctx: Ctx, name: string): void;
  /** Containers that hold leases, for recovery. */
  leaseHolders(): string[];
}
