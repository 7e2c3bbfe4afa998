import { describe, expect, test } from "bun:test";
import { type ResolvRequest, resolvConf } from "./resolv.ts";

const request: ResolvRequest = {
  host: "# made by hand\nnameserver 10.0.0.53\nnameserver fd00::53\nsearch corp.example lab.example\noptions ndots:2 rotate\n",
  sharesHostNetwork: false,
  ipv6: true,
  dns: [],
  search: [],
  options: [],
};

const made = (change: Partial<ResolvRequest>): string => resolvConf({ ...request, ...change });

describe("resolv.conf", () => {
  test("the host's, as it is", () => {
    const expected =
      "nameserver 10.0.0.53\nnameserver fd00::53\nsearch corp.example lab.example\noptions ndots:2 rotate\n";
    expect(made({})).toBe(expected);
    expect(made({ ipv6: false })).toBe(expected.replace("nameserver fd00::53\n", ""));
  });

  test("each kind of value is replaced by itself", () => {
    expect(made({ dns: ["1.1.1.1"] })).toBe(
      "nameserver 1.1.1.1\nsearch corp.example lab.example\noptions ndots:2 rotate\n",
    );
    expect(made({ search: ["a.b."], options: ["timeout:1"] })).toContain("search a.b.\noptions timeout:1\n");
    expect(made({ search: ["."] })).not.toContain("search");
  });

  test("loopback resolvers are of no use inside", () => {
    expect(made({ host: "nameserver 127.0.0.1\nnameserver 9.9.9.9\nnameserver ::1\n" })).toBe(
      "nameserver 9.9.9.9\n",
    );
    expect(made({ host: "nameserver 127.0.0.1\n", ipv6: false })).toBe(
      "nameserver 8.8.8.8\nnameserver 8.8.4.4\n",
    );
    expect(made({ host: "" })).toContain("nameserver 2001:4860:4860::8888\n");
    expect(made({ host: "nameserver fe80::1%eth0\n" })).not.toContain("fe80");
    const host = "nameserver 127.0.0.53\noptions edns0\n";
    expect(made({ host, resolved: "nameserver 10.1.1.1\n" })).toBe("nameserver 10.1.1.1\n");
    expect(made({ host, sharesHostNetwork: true, resolved: "nameserver 10.1.1.1\n" })).toBe(host);
  });

  test("nothing can write a line of its own", () => {
    for (const evil of ["1.1.1.1\nnameserver 6.6.6.6", "x", "", "1.1.1.1 x", "fe80::1%a\nb"]) {
      expect(() => made({ dns: [evil] })).toThrow("invalid DNS server");
    }
    for (const evil of ["a\nnameserver 6.6.6.6", "a b", "", "a#"]) {
      expect(() => made({ search: [evil] })).toThrow("invalid DNS search");
      expect(() => made({ options: [evil] })).toThrow("invalid DNS option");
    }
    expect(made({ host: "nameserver evil\nsearch a\u0000b\noptions x\u0007\nnameserver\n" })).toContain(
      "8.8.8.8",
    );
  });
});
