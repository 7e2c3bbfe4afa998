/**
 * Published ports as people write them (`-p`, `--publish`, compose, the Docker API's text forms):
 *
 *     [[HOST-IP]:][HOST-PORT[-END]:]CONTAINER-PORT[-END][/tcp|/udp|/sctp]
 *
 * An IPv6 host address stands in brackets. Without a host port a free one is taken; a range of host ports for a
 * single container port means any free one of them. Pure.
 */
import { fail } from "../core/error.ts";
import { parseIp, formatIp } from "./address.ts";
import type { PortMapping, Protocol } from "./network.ts";

interface Range {
  first: number;
  last: number;
}

const PROTOCOLS: readonly string[] = ["tcp", "udp", "sctp"] satisfies Protocol[];
const HINT = 'write it like "8080:80", "127.0.0.1:8080:80/udp" or "8000-8010:80-90"';

/** Errors: invalid-argument, naming the part that is wrong. */
export function parsePorts(specs: readonly string[]): PortMapping[] {
  return specs.flatMap(parsePort);
}

/** One `-p` value. Several mappings come back only for a range without host ports (each gets a free one of its own). */
export function parsePort(spec: string): PortMapping[] {
  const { text, protocol } = splitProtocol(spec);
  const { hostIp, rest } = splitHostIp(spec, text);
  const parts = rest.split(":");
  if (parts.length > 2) throw invalid(spec, "it has too many parts");
  const containerText = parts.at(-1) as string;
  const hostText = parts.length === 2 ? (parts[0] as string) : "";
  if (containerText === "") throw invalid(spec, "no container port is given");
  const container = parseRange(spec, containerText, "container port");
  const base = { hostIp, protocol };
  if (hostText === "" || hostText === "0") {
    return Array.from({ length: size(container) }, (_, i) => ({
      ...base,
      hostPort: 0,
      containerPort: container.first + i,
      range: 1,
    }));
  }
  return [{ ...base, ...pair(spec, parseRange(spec, hostText, "host port"), container) }];
}

/** `--expose` and the image's ExposedPorts: "80", "80/udp", "8000-8010". Errors: invalid-argument. */
export function parseExpose(spec: string): { port: number; range: number; protocol: Protocol } {
  const { text, protocol } = splitProtocol(spec);
  const { first, last } = parseRange(spec, text, "port");
  return { port: first, range: last - first + 1, protocol };
}

/** The form of docker port and docker ps: "0.0.0.0:8080->80/tcp". One line per address family that it listens on. */
export function formatPort(mapping: PortMapping): string[] {
  const span = (first: number): string =>
    mapping.range === 1 ? String(first) : `${first}-${first + mapping.range - 1}`;
  const hosts = mapping.hostIp === "" ? ["0.0.0.0", "::"] : [mapping.hostIp];
  return hosts.map((host) => {
    const shown = host.includes(":") ? `[${host}]` : host;
    return `${shown}:${span(mapping.hostPort)}->${span(mapping.containerPort)}/${mapping.protocol}`;
  });
}

function pair(
  spec: string,
  host: Range,
  container: Range,
): Pick<PortMapping, "hostPort" | "containerPort" | "range" | "hostPortEnd"> {
  if (size(host) === size(container)) {
    return { hostPort: host.first, containerPort: container.first, range: size(host) };
  }
  if (size(container) === 1) {
    return { hostPort: host.first, hostPortEnd: host.last, containerPort: container.first, range: 1 };
  }
  throw invalid(spec, `${size(host)} host ports cannot lead to ${size(container)} container ports`);
}

function splitProtocol(spec: string): { text: string; protocol: Protocol } {
  const slash = spec.indexOf("/");
  if (slash === -1) return { text: spec, protocol: "tcp" };
  const protocol = spec.slice(slash + 1).toLowerCase();
  if (!PROTOCOLS.includes(protocol)) throw invalid(spec, `unknown protocol "${protocol}"`);
  return { text: spec.slice(0, slash), protocol: protocol as Protocol };
}

function splitHostIp(spec: string, text: string): { hostIp: string; rest: string } {
  const bracketed = /^\[([^\]]*)\]:(.*)$/.exec(text);
  if (bracketed !== null) {
    return { hostIp: hostAddress(spec, bracketed[1] as string, 6), rest: bracketed[2] as string };
  }
  const parts = text.split(":");
  if (parts.length > 3) throw invalid(spec, "it has too many parts; an IPv6 address stands in brackets");
  if (parts.length < 3) return { hostIp: "", rest: text };
  const [ip, ...rest] = parts as [string, string, string];
  return { hostIp: ip === "" ? "" : hostAddress(spec, ip, 4), rest: rest.join(":") };
}

function hostAddress(spec: string, text: string, family: 4 | 6): string {
  const ip = parseIp(text);
  if (ip === undefined || ip.family !== family) throw invalid(spec, `invalid host address "${text}"`);
  return formatIp(ip);
}

function parseRange(spec: string, text: string, what: string): Range {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match === null || first < 1 || last > 65535) throw invalid(spec, `invalid ${what} "${text}"`);
  if (last < first) throw invalid(spec, `the ${what} range "${text}" ends before it begins`);
  return { first, last };
}

function size(range: Range): number {
  return range.last - range.first + 1;
}

function invalid(spec: string, why: string): Error {
  return fail("invalid-argument", `invalid port "${spec}": ${why}`, { reason: "invalid-port", hint: HINT });
}
