import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isIP } from "node:net";
import {
  addressAt,
  formatIp,
  formatSubnet,
  type Ip,
  ipBytes,
  ipFromBytes,
  overlaps,
  parseIp,
  parseSubnet,
  slotOf,
  type Subnet,
} from "./address.ts";

const ip = (text: string): Ip => parseIp(text) as Ip;
const net = (text: string): Subnet => parseSubnet(text) as Subnet;

describe("addresses", () => {
  test("what the platform calls an address, and no more", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        const parsed = ip(text);
        expect(parsed.family).toBe(isIP(text) as 4 | 6);
        expect(parseIp(formatIp(parsed))).toEqual(parsed);
        expect(ipFromBytes(ipBytes(parsed))).toEqual(parsed);
        // The platform's own short form, where it can read the long one.
        const url = `http://${text.includes(":") ? `[${text}]` : text}/`;
        if (URL.canParse(url)) expect(formatIp(parsed)).toBe(new URL(url).hostname.replace(/[[\]]/g, ""));
      }),
    );
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9a-f:.]{0,24}$/), (text) => {
        expect(parseIp(text) !== undefined).toBe(isIP(text) !== 0);
      }),
    );
  });

  test("odd spellings", () => {
    for (const bad of [
      "1.2.3",
      "1.2.3.4.5",
      "01.2.3.4",
      "1.2.3.256",
      ":::",
      "1::2::3",
      "1:2:3:4:5:6:7:8:9",
      "fe80::1%e",
      " 1.2.3.4",
      "1.2.3.4\n",
      "1:2:3:4:5:6:7::8",
    ]) {
      const real = isIP(bad);
      if (bad.includes("%") || real === 0) expect(parseIp(bad)).toBeUndefined();
    }
    expect(formatIp(ip("::ffff:1.2.3.4"))).toBe("::ffff:102:304");
    expect(formatIp(ip("0:0:1:0:0:0:1:0"))).toBe("0:0:1::1:0");
    expect(formatIp(ip("::"))).toBe("::");
    expect(formatIp(ip("1:0:2:3:4:5:6:7"))).toBe("1:0:2:3:4:5:6:7");
  });

  test("subnets", () => {
    expect(formatSubnet(net("10.87.3.4/16"))).toBe("10.87.0.0/16");
    expect(formatIp(addressAt(net("10.87.0.0/16"), 258n))).toBe("10.87.1.2");
    expect(slotOf(net("10.87.0.0/16"), ip("10.87.1.2"))).toBe(258n);
    expect(slotOf(net("10.87.0.0/16"), ip("10.88.0.0"))).toBeUndefined();
    expect(overlaps(net("10.0.0.0/8"), net("10.87.0.0/16"))).toBe(true);
    expect(overlaps(net("10.88.0.0/16"), net("10.87.0.0/16"))).toBe(false);
    expect(overlaps(net("::/0"), net("10.87.0.0/16"))).toBe(false);
    for (const bad of ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/8/8", "fd00::/129"]) {
      expect(parseSubnet(bad)).toBeUndefined();
    }
  });
});
