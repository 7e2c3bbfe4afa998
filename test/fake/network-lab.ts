/**
 * A host of its own for tests of networks: a fresh network namespace for the calling thread, with an
 * uplink to another one that stands for the outside world. Nothing of it touches the machine's own
 * links, rules and sysctls, and all of it is gone after `close`.
 *
 *     outside  198.51.100.9 / fd00:db8::9  ── up0 198.51.100.1 / fd00:db8::1  host  ── bridge ── containers
 *
 * The outside has no route to containers: an answer that arrives proves address translation.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import type { NetworkDriver } from "../../src/network/network.ts";
import { type Ip, ipBytes, parseIp } from "../../src/network/address.ts";
import { createNetworkDriver } from "../../src/network/bridge.ts";
import { networkSchema } from "../../src/network/schema.ts";
import { CLONE_NEWNET, O_CLOEXEC, O_RDONLY } from "../../src/sys/const.ts";
import { Db } from "../../src/sys/db.ts";
import { linux } from "../../src/sys/linux.ts";
import { listLinks, openRoute } from "../../src/sys/netlink-route.ts";
import { findNft } from "../../src/sys/nft-command.ts";

export const OUTSIDE_V4 = "198.51.100.9";
export const OUTSIDE_V6 = "fd00:db8::9";
export const HOST_V4 = "198.51.100.1";
export const HOST_V6 = "fd00:db8::1";

export interface Server {
  port: number;
  stop(): void;
}

/** Undefined, or why these tests cannot run here. */
export function labUnavailable(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  return findNft() === undefined ? "needs the package nftables" : undefined;
}

export class NetworkLab {
  readonly dir = mkdtempSync(`${tmpdir()}/berth-network-`);
  readonly outside: string;
  readonly db: Db;
  readonly #home: number;
  readonly #servers: Server[] = [];

  constructor() {
    this.#home = linux.open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    linux.unshare(CLONE_NEWNET);
    this.outside = `${this.dir}/outside`;
    linux.createNetns(this.outside);
    this.run(`
      ip link set lo up
      ip link add up0 type veth peer name eth0 netns ${this.outside}
      ip addr add ${HOST_V4}/24 dev up0
      ip addr add ${HOST_V6}/64 dev up0 nodad
      ip link set up0 up`);
    this.run(
      `
      ip addr add ${OUTSIDE_V4}/24 dev eth0
      ip addr add ${OUTSIDE_V6}/64 dev eth0 nodad
      ip link set eth0 up`,
      this.outside,
    );
    this.db = Db.open(`${this.dir}/berth.db`, 1, networkSchema);
  }

  driver(db: Db = this.db): NetworkDriver {
    return createNetworkDriver({ db, sys: linux, netnsDir: `${this.dir}/netns`, root: this.dir });
  }

  /** Runs shell commands in the host or in a namespace and returns what they print. Throws when one fails. */
  run(script: string, netns?: string): string {
    const spawn = () =>
      Bun.spawnSync(["sh", "-euc", script], {
        env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
      });
    const result = netns === undefined ? spawn() : linux.inNetns(netns, spawn);
    if (!result.success) throw new Error(`${script}: ${result.stderr.toString()}`);
    return result.stdout.toString();
  }

  /** A TCP server that tells each client the address it comes from. */
  tcp(netns: string, port: number, hostname: string): Server {
    const listen = () =>
      Bun.listen({
        hostname,
        port,
        socket: { open: (s) => void s.end(`${port} ${s.remoteAddress}`), data: () => {} },
      });
    const server = linux.inNetns(netns, listen);
    const handle = { port, stop: () => server.stop(true) };
    this.#servers.push(handle);
    return handle;
  }

  /** The same over UDP. */
  async udp(netns: string, port: number, hostname: string): Promise<Server> {
    const socket = await linux.inNetns(netns, () =>
      Bun.udpSocket({
        hostname,
        port,
        socket: { data: (s, _data, from, address) => void s.send(`${port} ${address}`, from, address) },
      }),
    );
    const handle = { port, stop: () => socket.close() };
    this.#servers.push(handle);
    return handle;
  }

  /**
   * What a TCP server at this address says, or "refused" or "timeout". `netns` is where the client is; the host by
   * default. A process of its own, because only so a connection that gets no answer can be given up.
   */
  async ask(address: string, port: number, netns?: string): Promise<string> {
    const command = ["busybox", "nc", "-w", "1", address, String(port)];
    const spawn = () => Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    const client = netns === undefined ? spawn() : linux.inNetns(netns, spawn);
    const [answer, complaint] = await Promise.all([client.stdout.text(), client.stderr.text()]);
    await client.exited;
    if (answer !== "") return answer;
    return complaint.includes("refused") ? "refused" : "timeout";
  }

  async askUdp(address: string, port: number, netns?: string): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    const open = () =>
      Bun.udpSocket({
        hostname: address.includes(":") ? "::" : "0.0.0.0",
        socket: { data: (_s, data) => resolve(data.toString()), error: () => resolve("refused") },
      });
    const socket = await (netns === undefined ? open() : linux.inNetns(netns, open));
    socket.send("?", port, address);
    const timer = setTimeout(() => resolve("timeout"), 800);
    const answer = await promise;
    clearTimeout(timer);
    socket.close();
    return answer;
  }

  /**
   * Waits until the namespace listens to neighbours' questions for this IPv6 address: a kernel worker sees to it, and what is
   * asked before is lost for a second. A container's start takes longer than that; a test's first question does not.
   */
  async listens(netns: string, address: string): Promise<void> {
    const group = `ff0200000000000000000001ff${Buffer.from(ipBytes(parseIp(address) as Ip).slice(-3)).toString("hex")}`;
    const joined = () => readFileSync("/proc/thread-self/net/igmp6", "utf8").includes(group);
    for (let i = 0; i < 400 && !linux.inNetns(netns, joined); i++) await Bun.sleep(5);
  }

  stopServers(): void {
    for (const server of this.#servers.splice(0)) server.stop();
  }

  /** Everything the host's namespace and the store know of containers; empty when nothing is left. */
  leftovers(): string[] {
    using route = openRoute();
    const links = listLinks(route)
      .map((l) => l.name)
      .filter((name) => name.startsWith("bv"));
    const elements = /elements = \{[^}]*:[^}]*\}/g;
    const published = [...this.run("nft list ruleset").matchAll(elements)]
      .map((m) => m[0])
      .filter((e) => / : /.test(e));
    const pins = existsSync(`${this.dir}/netns`) ? readdirSync(`${this.dir}/netns`) : [];
    const rows = ["network_attachments", "network_ports"].flatMap((table) =>
      this.db.all(`SELECT * FROM ${table}`),
    );
    const leases = this.db.all("SELECT * FROM network_leases WHERE container <> ''");
    return [...links, ...published, ...pins, ...[...rows, ...leases].map((row) => JSON.stringify(row))];
  }

  /** Namespaces die asynchronously: waits until `leftovers` is empty, at most 5 s, and returns it. */
  async settled(): Promise<string[]> {
    for (let i = 0; i < 100 && this.leftovers().length > 0; i++) await Bun.sleep(50);
    return this.leftovers();
  }

  close(): void {
    this.stopServers();
    this.db.close();
    linux.setns(this.#home, CLONE_NEWNET);
    linux.close(this.#home);
    const netns = `${this.dir}/netns`;
    for (const pin of existsSync(netns) ? readdirSync(netns) : []) linux.removeNetns(`${netns}/${pin}`);
    linux.removeNetns(this.outside);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
