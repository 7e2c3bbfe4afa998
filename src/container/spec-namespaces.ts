/** Namespace modes ("", "private", "host", "container:NAME", "ns:PATH"), and the sysctls that belong to each namespace. */
import { fail } from "../core/error.ts";
import type { ContainerSpec } from "./container.ts";
import type { HostFacts, SpecInput } from "./spec-input.ts";
import type { OciNamespace } from "./spec-oci.ts";
import { absolutePath, checkHostname, checkLine, quote } from "./spec-text.ts";

export type NamespaceMode = { kind: "private" } | { kind: "host" } | { kind: "joined"; path?: string };

type Flag = "pid" | "ipc" | "uts" | "cgroupns" | "network";

/** Errors: invalid-argument for an unknown mode. */
function namespaceMode(flag: Flag, value: string): NamespaceMode {
  if (value === "" || value === "private") return { kind: "private" };
  if (flag === "ipc" && (value === "shareable" || value === "none")) return { kind: "private" };
  if (value === "host") return { kind: "host" };
  if (value.startsWith("container:") && value.length > "container:".length) return { kind: "joined" };
  if (value.startsWith("ns:"))
    return { kind: "joined", path: absolutePath("namespace path", value.slice(3)) };
  if (flag === "network") return { kind: "private" };
  throw fail("invalid-argument", `invalid --${flag} mode ${quote(value)}`, {
    hint: "use private, host, container:NAME or ns:PATH",
  });
}

export interface NamespaceModes {
  pid: NamespaceMode;
  ipc: NamespaceMode;
  uts: NamespaceMode;
  cgroup: NamespaceMode;
  network: NamespaceMode;
}

export interface Namespaces extends NamespaceModes {
  list: OciNamespace[];
}

/** Errors: invalid-argument for an unknown mode. */
export function namespaceModes(spec: ContainerSpec, cgroupMode: HostFacts["cgroup"]["mode"]): NamespaceModes {
  return {
    pid: namespaceMode("pid", spec.pid),
    ipc: namespaceMode("ipc", spec.ipc),
    uts: namespaceMode("uts", spec.uts),
    cgroup: cgroupNamespaceMode(spec, cgroupMode),
    network: namespaceMode("network", spec.network),
  };
}

export function namespacesOf(input: SpecInput): Namespaces {
  const { joined } = input;
  const modes = namespaceModes(input.spec, input.host.cgroup.mode);
  const list: OciNamespace[] = [
    { type: "mount" },
    ...entry("pid", modes.pid, joined.pid),
    ...entry("ipc", modes.ipc, joined.ipc),
    ...entry("uts", modes.uts, joined.uts),
    ...entry("cgroup", modes.cgroup, joined.cgroup),
    ...networkEntry(modes.network, input.netnsPath),
  ];
  return { list, ...modes };
}

/** A private cgroup namespace shows a sensible tree only on v2; on v1 the host's is kept, as Podman does. */
function cgroupNamespaceMode(spec: ContainerSpec, hierarchy: HostFacts["cgroup"]["mode"]): NamespaceMode {
  if (spec.cgroupns !== "") return namespaceMode("cgroupns", spec.cgroupns);
  return { kind: hierarchy === "v2" ? "private" : "host" };
}

function entry(type: OciNamespace["type"], mode: NamespaceMode, joined: string | undefined): OciNamespace[] {
  if (mode.kind === "host") return [];
  if (mode.kind === "private") return [{ type }];
  const path = mode.path ?? joined;
  if (path === undefined) throw fail("internal", `no path of the ${type} namespace to join`);
  return [{ type, path }];
}

function networkEntry(mode: NamespaceMode, netnsPath: string | undefined): OciNamespace[] {
  if (mode.kind === "host") return [];
  const path = mode.kind === "joined" ? (mode.path ?? netnsPath) : netnsPath;
  if (mode.kind === "joined" && path === undefined)
    throw fail("internal", "no path of the network namespace to join");
  return [path === undefined ? { type: "network" } : { type: "network", path }];
}

/** Name inside the container: the request's, the host's with the host's network, else the first 12 digits of the id. */
export function hostnameOf(spec: ContainerSpec, id: string, hostHostname: string): string {
  if (spec.hostname !== undefined && spec.hostname !== "") return checkHostname("host name", spec.hostname);
  const shared =
    namespaceMode("uts", spec.uts).kind === "host" || namespaceMode("network", spec.network).kind === "host";
  return shared ? hostHostname : id.slice(0, 12);
}

const IPC_SYSCTLS: ReadonlySet<string> = new Set([
  "kernel.msgmax",
  "kernel.msgmnb",
  "kernel.msgmni",
  "kernel.sem",
  "kernel.shmall",
  "kernel.shmmax",
  "kernel.shmmni",
  "kernel.shm_rmid_forced",
]);

/** Only what a namespace of the container owns may be set; anything else would change the host (runtime-spec, runc). */
export function sysctlsOf(
  spec: ContainerSpec,
  modes: NamespaceModes,
  rootless: boolean,
): Record<string, string> {
  const sysctls: Record<string, string> = {};
  if (modes.network.kind === "private") {
    sysctls["net.ipv4.ping_group_range"] = rootless ? "0 0" : "0 2147483647";
    sysctls["net.ipv4.ip_unprivileged_port_start"] = "0";
  }
  const domain = spec.domainname;
  if (domain !== undefined && domain !== "") {
    // Older runtimes have no `domainname` field; the sysctl of the UTS namespace does the same in all of them.
    sysctls["kernel.domainname"] = checkHostname("domain name", domain);
  }
  for (const [name, value] of Object.entries(spec.sysctls)) {
    const key = sysctlName(name);
    checkSysctl(key, modes);
    sysctls[key] = checkLine(`value of sysctl ${quote(key)}`, value);
  }
  return sysctls;
}

/** "net/ipv4/ip_forward" is the kernel's other spelling. */
function sysctlName(name: string): string {
  const key = name.includes("/") && !name.split("/")[0]?.includes(".") ? name.replaceAll("/", ".") : name;
  if (!/^[a-z0-9_]+(\.[A-Za-z0-9_@/-]+)+$/.test(key) || key.includes("..")) {
    throw fail("invalid-argument", `invalid sysctl ${quote(name)}`);
  }
  return key;
}

function checkSysctl(key: string, modes: NamespaceModes): void {
  if (IPC_SYSCTLS.has(key) || key.startsWith("fs.mqueue.")) return checkOwned(key, "ipc", modes.ipc);
  if (key.startsWith("net.")) return checkOwned(key, "network", modes.network);
  if (key === "kernel.domainname") return checkOwned(key, "uts", modes.uts);
  throw fail("invalid-argument", `sysctl ${quote(key)} is not of a namespace: it would change the host`, {
    hint:
      key === "kernel.hostname"
        ? "use --hostname"
        : "allowed: net.*, fs.mqueue.*, kernel.{msg*,sem,shm*,domainname}",
  });
}

function checkOwned(key: string, flag: string, mode: NamespaceMode): void {
  if (mode.kind !== "host") return;
  throw fail(
    "invalid-argument",
    `sysctl ${quote(key)} would change the host: the container uses the host's ${flag} namespace`,
  );
}
