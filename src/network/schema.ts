/** Tables of networks. `engine/open.ts` joins them with the other parts' into one schema. */
export const networkSchema = `
CREATE TABLE IF NOT EXISTS networks (
  name TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  bridge TEXT NOT NULL UNIQUE,
  record TEXT NOT NULL            -- NetworkRecord as JSON
) STRICT;

-- One row per subnet: where the search for a free address goes on.
CREATE TABLE IF NOT EXISTS network_cursors (
  network TEXT NOT NULL REFERENCES networks(name) ON DELETE CASCADE,
  family INTEGER NOT NULL,        -- 4 or 6
  slot INTEGER NOT NULL,
  PRIMARY KEY (network, family)
) STRICT, WITHOUT ROWID;

-- One row per address in use. \`slot\` is its distance from the subnet's base (a signed 64-bit number); the
-- gateway's row has the container ''.
CREATE TABLE IF NOT EXISTS network_leases (
  network TEXT NOT NULL REFERENCES networks(name) ON DELETE CASCADE,
  family INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  address TEXT NOT NULL,
  container TEXT NOT NULL,
  PRIMARY KEY (network, family, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS network_leases_container ON network_leases(container);

-- One row per interface of a container, written with its leases before anything is made.
CREATE TABLE IF NOT EXISTS network_attachments (
  container TEXT NOT NULL,
  position INTEGER NOT NULL,      -- 0 for the first network
  network TEXT NOT NULL REFERENCES networks(name),
  container_name TEXT NOT NULL,
  netns TEXT NOT NULL,
  interface TEXT NOT NULL,
  host_veth TEXT NOT NULL,
  PRIMARY KEY (container, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS network_attachments_network ON network_attachments(network);

-- One row per published port or run of consecutive ports.
CREATE TABLE IF NOT EXISTS network_ports (
  protocol TEXT NOT NULL,
  first INTEGER NOT NULL,         -- host ports first..last
  last INTEGER NOT NULL,
  host_ip TEXT NOT NULL,          -- '' is every address of both families
  container_port INTEGER NOT NULL,
  container TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (protocol, first, host_ip)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS network_ports_container ON network_ports(container);
`;
