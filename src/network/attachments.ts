/** Rows of attachments: who is in which network, through which interface. */
import type { Db } from "../sys/db.ts";
import { leasesOf, type Lease } from "./ipam.ts";
import type { NetworkRecord } from "./network.ts";
import { elementsOf, type Published } from "./nft.ts";
import { portsOf } from "./port-claims.ts";
import { listRecords } from "./records.ts";
import type { MapElement } from "../sys/netlink-netfilter.ts";

export interface AttachmentRow {
  container: string;
  position: number;
  network: string;
  container_name: string;
  netns: string;
  interface: string;
  host_veth: string;
}

export function attachmentsOf(db: Db, container: string): AttachmentRow[] {
  return db.all<AttachmentRow>(
    "SELECT * FROM network_attachments WHERE container = ? ORDER BY position",
    container,
  );
}

export function attachmentsIn(db: Db, network: string): AttachmentRow[] {
  return db.all<AttachmentRow>("SELECT * FROM network_attachments WHERE network = ?", network);
}

export function insertAttachment(db: Db, row: AttachmentRow): void {
  db.run(
    "INSERT INTO network_attachments VALUES (?, ?, ?, ?, ?, ?, ?)",
    row.container,
    row.position,
    row.network,
    row.container_name,
    row.netns,
    row.interface,
    row.host_veth,
  );
}

/** Forgets one attachment with its addresses and ports. */
export function deleteAttachment(db: Db, row: AttachmentRow): void {
  const { container, position, network } = row;
  db.run("DELETE FROM network_ports WHERE container = ? AND position = ?", container, position);
  db.run("DELETE FROM network_leases WHERE container = ? AND network = ?", container, network);
  db.run("DELETE FROM network_attachments WHERE container = ? AND position = ?", container, position);
}

/** What one attachment publishes, from its rows. */
export function publishedOf(db: Db, row: AttachmentRow, leases: readonly Lease[]): Published {
  const ports = portsOf(db, row.container, row.position);
  return { ports, addresses: leases.map((l) => l.address) };
}

/** The map elements that publish the ports of all attachments of the store. */
export function allPublished(db: Db): MapElement[] {
  return listRecords(db).flatMap((network: NetworkRecord) =>
    attachmentsIn(db, network.name).flatMap((row) =>
      elementsOf(publishedOf(db, row, leasesOf(db, network, row.container))),
    ),
  );
}
