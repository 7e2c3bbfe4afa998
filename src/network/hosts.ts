/**
 * The text of a container's /etc/hosts (hosts(5)). Pure. Every name and address is checked here, whoever it comes from:
 * a line feed in a host name would otherwise write lines of its own.
 */
import { fail } from "../core/error.ts";
import { formatIp, parseIp } from "./address.ts";

export interface HostsRequest {
  hostname: string;
  domainname?: string;
  /** Further names of the container itself: its name, its aliases. */
  names?: readonly string[];
  /** The container's own addresses; without any, its names lead to 127.0.0.1. */
  addresses: readonly string[];
  /** `--add-host` values: "name:ip", "name=ip", "one;two:ip"; the ip may be "host-gateway". */
  addHosts: readonly string[];
  /** The host's addresses as the container reaches them: its gateways. Empty without a network. */
  hostGateways: readonly string[];
  /** With the host's own network: the host's file, which takes the place of the usual first lines. */
  base?: string;
}

export interface AddHost {
  names: string[];
  /** As it was given, or in its short form; "host-gateway" is left as it is. */
  address: string;
}

const HOST_GATEWAY = "host-gateway";

const LOCAL = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

/** Names that podman and docker give to the host. */
const HOST_NAMES = ["host.containers.internal", "host.docker.internal"];

/** Errors: invalid-argument (a name or address that is none, "host-gateway" without a network). */
export function hostsFile(request: HostsRequest): string {
  const added = request.addHosts.map(parseAddHost);
  const taken = new Set(added.flatMap((a) => a.names));
  const own = ownNames(request);
  const lines = added.flatMap((a) => addressesFor(a, request.hostGateways).map((ip) => line(ip, a.names)));
  if (request.base === undefined) {
    const addresses = request.addresses.length === 0 ? ["127.0.0.1"] : request.addresses;
    lines.push(...addresses.map((ip) => line(checkAddress(ip), own)));
  }
  const host = HOST_NAMES.filter((name) => !taken.has(name));
  if (host.length > 0) lines.push(...request.hostGateways.map((ip) => line(checkAddress(ip), host)));
  const base = request.base === undefined || request.base.endsWith("\n") ? request.base : `${request.base}\n`;
  return (base ?? LOCAL) + lines.join("");
}

/** Reads one `--add-host` value. Errors: invalid-argument. */
export function parseAddHost(text: string): AddHost {
  const match = /^([^:=]+)[:=](.+)$/s.exec(text);
  if (match === null) throw invalid(text, "it needs a name and an address");
  const names = (match[1] as string).split(";");
  const bad = names.find((name) => !isHostname(name));
  if (bad !== undefined) throw invalid(text, `invalid host name "${printable(bad)}"`);
  const value = (match[2] as string).replace(/^\[(.*)\]$/s, "$1");
  if (value === HOST_GATEWAY) return { names, address: value };
  const ip = parseIp(value);
  if (ip === undefined) throw invalid(text, `invalid address "${printable(value)}"`);
  return { names, address: formatIp(ip) };
}

/** RFC 1123, and "_", which people do use; at most 253 bytes, labels of 63. */
export function isHostname(text: string): boolean {
  return (
    text.length <= 253 && text.split(".").every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})$/.test(label))
  );
}

/** Errors: invalid-argument. */
function checkHostname(text: string): string {
  if (isHostname(text)) return text;
  throw fail("invalid-argument", `invalid host name "${printable(text)}"`, {
    hint: "letters, digits, - and _ in labels of at most 63 characters, joined by dots",
  });
}

/** For error texts: without control characters. */
export function printable(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function ownNames(request: HostsRequest): string[] {
  const domain = request.domainname ?? "";
  const full = domain === "" ? [] : [`${request.hostname}.${domain}`];
  return [...new Set([...full, request.hostname, ...(request.names ?? [])])].map(checkHostname);
}

function addressesFor(added: AddHost, gateways: readonly string[]): string[] {
  if (added.address !== HOST_GATEWAY) return [added.address];
  if (gateways.length > 0) return gateways.map(checkAddress);
  throw fail(
    "invalid-argument",
    `"${added.names[0]}:${HOST_GATEWAY}" needs a network that reaches the host`,
    {
      hint: "use --network bridge, or give the address itself",
    },
  );
}

function checkAddress(text: string): string {
  const ip = parseIp(text);
  if (ip === undefined) throw fail("invalid-argument", `invalid address "${printable(text)}"`);
  return formatIp(ip);
}

function line(address: string, names: readonly string[]): string {
  return `${address}\t${names.join(" ")}\n`;
}

function invalid(text: string, why: string): Error {
  return fail("invalid-argument", `invalid --add-host "${printable(text)}": ${why}`, {
    hint: 'write it like "db.example:10.0.0.5" or "db.example:host-gateway"',
  });
}
