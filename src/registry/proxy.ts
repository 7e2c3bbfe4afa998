/**
 * Which proxy of the environment an address is asked through: HTTPS_PROXY, HTTP_PROXY and NO_PROXY (or in small letters), read
 * as Go's net/http reads them, because docker, podman and containerd do. This machine itself is never asked through one.
 */
import { isIPv4, isIPv6 } from "node:net";
import { fail } from "../core/error.ts";
import { isLoopback } from "./sources.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Undefined: straight to the host. Errors: invalid-argument for a proxy that cannot be used; its password is not shown. */
export function proxyFor(url: URL, env: Environment = process.env): URL | undefined {
  const name = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  // Set by a web server for a CGI program, HTTP_PROXY is a header that some client sent (CVE-2016-5385).
  if (name === "HTTP_PROXY" && env["REQUEST_METHOD"] !== undefined && !env["http_proxy"]) return undefined;
  const text = variable(env, name);
  if (text === "" || isLoopback(url.host)) return undefined;
  if (isExcepted(url, variable(env, "NO_PROXY"))) return undefined;
  return parseProxy(name, text);
}

function variable(env: Environment, name: string): string {
  return (env[name] || env[name.toLowerCase()] || "").trim();
}

function parseProxy(name: string, text: string): URL {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (url !== undefined && (url.protocol === "http:" || url.protocol === "https:") && url.hostname !== "") {
    return url;
  }
  const scheme = url?.protocol.replace(/:$/, "");
  const what =
    scheme === undefined ? "is not the address of a proxy" : `names a ${scheme} proxy, which cannot be used`;
  throw fail("invalid-argument", `the environment variable ${name} ${what}`, {
    reason: "proxy",
    hint: "write it as http://HOST:PORT or https://HOST:PORT",
  });
}

interface Target {
  host: string;
  port: string;
}

/** `NO_PROXY`: "*", addresses, CIDR blocks, "example.com" (and what is below it), ".example.com" or "*.example.com" (only what is below it), each with an optional port. */
function isExcepted(url: URL, list: string): boolean {
  const host = url.hostname
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();
  const target = { host, port: url.port || (url.protocol === "https:" ? "443" : "80") };
  return list.split(",").some((entry) => matches(entry.trim().toLowerCase(), target));
}

function matches(entry: string, target: Target): boolean {
  if (entry === "") return false;
  if (entry === "*") return true;
  if (entry.includes("/")) return inBlock(target.host, entry);
  const { host, port } = splitPort(entry);
  if (port !== undefined && port !== target.port) return false;
  if (isAddress(host)) return sameAddress(host, target.host);
  const suffix = host.replace(/^\*(?=\.)/, "");
  if (suffix.startsWith(".")) return target.host.endsWith(suffix);
  return target.host === suffix || target.host.endsWith(`.${suffix}`);
}

function splitPort(entry: string): { host: string; port: string | undefined } {
  if (isIPv6(entry)) return { host: entry, port: undefined };
  const [, host = entry, port] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
  return { host: host.replace(/^\[|\]$/g, ""), port };
}

function isAddress(text: string): boolean {
  return isIPv4(text) || isIPv6(text);
}

function sameAddress(one: string, other: string): boolean {
  return isAddress(other) && isIPv4(one) === isIPv4(other) && bitsOf(one) === bitsOf(other);
}

function inBlock(host: string, block: string): boolean {
  const [base = "", length = ""] = block.split("/");
  if (!isAddress(base) || !isAddress(host) || isIPv4(base) !== isIPv4(host)) return false;
  if (!/^\d{1,3}$/.test(length) || Number(length) > (isIPv4(base) ? 32 : 128)) return false;
  return bitsOf(base).slice(0, Number(length)) === bitsOf(host).slice(0, Number(length));
}

/** An address as its 32 or 128 binary digits. */
function bitsOf(address: string): string {
  if (isIPv4(address)) return binary(address.split("."), 10, 8);
  // URL writes an IPv6 address in its one shortest form, with an embedded IPv4 address as two groups.
  const plain = new URL(`http://[${address.replace(/%.*$/, "")}]/`).hostname.slice(1, -1);
  const [head = "", tail] = plain.split("::");
  const groups = (part: string | undefined): string[] =>
    part === undefined || part === "" ? [] : part.split(":");
  const [front, back] = [groups(head), groups(tail)];
  return binary([...front, ...Array<string>(8 - front.length - back.length).fill("0"), ...back], 16, 16);
}

function binary(parts: string[], radix: number, width: number): string {
  return parts.map((part) => Number.parseInt(part, radix).toString(2).padStart(width, "0")).join("");
}
