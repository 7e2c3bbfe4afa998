/**
 * The text of a container's /etc/resolv.conf (resolv.conf(5)), from the host's and what was asked for. Pure. Every value is checked, so that
 * none can write lines of its own.
 */
import { fail } from "../core/error.ts";
import { formatIp, isLoopback, parseIp } from "./address.ts";
import { isHostname, printable } from "./hosts.ts";

export interface ResolvRequest {
  /** The host's /etc/resolv.conf; "" when it has none. */
  host: string;
  /** systemd-resolved's /run/systemd/resolve/resolv.conf, if there is one: what its stub on 127.0.0.53 really asks. */
  resolved?: string;
  /** With the host's own network its loopback resolvers are within reach. */
  sharesHostNetwork: boolean;
  /** False: IPv6 name servers are of no use. */
  ipv6: boolean;
  /** `--dns`, `--dns-search` (a single "." means none) and `--dns-option`; each takes the place of the host's. */
  dns: readonly string[];
  search: readonly string[];
  options: readonly string[];
}

interface Config {
  nameservers: string[];
  search: string[];
  options: string[];
}

/** What docker and podman fall back to where the host's resolvers cannot be reached. */
const FALLBACK_V4 = ["8.8.8.8", "8.8.4.4"];
const FALLBACK_V6 = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/** Errors: invalid-argument (a name server that is no address, a malformed domain or option). */
export function resolvConf(request: ResolvRequest): string {
  const asked = checkAsked(request);
  const host = parseResolvConf(hostText(request));
  const found = request.sharesHostNetwork
    ? host.nameservers
    : host.nameservers.filter(reachable(request.ipv6));
  const fallback = request.ipv6 ? [...FALLBACK_V4, ...FALLBACK_V6] : FALLBACK_V4;
  const usable = found.length > 0 || request.sharesHostNetwork ? found : fallback;
  const nameservers = asked.nameservers.length > 0 ? asked.nameservers : usable;
  const search = request.search.length > 0 ? asked.search : host.search;
  const options = asked.options.length > 0 ? asked.options : host.options;
  return [
    ...nameservers.map((server) => `nameserver ${server}\n`),
    ...(search.length > 0 ? [`search ${search.join(" ")}\n`] : []),
    ...(options.length > 0 ? [`options ${options.join(" ")}\n`] : []),
  ].join("");
}

/** Unknown and malformed lines are left out; of several `search` and `domain` lines the last one counts. */
function parseResolvConf(text: string): Config {
  const config: Config = { nameservers: [], search: [], options: [] };
  for (const line of text.split("\n")) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, "")
      .trim()
      .split(/\s+/);
    if (keyword === "nameserver") config.nameservers.push(...values.slice(0, 1).filter(isNameserver));
    else if (keyword === "search" || keyword === "domain") config.search = values.filter(isDomain);
    else if (keyword === "options") config.options.push(...values.filter(isOption));
  }
  return config;
}

/** A file that names nothing but resolved's stub stands for the one behind it. */
function hostText(request: ResolvRequest): string {
  if (request.sharesHostNetwork || request.resolved === undefined) return request.host;
  const { nameservers } = parseResolvConf(request.host);
  return nameservers.length > 0 && nameservers.every((s) => s === "127.0.0.53")
    ? request.resolved
    : request.host;
}

function checkAsked(request: ResolvRequest): Config {
  const check = (values: readonly string[], ok: (text: string) => boolean, what: string): void => {
    const bad = values.find((value) => !ok(value));
    if (bad !== undefined) throw fail("invalid-argument", `invalid ${what} "${printable(bad)}"`);
  };
  check(request.dns, (text) => parseIp(text) !== undefined, "DNS server address");
  const search = request.search.filter((domain) => domain !== ".");
  check(search, isDomain, "DNS search domain");
  check(request.options, isOption, "DNS option");
  return { nameservers: request.dns.map(normal), search, options: [...request.options] };
}

function normal(text: string): string {
  const ip = parseIp(text);
  return ip === undefined ? text : formatIp(ip);
}

/** With a zone ("fe80::1%eth0") too: a link-local resolver of the host. */
function isNameserver(text: string): boolean {
  const [address, zone] = text.split("%");
  return parseIp(address ?? "") !== undefined && (zone === undefined || /^[\w.-]+$/.test(zone));
}

function reachable(ipv6: boolean): (server: string) => boolean {
  return (server) => {
    const ip = parseIp(server);
    // A zone is an interface of the host, and means nothing inside.
    return ip !== undefined && !isLoopback(ip) && (ipv6 || ip.family === 4);
  };
}

function isDomain(text: string): boolean {
  return isHostname(text.replace(/\.$/, ""));
}

function isOption(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9:_-]{0,63}$/.test(text);
}
