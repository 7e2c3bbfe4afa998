import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isKind } from "../core/error.ts";
import type { PortMapping } from "./network.ts";
import { formatPort, parseExpose, parsePort } from "./ports.ts";

const mapping = (change: Partial<PortMapping>): PortMapping => ({
  hostIp: "",
  hostPort: 0,
  containerPort: 80,
  protocol: "tcp",
  range: 1,
  ...change,
});

describe("ports", () => {
  test.each<[string, Partial<PortMapping>[]]>([
    ["80", [{}]],
    ["80/udp", [{ protocol: "udp" }]],
    ["80/SCTP", [{ protocol: "sctp" }]],
    [":80", [{}]],
    ["0:80", [{}]],
    ["8080:80", [{ hostPort: 8080 }]],
    ["127.0.0.1:8080:80", [{ hostIp: "127.0.0.1", hostPort: 8080 }]],
    ["127.0.0.1::80", [{ hostIp: "127.0.0.1" }]],
    ["::80", [{}]],
    ["[::1]:80:80", [{ hostIp: "::1", hostPort: 80 }]],
    ["[FD00:0:0::1]::80/udp", [{ hostIp: "fd00::1", protocol: "udp" }]],
    ["0.0.0.0:80:80", [{ hostIp: "0.0.0.0", hostPort: 80 }]],
    ["8000-8010:80-90", [{ hostPort: 8000, range: 11 }]],
    ["80-81", [{}, { containerPort: 81 }]],
    ["8000-8010:80", [{ hostPort: 8000, hostPortEnd: 8010 }]],
    ["1-65535:1-65535", [{ hostPort: 1, containerPort: 1, range: 65535 }]],
  ])("%s", (spec, expected) => {
    expect(parsePort(spec)).toEqual(expected.map(mapping));
  });

  test.each([
    ["", "no container port"],
    ["8080:", "no container port"],
    ["x", 'container port "x"'],
    ["0", 'container port "0"'],
    ["65536", 'container port "65536"'],
    ["70000:80", 'host port "70000"'],
    ["-1:80", 'host port "-1"'],
    ["80:80:80", 'host address "80"'],
    ["1.2.3:80:80", 'host address "1.2.3"'],
    ["localhost:80:80", 'host address "localhost"'],
    ["::1:80:80", "brackets"],
    ["[1.2.3.4]:80:80", 'host address "1.2.3.4"'],
    ["[::1]:1:2:3", "too many parts"],
    ["80/icmp", 'protocol "icmp"'],
    ["80/", 'protocol ""'],
    ["90-80", "ends before"],
    ["8000-8001:80-82", "2 host ports cannot lead to 3"],
    ["80 ", 'container port "80 "'],
    ["80\n", "container port"],
    ["1e3", "container port"],
  ])("%j is refused: %s", (spec, part) => {
    const refusal = (() => {
      try {
        return parsePort(spec);
      } catch (error) {
        return error;
      }
    })();
    expect(isKind(refusal, "invalid-argument") && refusal.message).toContain(part);
  });

  test("any text is parsed or refused, nothing else", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9a-f:.[\]/udptc-]{0,24}$/), (text) => {
        try {
          for (const m of parsePort(text)) {
            expect(m.containerPort + m.range - 1).toBeLessThanOrEqual(65535);
            expect(m.hostPort + m.range - 1).toBeLessThanOrEqual(65535);
          }
        } catch (error) {
          expect(isKind(error, "invalid-argument")).toBe(true);
        }
      }),
    );
  });

  test("expose and printing", () => {
    expect(parseExpose("80-82/udp")).toEqual({ port: 80, range: 3, protocol: "udp" });
    expect(formatPort(mapping({ hostPort: 8080 }))).toEqual(["0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp"]);
    expect(formatPort(mapping({ hostIp: "fd00::1", hostPort: 8000, range: 3 }))).toEqual([
      "[fd00::1]:8000-8002->80-82/tcp",
    ]);
  });
});
