/** The network of a container at its start: which namespace, which attachment, whose hosts file. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Attachment } from "../network/network.ts";
import type { ContainerRecord } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";

export interface Connected {
  /** Absent: the host's namespace, or (network none) a new one that the runtime makes. */
  netnsPath?: string;
  attachment?: Attachment;
  /** "own", or the id of the container whose hosts and resolv.conf are shared. */
  files: string;
  /** What the hosts file says of this container's addresses. */
  hosts: { addresses: string[]; hostGateways: string[] };
}

/** Errors: not-found or conflict for container:NAME, and those of NetworkDriver.attach. The caller undoes by `teardown`. */
export function connect(ctx: Ctx, deps: ContainerDeps, record: ContainerRecord): Connected {
  const { spec } = record;
  if (spec.network === "none" || spec.network === "host")
    return { files: "own", hosts: { addresses: [], hostGateways: [] } };
  if (spec.network.startsWith("container:")) return join(deps, spec.network.slice("container:".length));
  if (spec.network.startsWith("ns:"))
    return { netnsPath: spec.network.slice(3), files: "own", hosts: { addresses: [], hostGateways: [] } };
  const netnsPath = deps.network.createNetns(record.id);
  const attachment = deps.network.attach(ctx, {
    containerId: record.id,
    containerName: record.name,
    netnsPath,
    network: spec.network,
    ports: spec.ports,
    ...(spec.ip === undefined ? {} : { staticIp: spec.ip }),
    ...(spec.mac === undefined ? {} : { mac: spec.mac }),
  });
  return {
    netnsPath,
    attachment,
    files: "own",
    hosts: {
      addresses: attachment.addresses.map((a) => a.address),
      hostGateways: attachment.addresses.map((a) => a.gateway).filter((gateway) => gateway !== ""),
    },
  };
}

function join(deps: ContainerDeps, name: string): Connected {
  const other = deps.records.resolve(name);
  const { pid, pidStart, status } = other.state;
  const isUp =
    (status === "running" || status === "paused") &&
    pid !== undefined &&
    deps.sys.startTime(pid) === pidStart;
  if (!isUp) {
    throw fail("conflict", `cannot join the network of container ${other.name}: it is not running`, {
      reason: "network-container-down",
      hint: `start it first: berth start ${other.name}`,
    });
  }
  if (other.spec.network === "host") return { files: "own", hosts: { addresses: [], hostGateways: [] } };
  return {
    netnsPath: other.state.netns ?? `/proc/${pid}/ns/net`,
    files: other.id,
    hosts: { addresses: [], hostGateways: [] },
  };
}
