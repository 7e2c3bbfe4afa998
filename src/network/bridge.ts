/**
 * The bridge driver: one veth pair, one or two addresses and a few map elements for each container.
 *
 * Order of an attach: rows (addresses, ports) in one transaction → veth pair with its other end in the container's
 * namespace → addresses and routes in there → published ports. What is made is found again through the rows, so a crash at
 * any point is undone by `detach`, and a failure is undone here.
 *
 * A detach takes back rows and published ports. The veth pair dies with the namespace: deleting it costs 10 ms, waiting for nobody.
 */
import { mkdirSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import type { Db } from "../sys/db.ts";
import { hasCode } from "../sys/errno.ts";
import type { NetlinkSocket } from "../sys/netlink.ts";
import { type Link, openRoute } from "../sys/netlink-route.ts";
import type { Sys } from "../sys/sys.ts";
import { formatIp } from "./address.ts";
import {
  allPublished,
  type AttachmentRow,
  attachmentsIn,
  attachmentsOf,
  deleteAttachment,
  insertAttachment,
  publishedOf,
} from "./attachments.ts";
import { deleteBridge, findBridge, raiseBridge } from "./bridge-link.ts";
import {
  awaitCarrier,
  checkInterfaceName,
  clearLeftover,
  configure,
  connect,
  isNamespace,
  reconnect,
} from "./container-link.ts";
import { forgetFlowsTo, forgetOlderFlows } from "./flows.ts";
import { leaseAddresses, type Lease, leasesOf } from "./ipam.ts";
import { formatMac, hostVethName, macFrom, macOf, storeNames, type StoreNames } from "./names.ts";
import {
  type AttachRequest,
  type Attachment,
  DEFAULT_NETWORK,
  type NetworkDriver,
  type NetworkRecord,
  type PortMapping,
} from "./network.ts";
import {
  dropTable,
  elementsOf,
  ensureTable,
  hasTable,
  publish,
  type Ruleset,
  unpublish,
  writeTable,
} from "./nft.ts";
import { claimPorts } from "./port-claims.ts";
import { deleteRecord, findRecord, listRecords } from "./records.ts";

export interface BridgeDriverParts {
  db: Db;
  sys: Pick<Sys, "createNetns" | "removeNetns" | "inNetns">;
  /** Where namespaces are pinned: "/run/berth/netns". Made when it is missing. */
  netnsDir: string;
  /** The store's root directory; its name keeps stores on one host apart. */
  root: string;
}

export function createNetworkDriver(parts: BridgeDriverParts): NetworkDriver {
  return new BridgeDriver(parts);
}

/** What the rows say of an attach that is being made. */
interface Plan {
  row: AttachmentRow;
  leases: Lease[];
  ports: PortMapping[];
  mac: Uint8Array;
}

class BridgeDriver implements NetworkDriver {
  readonly #db: Db;
  readonly #sys: BridgeDriverParts["sys"];
  readonly #netnsDir: string;
  readonly #names: StoreNames;

  constructor(parts: BridgeDriverParts) {
    this.#db = parts.db;
    this.#sys = parts.sys;
    this.#netnsDir = parts.netnsDir;
    this.#names = storeNames(parts.root);
  }

  list(): NetworkRecord[] {
    findRecord(this.#db, this.#names, DEFAULT_NETWORK);
    return listRecords(this.#db);
  }

  inspect(name: string): NetworkRecord {
    return findRecord(this.#db, this.#names, name);
  }

  createNetns(id: string): string {
    const path = `${this.#netnsDir}/${id}`;
    try {
      this.#sys.createNetns(path);
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
      mkdirSync(this.#netnsDir, { recursive: true, mode: 0o755 });
      this.#sys.createNetns(path);
    }
    return path;
  }

  removeNetns(id: string): void {
    this.#sys.removeNetns(`${this.#netnsDir}/${id}`);
  }

  attach(ctx: Ctx, request: AttachRequest): Attachment {
    const network = this.inspect(request.network);
    using route = openRoute();
    // First of all, because only this can fail for want of a program.
    this.#ensureTable(ctx);
    const bridge = this.#bridge(ctx, route, network);
    const plan = this.#claim(ctx, () => this.#plan(request, network, bridge.ipv6));
    try {
      failpoint("network.attach.rows");
      connect(route, plan.row, { bridge, mac: plan.mac, publishes: plan.ports.length > 0 });
      failpoint("network.attach.veth");
      this.#sys.inNetns(request.netnsPath, () => configure(plan.row, plan.leases));
      awaitCarrier(route, plan.row, bridge);
      failpoint("network.attach.configure");
      this.#publish(ctx, plan);
      failpoint("network.attach.publish");
    } catch (error) {
      this.#undo(route, plan.row, error);
      throw error;
    }
    ctx.log.trace(
      () => `network: ${plan.row.host_veth} ${plan.leases.map((l) => formatIp(l.address)).join(" ")}`,
    );
    return describe(network, plan);
  }

  detach(ctx: Ctx, containerId: string): void {
    if (attachmentsOf(this.#db, containerId).length === 0) return;
    this.#db.tx(() => {
      for (const row of attachmentsOf(this.#db, containerId)) this.#release(row);
    });
    ctx.log.trace(() => `network: detached ${containerId}`);
  }

  reload(ctx: Ctx): void {
    using route = openRoute();
    this.#db.tx(() => {
      for (const network of this.list()) {
        const bridge = raiseBridge(route, network);
        for (const row of attachmentsIn(this.#db, network.name)) reconnect(route, row, bridge);
      }
      writeTable(this.#ruleset());
    });
    ctx.log.debug(`bridges and nftables table "${this.#names.table}" are back`);
  }

  destroy(ctx: Ctx, name: string): void {
    const network = this.inspect(name);
    using route = openRoute();
    this.#db.tx(() => {
      const users = attachmentsIn(this.#db, network.name).map((row) => `"${row.container_name}"`);
      if (users.length > 0) {
        throw fail("in-use", `network "${network.name}" is used by ${users.join(", ")}`, {
          reason: "network-in-use",
        });
      }
      deleteRecord(this.#db, network.name);
      deleteBridge(route, network);
      if (listRecords(this.#db).length === 0) dropTable(this.#names.table);
      else ensureTable(this.#ruleset());
    });
    ctx.log.trace(() => `network: ${network.name} is gone`);
  }

  leaseHolders(): string[] {
    return this.#db
      .all<{ container: string }>("SELECT DISTINCT container FROM network_attachments")
      .map((row) => row.container);
  }

  #bridge(ctx: Ctx, route: NetlinkSocket, network: NetworkRecord): Link {
    const found = findBridge(route, network);
    // Some programs write all sysctls anew; containers would silently lose the world.
    if (found?.forwards === true) return found;
    ctx.log.debug(`making bridge "${network.bridge}"`);
    return this.#db.tx(() => raiseBridge(route, network));
  }

  #ruleset(): Ruleset {
    return {
      table: this.#names.table,
      networks: listRecords(this.#db),
      published: () => allPublished(this.#db),
    };
  }

  #ensureTable(ctx: Ctx): void {
    const ruleset = this.#ruleset();
    if (hasTable(ruleset)) return;
    ctx.log.debug(`writing nftables table "${ruleset.table}"`);
    this.#db.tx(() => ensureTable(this.#ruleset()));
  }

  /** A port or address whose holder's namespace is gone (after a reboot, a kill) is taken from it. */
  #claim(ctx: Ctx, plan: () => Plan): Plan {
    try {
      return this.#db.tx(plan);
    } catch (error) {
      const holder = error instanceof EngineError ? error.data["container"] : undefined;
      const rows = typeof holder === "string" ? attachmentsOf(this.#db, holder) : [];
      // No rows: the gateway's address, or two wishes of this very request for one port.
      if (typeof holder !== "string" || rows.length === 0) throw error;
      if (rows.some((row) => isNamespace(row.netns))) throw error;
      ctx.log.debug(`network: container "${holder}" is gone`);
      this.detach(ctx, holder);
      return this.#claim(ctx, plan);
    }
  }

  /** Everything that can be refused is refused here, before anything is made. */
  #plan(request: AttachRequest, network: NetworkRecord, ipv6: boolean): Plan {
    const container = request.containerId;
    const others = attachmentsOf(this.#db, container);
    if (others.some((row) => row.network === network.name)) {
      throw fail(
        "already-exists",
        `container "${request.containerName}" is in network "${network.name}" already`,
      );
    }
    const position = (others.at(-1)?.position ?? -1) + 1;
    const interfaceName = request.interfaceName ?? `eth${position}`;
    checkInterfaceName(interfaceName, others);
    const mac = request.mac === undefined ? undefined : macFrom(request.mac);
    const leases = leaseAddresses(this.#db, { network, container, staticIp: request.staticIp, ipv6 });
    const first = (leases[0] as Lease).address;
    const row: AttachmentRow = {
      container,
      position,
      network: network.name,
      container_name: request.containerName,
      netns: request.netnsPath,
      interface: interfaceName,
      host_veth: hostVethName(container, position, first),
    };
    insertAttachment(this.#db, row);
    const ports = claimPorts(this.#db, { container, position, ports: request.ports, ipv6 });
    return { row, leases, ports, mac: mac ?? macOf(first) };
  }

  #publish(ctx: Ctx, plan: Plan): void {
    const published = publishedOf(this.#db, plan.row, plan.leases);
    if (!publish(this.#names.table, elementsOf(published))) {
      ctx.log.debug(`nftables table "${this.#names.table}" has changed behind our back: writing it anew`);
      this.#db.tx(() => writeTable(this.#ruleset()));
    }
    forgetOlderFlows(published);
  }

  #release(row: AttachmentRow): void {
    const network = findRecord(this.#db, this.#names, row.network);
    const published = publishedOf(this.#db, row, leasesOf(this.#db, network, row.container));
    unpublish(this.#names.table, elementsOf(published));
    forgetFlowsTo(published);
    failpoint("network.detach.unpublished");
    deleteAttachment(this.#db, row);
  }

  #undo(route: NetlinkSocket, row: AttachmentRow, first: unknown): void {
    const steps = [() => clearLeftover(route, row), () => this.#db.tx(() => this.#release(row))];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        if (first instanceof EngineError) first.undoErrors.push(error);
      }
    }
  }
}

function describe(network: NetworkRecord, plan: Plan): Attachment {
  return {
    network: network.name,
    interfaceName: plan.row.interface,
    mac: formatMac(plan.mac),
    addresses: plan.leases.map((l) => ({
      address: formatIp(l.address),
      prefix: l.prefix,
      gateway: l.gateway,
    })),
    ports: plan.ports,
    hostVeth: plan.row.host_veth,
  };
}
