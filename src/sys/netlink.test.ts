/** The codec by itself, and requests to the kernel in a namespace of their own. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import fc from "fast-check";
import { linux } from "./linux.ts";
import {
  addElements,
  deleteElements,
  deleteTable,
  hasChain,
  type MapElement,
  openNetfilter,
} from "./netlink-netfilter.ts";
import {
  addAddress,
  addDefaultRoute,
  createBridge,
  createVeth,
  deleteLink,
  linkByIndex,
  linkByName,
  listAddresses,
  listLinks,
  listRoutes,
  openRoute,
  parseMac,
  setLink,
} from "./netlink-route.ts";
import {
  NetlinkError,
  NetlinkWriter,
  parseAttributes,
  parseMessages,
  readString,
  readU32,
} from "./netlink.ts";
import { findNft, loadRuleset } from "./nft-command.ts";
import { probePort } from "./port-probe.ts";

describe("codec", () => {
  test("attributes come back as they went, padded and nested", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }), (values) => {
        const writer = new NetlinkWriter();
        writer.nested(7, () => values.forEach((value, type) => writer.attribute(type + 1, value)));
        expect(writer.length % 4).toBe(0);
        const inner = parseAttributes(parseAttributes(writer.bytes).get(7) as Uint8Array);
        expect(inner.size).toBe(values.length);
        values.forEach((value, type) => expect(inner.get(type + 1)).toEqual(value));
      }),
    );
  });

  test("messages carry length, type, flags and sequence", () => {
    const writer = new NetlinkWriter();
    for (const sequence of [5, 6]) {
      writer.message(
        { operation: "", object: "", type: 0x102, flags: 4, body: (w) => w.string(3, "é".repeat(sequence)) },
        sequence,
      );
    }
    const messages = parseMessages(writer.bytes);
    expect(messages.map((m) => [m.type, m.flags, m.sequence])).toEqual([
      [0x102, 5, 5],
      [0x102, 5, 6],
    ]);
    expect(readString(parseAttributes(messages[1]?.body as Uint8Array).get(3) as Uint8Array)).toBe("éééééé");
    writer.u32(1, 0xfedc_ba98);
    expect(readU32(writer.bytes.subarray(-4))).toBe(0xfedc_ba98);
  });

  test("any bytes are parsed without a fault", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        parseAttributes(bytes);
        for (const message of parseMessages(bytes))
          expect(message.body.length).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });

  test("an attribute too long for its length field is an error", () => {
    const writer = new NetlinkWriter();
    expect(() => writer.nested(1, () => writer.attribute(2, new Uint8Array(65_533)))).toThrow("EMSGSIZE");
  });

  test("MAC addresses", () => {
    expect(parseMac("02:be:0A:57-00-02")).toEqual(new Uint8Array([2, 0xbe, 10, 0x57, 0, 2]));
    for (const bad of ["01:00:00:00:00:00", "00:00:00:00:00:00", "02:be", "x", "02:be:0a:57:00:02:03", ""]) {
      expect(parseMac(bad)).toBeUndefined();
    }
  });
});

const root = process.getuid?.() === 0;
if (!root) console.warn("skip: netlink against the kernel: needs root");

describe.skipIf(!root)("kernel", () => {
  let dir: string;
  let pin: string;
  let other: string;
  beforeAll(() => {
    dir = mkdtempSync("/tmp/berth-network-netlink-");
    [pin, other] = [`${dir}/a`, `${dir}/b`];
    linux.createNetns(pin);
    linux.createNetns(other);
  });
  afterAll(() => {
    linux.removeNetns(pin);
    linux.removeNetns(other);
    rmSync(dir, { recursive: true });
  });

  test("links, addresses and routes, made and found", () => {
    const netnsFd = linux.open(other, 0);
    const mac = new Uint8Array([2, 0xbe, 1, 2, 3, 4]);
    linux.inNetns(pin, () => {
      using route = openRoute();
      route.run(createBridge({ name: "br-123456789012", mac, mtu: 1400 }));
      const bridge = linkByName(route, "br-123456789012");
      expect(bridge).toMatchObject({ kind: "bridge", mtu: 1400, up: false, master: undefined });
      const master = bridge?.index as number;
      route.run(
        createVeth({ name: "v0", master, mtu: 1300, peer: { name: "eth0", mac, netnsFd } }),
        setLink("v0", { alias: "mine", linkLocal: false, hairpin: true }),
        addAddress(master, new Uint8Array([10, 9, 8, 1]), 24),
        addAddress(master, new Uint8Array([0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), 64),
        setLink("br-123456789012", { up: true }),
      );
      expect(linkByName(route, "v0")).toMatchObject({
        kind: "veth",
        mtu: 1300,
        up: true,
        master,
        alias: "mine",
      });
      expect(linkByIndex(route, master)?.name).toBe("br-123456789012");
      expect(
        listLinks(route)
          .map((l) => l.name)
          .toSorted(),
      ).toEqual(["br-123456789012", "lo", "v0"]);
      const addresses = listAddresses(route).filter((a) => a.index === master);
      expect(addresses.map((a) => a.prefix)).toEqual(expect.arrayContaining([24, 64]));
      route.run(addDefaultRoute(master, new Uint8Array([10, 9, 8, 2])));
      const routes = listRoutes(route).filter((r) => r.family === 4 && r.table === 254);
      expect(routes.map((r) => [r.destination?.join("."), r.prefix, r.index])).toEqual([
        [undefined, 0, master],
        ["10.9.8.0", 24, master],
      ]);
      expect(linkByName(route, "nothing")).toBeUndefined();
    });
    linux.inNetns(other, () => {
      using route = openRoute();
      expect(linkByName(route, "eth0")).toMatchObject({ kind: "veth", mtu: 1300, up: false });
    });
    linux.inNetns(pin, () => {
      using route = openRoute();
      route.run(deleteLink("v0"), deleteLink("br-123456789012"));
      expect(listLinks(route).map((l) => l.name)).toEqual(["lo"]);
    });
    linux.close(netnsFd);
  });

  test("errors name the operation, the object, the errno and the kernel's reason", () => {
    linux.inNetns(pin, () => {
      using route = openRoute();
      const failure = (() => {
        try {
          // The first fails, the second is carried out all the same.
          route.run(addDefaultRoute(1, new Uint8Array([192, 0, 2, 1])), setLink("lo", { alias: "x" }));
        } catch (error) {
          return error;
        }
        return undefined;
      })();
      expect(failure).toBeInstanceOf(NetlinkError);
      expect(failure).toMatchObject({
        call: "add default route",
        code: "ENETUNREACH",
        extack: expect.any(String),
      });
      expect(linkByName(route, "lo")?.alias).toBe("x");
      expect(() => route.run(deleteLink("nothing"))).toThrow('delete link "nothing": ENODEV');
      expect(() => deleteLink("a-name-of-16-byt")).toThrow("EINVAL");
      expect(() => deleteLink("a/b")).toThrow("EINVAL");
    });
  });

  test("a dump of many links comes whole", () => {
    linux.inNetns(pin, () => {
      using route = openRoute();
      const mac = new Uint8Array([2, 0, 0, 0, 0, 1]);
      const names = Array.from({ length: 120 }, (_, i) => `b${i}`);
      route.run(...names.map((name) => createBridge({ name, mac, mtu: undefined })));
      expect(listLinks(route)).toHaveLength(121);
      route.run(...names.map(deleteLink));
      expect(listLinks(route)).toHaveLength(1);
    });
  }, 30_000);

  test.skipIf(findNft() === undefined)("nftables elements go in and out", () => {
    linux.inNetns(pin, () => {
      using socket = openNetfilter();
      loadRuleset("table inet t {\n chain c {\n }\n map m {\n type inet_service : ipv4_addr\n }\n}\n");
      expect([hasChain(socket, "t", "c"), hasChain(socket, "t", "d"), hasChain(socket, "u", "c")]).toEqual([
        true,
        false,
        false,
      ]);
      const element = (port: number): MapElement => ({
        map: "m",
        key: new Uint8Array([port >> 8, port]),
        value: new Uint8Array([10, 0, 0, port]),
      });
      const many = Array.from({ length: 3000 }, (_, i) => element(i + 1));
      addElements(socket, "t", many);
      addElements(socket, "t", [element(5)]);
      const listed = () =>
        Bun.spawnSync([findNft() as string, "list", "map", "inet", "t", "m"]).stdout.toString();
      expect(listed().match(/ : 10\./g)).toHaveLength(3000);
      expect(listed()).toContain("5 : 10.0.0.5");
      expect(() => addElements(socket, "t", [{ ...element(5), value: new Uint8Array(4) }])).toThrow(
        /EBUSY|EEXIST/,
      );
      expect(() => addElements(socket, "nope", [element(5)])).toThrow("ENOENT");
      deleteElements(socket, "t", many.slice(10));
      // One that is missing does not keep the others.
      deleteElements(socket, "t", [element(9999), ...many.slice(0, 10)]);
      expect(listed()).not.toContain("elements");
      deleteElements(socket, "nope", [element(1)]);
      deleteTable(socket, "t");
      deleteTable(socket, "t");
      expect(hasChain(socket, "t", "c")).toBe(false);
      expect(() => loadRuleset("nonsense")).toThrow("nft refused");
    });
  });

  test("ports are probed where the thread is", () => {
    linux.inNetns(pin, () => {
      const any = new Uint8Array(4);
      const local = new Uint8Array([127, 0, 0, 1]);
      const listener = Bun.listen({ hostname: "127.0.0.1", port: 4242, socket: { data: () => {} } });
      expect(probePort("tcp", local, 4242)).toBe("in-use");
      expect(probePort("tcp", any, 4242)).toBe("in-use");
      expect(probePort("tcp", new Uint8Array(16), 4242)).toBe("free");
      expect(probePort("udp", any, 4242)).toBe("free");
      expect(probePort("tcp", new Uint8Array([192, 0, 2, 1]), 80)).toBe("no-such-address");
      listener.stop(true);
      expect(probePort("tcp", local, 4242)).toBe("free");
    });
    expect(probePort("tcp", new Uint8Array([127, 0, 0, 1]), 4242)).toBe("free");
  });
});
