/** Leases and port claims; the parallel part with real processes on one database file. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { isKind } from "../core/error.ts";
import { Db } from "../sys/db.ts";
import { formatIp } from "./address.ts";
import { deleteAttachment, insertAttachment } from "./attachments.ts";
import { leaseAddresses, leasesOf } from "./ipam.ts";
import type { NetworkRecord } from "./network.ts";
import { claimPorts } from "./port-claims.ts";
import { parsePorts } from "./ports.ts";
import { insertRecord } from "./records.ts";
import { networkSchema } from "./schema.ts";
import { chooseIpv4Subnet, chooseIpv6Subnet } from "./subnet.ts";
import { parseSubnet, type Subnet } from "./address.ts";

let dir: string;
let db: Db;

beforeEach(() => {
  dir = mkdtempSync("/tmp/berth-network-ipam-");
  db = Db.open(`${dir}/berth.db`, 1, networkSchema);
});

afterEach(() => {
  db.close();
  rmSync(dir, { recursive: true });
});

function network(...subnets: [string, string][]): NetworkRecord {
  return insertRecord(db, {
    name: "net",
    id: "1".repeat(64),
    driver: "bridge",
    bridge: "net0",
    subnets: subnets.map(([subnet, gateway]) => ({ subnet, gateway })),
    internal: false,
    labels: {},
    created: "",
  });
}

const lease = (net: NetworkRecord, container: string, staticIp?: string): string[] =>
  db
    .tx(() => leaseAddresses(db, { network: net, container, staticIp, ipv6: true }))
    .map((l) => formatIp(l.address));

const release = (container: string): void =>
  deleteAttachment(db, {
    container,
    position: 0,
    network: "net",
    container_name: "",
    netns: "",
    interface: "",
    host_veth: "",
  });

describe("leases", () => {
  test("in turn, over both families, resting what was let go", () => {
    const net = network(["10.1.0.0/24", "10.1.0.1"], ["fd01::/64", "fd01::1"]);
    expect(lease(net, "a")).toEqual(["10.1.0.2", "fd01::2"]);
    expect(lease(net, "b")).toEqual(["10.1.0.3", "fd01::3"]);
    release("a");
    expect(lease(net, "c")).toEqual(["10.1.0.4", "fd01::4"]);
    expect(leasesOf(db, net, "c").map((l) => formatIp(l.address))).toEqual(["10.1.0.4", "fd01::4"]);
    expect(leasesOf(db, net, "a")).toEqual([]);
  });

  test("every address once, then the end, then what comes back", () => {
    const net = network(["10.1.0.0/28", "10.1.0.14"]);
    const all = Array.from({ length: 13 }, (_, i) => lease(net, `c${i}`)[0] as string);
    expect(new Set(all).size).toBe(13);
    expect(all).not.toContain("10.1.0.0");
    expect(all).not.toContain("10.1.0.14");
    expect(all).not.toContain("10.1.0.15");
    expect(() => lease(net, "x")).toThrow('no address is left in network "net"');
    release("c4");
    expect(lease(net, "x")).toEqual([all[4] as string]);
    expect(() => lease(net, "y")).toThrow("no address is left");
  });

  test("a nearly full large network is searched at once", () => {
    const net = network(["10.1.0.0/16", "10.1.0.1"]);
    db.tx(() => {
      for (let slot = 2; slot < 65535; slot++) {
        db.run("INSERT INTO network_leases VALUES ('net', 4, ?, ?, 'x')", slot, `s${slot}`);
      }
      db.run("DELETE FROM network_leases WHERE slot = 60000");
    });
    const start = performance.now();
    expect(lease(net, "a")).toEqual(["10.1.234.96"]);
    expect(performance.now() - start).toBeLessThan(200);
  });

  test("static addresses", () => {
    const net = network(["10.1.0.0/24", "10.1.0.1"], ["fd01::/64", "fd01::1"]);
    expect(lease(net, "a", "10.1.0.77")).toEqual(["10.1.0.77", "fd01::4d"]);
    expect(lease(net, "b", "fd01::ffff:ffff:ffff:fffe")).toEqual(["10.1.0.2", "fd01::ffff:ffff:ffff:fffe"]);
    for (const [address, kind] of [
      ["10.1.0.77", "in-use"],
      ["10.1.0.1", "in-use"],
      ["10.1.0.0", "invalid-argument"],
      ["10.1.0.255", "invalid-argument"],
      ["10.2.0.1", "invalid-argument"],
      ["nonsense", "invalid-argument"],
      ["fd01::ffff:ffff:ffff:fffe", "in-use"],
    ] as const) {
      const refusal = (() => {
        try {
          return lease(net, "z", address);
        } catch (error) {
          return error;
        }
      })();
      expect([address, isKind(refusal, kind)]).toEqual([address, true]);
    }
    expect(leasesOf(db, net, "z")).toEqual([]);
  });

  test("64 processes at once get 64 addresses and 64 ports", async () => {
    network(["10.1.0.0/24", "10.1.0.1"], ["fd01::/64", "fd01::1"]);
    const script = `
      import { Db } from "${import.meta.dir}/../sys/db.ts";
      import { formatIp } from "${import.meta.dir}/address.ts";
      import { leaseAddresses } from "${import.meta.dir}/ipam.ts";
      import { claimPorts } from "${import.meta.dir}/port-claims.ts";
      import { findRecord } from "${import.meta.dir}/records.ts";
      import { parsePorts } from "${import.meta.dir}/ports.ts";
      import { networkSchema } from "${import.meta.dir}/schema.ts";
      const db = Db.open("${dir}/berth.db", 1, networkSchema);
      const network = findRecord(db, { table: "", bridge: "", suffix: "" }, "net");
      const container = String(process.pid);
      const got = db.tx(() => [
        ...leaseAddresses(db, { network, container, staticIp: undefined, ipv6: true }).map((l) => formatIp(l.address)),
        claimPorts(db, { container, position: 0, ports: parsePorts(["127.0.0.1:41000-41100:80"]), ipv6: true })[0].hostPort,
      ]);
      console.log(JSON.stringify(got));`;
    const processes = Array.from({ length: 64 }, () =>
      Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" }),
    );
    const answers = await Promise.all(
      processes.map((p) => p.stdout.json() as Promise<[string, string, number]>),
    );
    for (const column of [0, 1, 2] as const) {
      expect(new Set(answers.map((a) => a[column])).size).toBe(64);
    }
  }, 30_000);
});

describe("claims", () => {
  const claim = (container: string, ...specs: string[]) =>
    db.tx(() => claimPorts(db, { container, position: 0, ports: parsePorts(specs), ipv6: true }));

  test("a claim that fails leaves no row", () => {
    network(["10.1.0.0/24", "10.1.0.1"]);
    insertAttachment(db, {
      container: "a",
      position: 0,
      network: "net",
      container_name: "first",
      netns: "",
      interface: "eth0",
      host_veth: "",
    });
    claim("a", "41200:80");
    expect(() => claim("b", "41201:80", "41200:80")).toThrow(
      'port "41200/tcp" is in use by container "first"',
    );
    expect(db.all("SELECT * FROM network_ports")).toHaveLength(1);
    release("a");
    expect(claim("b", "41201:80", "41200:80")).toHaveLength(2);
    expect(() => claim("c", "41200-41201:80")).toThrow("no host port of 41200-41201 is free");
  });
});

describe("subnets", () => {
  const taken = (...texts: string[]): Subnet[] => texts.map((t) => parseSubnet(t) as Subnet);

  test("the usual one, or the next that nothing uses", () => {
    expect(chooseIpv4Subnet([], "")).toBe("10.87.0.0/16");
    expect(chooseIpv4Subnet(taken("10.87.12.0/24"), "")).toBe("10.89.0.0/16");
    expect(chooseIpv4Subnet(taken("10.0.0.0/8"), "")).toBe("172.16.0.0/16");
    expect(chooseIpv4Subnet(taken("10.0.0.0/8", "172.16.0.0/12"), "")).toBe("192.168.0.0/24");
    expect(() => chooseIpv4Subnet(taken("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"), "")).toThrow();
    expect(chooseIpv4Subnet([], "abcdef")).not.toBe(chooseIpv4Subnet([], "abcdee"));
    expect(chooseIpv6Subnet()).toMatch(/^fd[0-9a-f:]+::\/64$/);
    expect(chooseIpv6Subnet()).not.toBe(chooseIpv6Subnet());
  });
});
