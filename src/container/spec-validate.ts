/**
 * Checks of a request before anything is made of it: each value on its own, and what does not go together. buildSpec checks
 * again what it uses; here the user hears of it before an image is pulled or a name is taken.
 */
import { isIP } from "node:net";
import { fail } from "../core/error.ts";
import { boundingSet, CAPABILITY_NAMES } from "./capabilities.ts";
import type { ContainerSpec } from "./container.ts";
import { parseDevice } from "./devices.ts";
import { checkMounts } from "./mounts.ts";
import { checkUlimit, requestedDirectory } from "./process.ts";
import { checkResources } from "./resources-check.ts";
import { namespaceModes, type NamespaceModes, sysctlsOf } from "./spec-namespaces.ts";
import { parseSecurityOptions } from "./spec-security.ts";
import { checkHostname, checkLine, checkNul, quote } from "./spec-text.ts";

/** Returns warnings for the user. Errors: invalid-argument; everything is checked without looking at the host. */
export function validateSpec(spec: ContainerSpec): string[] {
  checkResources(spec.resources);
  for (const limit of spec.ulimits) checkUlimit(limit);
  boundingSet({
    add: spec.capAdd,
    drop: spec.capDrop,
    privileged: spec.privileged,
    available: CAPABILITY_NAMES,
  });
  parseSecurityOptions(spec.securityOpt, spec.privileged);
  for (const device of spec.devices) parseDevice(device);
  checkMounts(spec.mounts, spec.tmpfs);
  checkTexts(spec);
  checkNumbers(spec);
  checkLife(spec);
  const modes = namespaceModes(spec, "v2");
  sysctlsOf(spec, modes, false);
  checkNamespaces(spec, modes);
  return networkWarnings(spec);
}

function checkTexts(spec: ContainerSpec): void {
  if (spec.hostname) checkHostname("host name", spec.hostname);
  if (spec.domainname) checkHostname("domain name", spec.domainname);
  if (spec.workdir) requestedDirectory(spec.workdir);
  if (spec.user) checkLine("user", spec.user);
  if (spec.stopSignal && !/^[A-Za-z0-9+-]{1,20}$/.test(spec.stopSignal)) {
    throw fail("invalid-argument", `invalid stop signal ${quote(spec.stopSignal)}`);
  }
  for (const entry of spec.env) {
    checkNul("environment variable", entry);
    if (entry === "" || entry.startsWith("=")) {
      throw fail("invalid-argument", `environment variable ${quote(entry)} has no name`);
    }
  }
  for (const name of [...Object.keys(spec.labels), ...Object.keys(spec.annotations)]) {
    if (checkLine("label", name) === "")
      throw fail("invalid-argument", "a label or annotation has an empty name");
  }
  checkNames(spec);
  checkCgroupParent(spec.cgroupParent);
}

/** What ends up in /etc/hosts and /etc/resolv.conf. */
function checkNames(spec: ContainerSpec): void {
  for (const entry of spec.addHosts) {
    const colon = checkLine("host entry", entry).indexOf(":");
    const address = entry.slice(colon + 1).replace(/^\[(.*)\]$/, "$1");
    if (colon < 1 || (address !== "host-gateway" && isIP(address) === 0)) {
      throw fail("invalid-argument", `invalid host entry ${quote(entry)}`, { hint: "use NAME:ADDRESS" });
    }
    // "a;b:10.0.0.1" is Podman's way to give one address several names.
    for (const name of entry.slice(0, colon).split(";")) checkHostname("host name", name);
  }
  for (const server of spec.dns) {
    if (isIP(server) === 0 && server !== "none") {
      throw fail("invalid-argument", `DNS server ${quote(server)} is not an IP address`);
    }
  }
  for (const text of [...spec.dnsSearch, ...spec.dnsOptions]) {
    if (/\s/.test(checkLine("DNS option", text)) || text === "") {
      throw fail("invalid-argument", `invalid DNS search domain or option ${quote(text)}`);
    }
  }
}

function checkCgroupParent(parent: string | undefined): void {
  if (parent === undefined || parent === "") return;
  const parts = checkLine("cgroup parent", parent).split("/");
  if (parts.includes("..")) throw fail("invalid-argument", `cgroup parent ${quote(parent)} leads upwards`);
}

function checkNumbers(spec: ContainerSpec): void {
  checkWhole("shm size", spec.shmSize, [0, Number.MAX_SAFE_INTEGER]);
  checkWhole("stop timeout", spec.stopTimeout, [-1, 2 ** 31]);
  checkWhole("timeout", spec.timeoutSeconds, [0, 2 ** 31]);
  checkWhole("umask", spec.umask, [0, 0o777]);
  checkWhole("oom score adjustment", spec.oomScoreAdj ?? spec.resources.oomScoreAdj, [-1000, 1000]);
  checkWhole("restart count", spec.restart.max, [0, 2 ** 31]);
}

function checkWhole(name: string, value: number | undefined, [min, max]: readonly [number, number]): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= min && value <= max)) return;
  throw fail("invalid-argument", `invalid ${name} ${value}`, {
    hint: max === Number.MAX_SAFE_INTEGER ? `use at least ${min}` : `use ${min} to ${max}`,
  });
}

function checkLife(spec: ContainerSpec): void {
  const { policy, max } = spec.restart;
  if (spec.autoRemove && policy !== "no") throw conflict("--rm", `--restart ${policy}`);
  if (max > 0 && policy !== "on-failure") {
    throw fail("invalid-argument", `a restart count cannot be used with restart policy "${policy}"`, {
      hint: "use --restart on-failure:N",
    });
  }
  if (spec.terminal && spec.logDriver === "passthrough") throw conflict("--tty", "--log-driver passthrough");
}

function checkNamespaces(spec: ContainerSpec, modes: NamespaceModes): void {
  if (spec.init && modes.pid.kind !== "private") {
    throw conflict(
      "--init",
      `--pid ${spec.pid}`,
      "the init process must be number 1 of its own PID namespace",
    );
  }
  if (modes.uts.kind !== "private") {
    if (spec.hostname) throw conflict("--hostname", `--uts ${spec.uts}`);
    if (spec.domainname) throw conflict("--domainname", `--uts ${spec.uts}`);
  }
  if (modes.network.kind !== "private" || spec.network === "none") {
    if (spec.ip) throw conflict("--ip", `--network ${spec.network}`);
    if (spec.mac) throw conflict("--mac-address", `--network ${spec.network}`);
  }
  if (modes.network.kind !== "joined") return;
  const owned: [string, boolean][] = [
    ["--publish", spec.ports.length > 0 || spec.publishAll],
    ["--expose", spec.expose.length > 0],
    ["--add-host", spec.addHosts.length > 0],
    ["--dns", spec.dns.length + spec.dnsSearch.length + spec.dnsOptions.length > 0],
  ];
  for (const [flag, used] of owned) {
    if (used)
      throw conflict(flag, `--network ${spec.network}`, "set it on the container that owns the network");
  }
}

function networkWarnings(spec: ContainerSpec): string[] {
  const unreachable = spec.network === "host" || spec.network === "none";
  if (!unreachable || (spec.ports.length === 0 && !spec.publishAll)) return [];
  return [`published ports have no effect with --network ${spec.network}`];
}

function conflict(one: string, other: string, hint?: string): Error {
  return fail("invalid-argument", `${one} cannot be used with ${other}`, {
    reason: "conflicting-options",
    ...(hint === undefined ? {} : { hint }),
  });
}
