import { describe, expect, test } from "bun:test";
import { type HostsRequest, hostsFile, isHostname, parseAddHost } from "./hosts.ts";

const request: HostsRequest = {
  hostname: "web",
  names: ["box"],
  addresses: ["10.87.0.2", "fd00::2"],
  addHosts: [],
  hostGateways: ["10.87.0.1"],
};

/** Lines behind the six of the loopback. */
function lines(change: Partial<HostsRequest>): string[] {
  return hostsFile({ ...request, ...change })
    .split("\n")
    .slice(6, -1);
}

describe("hosts", () => {
  test("own names, host names, user's entries", () => {
    expect(hostsFile(request)).toStartWith("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost");
    expect(lines({})).toEqual([
      "10.87.0.2\tweb box",
      "fd00::2\tweb box",
      "10.87.0.1\thost.containers.internal host.docker.internal",
    ]);
    expect(
      lines({ addHosts: ["db:10.0.0.5", "a;b=[FD00:0::5]", "gw:host-gateway"], domainname: "x.org" }),
    ).toEqual([
      "10.0.0.5\tdb",
      "fd00::5\ta b",
      "10.87.0.1\tgw",
      "10.87.0.2\tweb.x.org web box",
      "fd00::2\tweb.x.org web box",
      "10.87.0.1\thost.containers.internal host.docker.internal",
    ]);
  });

  test("the user's word on the host's names counts", () => {
    const text = hostsFile({ ...request, addHosts: ["host.docker.internal:1.2.3.4"] });
    expect(text).toContain("10.87.0.1\thost.containers.internal\n");
    expect(text).toContain("1.2.3.4\thost.docker.internal\n");
  });

  test("without a network, and with the host's", () => {
    expect(lines({ addresses: [], hostGateways: [] })).toEqual(["127.0.0.1\tweb box"]);
    expect(hostsFile({ ...request, base: "1.1.1.1 x", hostGateways: [], addHosts: ["a:1.2.3.4"] })).toBe(
      "1.1.1.1 x\n1.2.3.4\ta\n",
    );
    expect(() => lines({ hostGateways: [], addHosts: ["a:host-gateway"] })).toThrow("needs a network");
  });

  test("nothing can write a line of its own", () => {
    for (const evil of ["x\n9.9.9.9 evil", "x\r", "x y", "x\0", "", "-x", "x..y", "a".repeat(64), "x#"]) {
      expect(() => lines({ hostname: evil })).toThrow("invalid host name");
      expect(() => lines({ names: [evil] })).toThrow("invalid host name");
      expect(() => parseAddHost(`${evil}:1.2.3.4`)).toThrow("invalid --add-host");
    }
    for (const evil of ["1.2.3.4\n9.9.9.9 evil", "1.2.3", "", "x", "fe80::1%eth0", "1.2.3.4 x"]) {
      expect(() => parseAddHost(`a:${evil}`)).toThrow("invalid --add-host");
      expect(() => lines({ addresses: [evil] })).toThrow("invalid address");
    }
    const message = (() => {
      try {
        parseAddHost("a\nb:1.2.3.4");
      } catch (error) {
        return (error as Error).message;
      }
      return "\n";
    })();
    expect(message).not.toContain("\n");
    expect(isHostname("a_b.c-d.example")).toBe(true);
  });
});
