/** The bridge driver against a real kernel, on a host that is a network namespace of its own. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import {
  HOST_V4,
  HOST_V6,
  labUnavailable,
  NetworkLab,
  OUTSIDE_V4,
  OUTSIDE_V6,
} from "../../test/fake/network-lab.ts";
import { createCtx } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import { newId } from "../core/id.ts";
import { Db } from "../sys/db.ts";
import { linux } from "../sys/linux.ts";
import { filtersBridges } from "../sys/net-sysctl.ts";
import { createNetworkDriver } from "./bridge.ts";
import type { AttachRequest, Attachment, NetworkDriver } from "./network.ts";
import { parsePorts } from "./ports.ts";
import { networkSchema } from "./schema.ts";

const unavailable = labUnavailable();
if (unavailable !== undefined) console.warn(`skip: bridge networks: ${unavailable}`);

interface Box {
  id: string;
  netns: string;
  attachment: Attachment;
  v4: string;
  v6: string;
}

describe.skipIf(unavailable !== undefined)("bridge", () => {
  const ctx = createCtx();
  let lab: NetworkLab;
  let driver: NetworkDriver;
  const boxes: string[] = [];

  beforeAll(() => {
    lab = new NetworkLab();
    driver = lab.driver();
  });

  afterEach(async () => {
    lab.stopServers();
    for (const id of boxes.splice(0)) {
      driver.detach(ctx, id);
      driver.removeNetns(id);
    }
    expect(await lab.settled()).toEqual([]);
  });

  afterAll(() => {
    driver.destroy(ctx, "bridge");
    expect(lab.run("nft list ruleset")).toBe("");
    expect(lab.run("ip -br link")).not.toContain("berth");
    lab.close();
  });

  function box(ports: string[] = [], extra: Partial<AttachRequest> = {}): Box {
    const id = newId();
    boxes.push(id);
    const netns = driver.createNetns(id);
    const request = {
      containerId: id,
      containerName: `box-${id.slice(0, 6)}`,
      netnsPath: netns,
      network: "bridge",
    };
    const attachment = driver.attach(ctx, { ...request, ports: parsePorts(ports), ...extra });
    const [v4, v6] = attachment.addresses.map((a) => a.address) as [string, string];
    return { id, netns, attachment, v4, v6 };
  }

  test("containers reach each other over both families at once", async () => {
    const [a, b] = [box(), box()];
    await lab.listens(b.netns, b.v6);
    lab.tcp(b.netns, 80, "0.0.0.0");
    lab.tcp(b.netns, 81, "::");
    expect(await lab.ask(b.v4, 80, a.netns)).toBe(`80 ${a.v4}`);
    expect(await lab.ask(b.v6, 81, a.netns)).toBe(`81 ${a.v6}`);
  });

  test("the host reaches a container by its address", async () => {
    const a = box();
    lab.tcp(a.netns, 80, "0.0.0.0");
    const gateway = a.attachment.addresses[0]?.gateway;
    expect(await lab.ask(a.v4, 80)).toBe(`80 ${gateway}`);
  });

  test("a published port answers on the host's addresses and to the outside, which keeps its address", async () => {
    const a = box(["8080:80"]);
    await lab.listens(a.netns, a.v6);
    lab.tcp(a.netns, 80, "::");
    const gateway = a.attachment.addresses[0]?.gateway;
    expect(await lab.ask("127.0.0.1", 8080)).toBe(`80 ::ffff:${gateway}`);
    expect(await lab.ask("127.7.7.7", 8080)).toBe(`80 ::ffff:${gateway}`);
    expect(await lab.ask(HOST_V4, 8080)).toBe(`80 ::ffff:${HOST_V4}`);
    expect(await lab.ask(HOST_V6, 8080)).toBe(`80 ${HOST_V6}`);
    expect(await lab.ask(HOST_V4, 8080, lab.outside)).toBe(`80 ::ffff:${OUTSIDE_V4}`);
    expect(await lab.ask(HOST_V6, 8080, lab.outside)).toBe(`80 ${OUTSIDE_V6}`);
    // ::1 cannot be translated by the kernel: refused at once, so that clients go on to 127.0.0.1.
    expect(await lab.ask("::1", 8080)).toBe("refused");
  });

  test("UDP and ranges are published", async () => {
    const a = box(["5300-5302:53-55/udp", "127.0.0.1:6000:60/udp"]);
    await lab.udp(a.netns, 54, "0.0.0.0");
    await lab.udp(a.netns, 60, "0.0.0.0");
    expect(await lab.askUdp("127.0.0.1", 5301)).toBe(`54 ${a.attachment.addresses[0]?.gateway}`);
    expect(await lab.askUdp(HOST_V4, 5301, lab.outside)).toBe(`54 ${OUTSIDE_V4}`);
    expect(await lab.askUdp("127.0.0.1", 6000)).toBe(`60 ${a.attachment.addresses[0]?.gateway}`);
    expect(await lab.askUdp(HOST_V4, 6000, lab.outside)).toBe("refused");
  });

  test("a UDP client that never stops sending follows the port", async () => {
    const heard: string[] = [];
    const data = (_socket: unknown, bytes: Buffer) => void heard.push(bytes.toString());
    const client = await linux.inNetns(lab.outside, () =>
      Bun.udpSocket({ hostname: "0.0.0.0", socket: { data, error: () => {} } }),
    );
    const send = async (): Promise<string | undefined> => {
      heard.length = 0;
      client.send("?", 5300, HOST_V4);
      for (let i = 0; i < 40 && heard.length === 0; i++) await Bun.sleep(5);
      return heard[0];
    };
    const host = await Bun.udpSocket({
      hostname: "0.0.0.0",
      port: 5300,
      socket: { data: (s, _d, port, address) => void s.send("host", port, address) },
    });
    expect(await send()).toBe("host");
    host.close();
    const a = box(["5300:53/udp"]);
    await lab.udp(a.netns, 53, "0.0.0.0");
    expect(await send()).toBe(`53 ${OUTSIDE_V4}`);
    driver.detach(ctx, a.id);
    const b = box(["5300:54/udp"]);
    await lab.udp(b.netns, 54, "0.0.0.0");
    expect(await send()).toBe(`54 ${OUTSIDE_V4}`);
    client.close();
  });

  test("a port published on one host address is closed on the others", async () => {
    const a = box(["127.0.0.1:8081:80", `${HOST_V4}:8082:80`]);
    lab.tcp(a.netns, 80, "0.0.0.0");
    expect(await lab.ask("127.0.0.1", 8081)).toStartWith("80 ");
    expect(await lab.ask(HOST_V4, 8081)).toBe("refused");
    expect(await lab.ask(HOST_V4, 8081, lab.outside)).toBe("refused");
    expect(await lab.ask(HOST_V4, 8082, lab.outside)).toBe(`80 ${OUTSIDE_V4}`);
    expect(await lab.ask("127.0.0.1", 8082)).toBe("refused");
  });

  test("a container reaches itself and its neighbours through the host's address (hairpin)", async () => {
    const [a, b] = [box(["8080:80"]), box()];
    await lab.listens(a.netns, a.v6);
    lab.tcp(a.netns, 80, "::");
    expect(await lab.ask(HOST_V4, 8080, a.netns)).toStartWith("80 ");
    expect(await lab.ask(HOST_V4, 8080, b.netns)).toStartWith("80 ");
    expect(await lab.ask(HOST_V6, 8080, a.netns)).toStartWith("80 ");
    expect(await lab.ask(HOST_V6, 8080, b.netns)).toStartWith("80 ");
  });

  test("hairpin where the kernel does not show bridged frames to the IP rules", async () => {
    if (!filtersBridges()) return;
    const key = "net.bridge.bridge-nf-call";
    const set = (value: number) => lab.run(`sysctl -qw ${key}-iptables=${value} ${key}-ip6tables=${value}`);
    set(0);
    const [a, b] = [box(["8080:80"]), box()];
    await lab.listens(a.netns, a.v6);
    lab.tcp(a.netns, 80, "::");
    for (const client of [a, b]) {
      expect(await lab.ask(HOST_V4, 8080, client.netns)).toStartWith("80 ");
      expect(await lab.ask(HOST_V6, 8080, client.netns)).toStartWith("80 ");
    }
    set(1);
  });

  test("containers go out under the host's address", async () => {
    const a = box();
    lab.tcp(lab.outside, 80, "0.0.0.0");
    lab.tcp(lab.outside, 81, "::");
    expect(await lab.ask(OUTSIDE_V4, 80, a.netns)).toBe(`80 ${HOST_V4}`);
    expect(await lab.ask(OUTSIDE_V6, 81, a.netns)).toBe(`81 ${HOST_V6}`);
  });

  test("what is not published cannot be reached from outside, even with a route", async () => {
    const a = box(["8080:80"]);
    lab.tcp(a.netns, 80, "0.0.0.0");
    lab.tcp(a.netns, 99, "0.0.0.0");
    lab.run(`ip route add ${a.v4}/32 via ${HOST_V4}`, lab.outside);
    expect(await lab.ask(a.v4, 99, lab.outside)).toBe("timeout");
    expect(await lab.ask(HOST_V4, 8080, lab.outside)).toBe(`80 ${OUTSIDE_V4}`);
    lab.run(`ip route del ${a.v4}/32`, lab.outside);
  });

  test("neither containers nor neighbours reach the host's loopback", async () => {
    const a = box(["127.0.0.1:8081:80"]);
    const table = driver.inspect("bridge").bridge;
    lab.tcp(a.netns, 80, "0.0.0.0");
    const secret = { open: (s: { end(text: string): void }) => s.end("host"), data: () => {} };
    const host = Bun.listen({ hostname: "127.0.0.1", port: 9999, socket: secret });
    // Clients that treat 127.0.0.1 as an address behind their gateway.
    const aim = (netns: string, gateway: string) =>
      lab.run(
        `sysctl -qw net.ipv4.conf.all.route_localnet=1
        ip addr del 127.0.0.1/8 dev lo
        ip route add 127.0.0.1/32 via ${gateway} dev eth0`,
        netns,
      );
    aim(a.netns, a.attachment.addresses[0]?.gateway as string);
    aim(lab.outside, HOST_V4);
    const tries = () =>
      Promise.all([
        lab.ask("127.0.0.1", 9999, a.netns),
        lab.ask("127.0.0.1", 9999, lab.outside),
        lab.ask("127.0.0.1", 8081, lab.outside),
      ]);
    expect(await tries()).toEqual(["timeout", "timeout", "timeout"]);
    // The same without the rules that prevent it, so that this test proves something.
    lab.run(`nft flush chain inet ${table} raw
      nft flush chain inet ${table} prerouting
      nft add rule inet ${table} prerouting fib daddr type local jump publish`);
    expect(await tries()).toEqual(["host", "timeout", `80 ${OUTSIDE_V4}`]);
    lab.run("ip route del 127.0.0.1/32; ip addr add 127.0.0.1/8 dev lo", lab.outside);
    host.stop(true);
    driver.reload(ctx);
  });

  test("a taken port is refused before anything is made, with the name of who has it", async () => {
    const a = box(["8080:80", "7000-7010:70-80"]);
    const name = `box-${a.id.slice(0, 6)}`;
    const before = lab.leftovers();
    for (const spec of [
      "8080:81",
      "127.0.0.1:8080:80",
      "7005:1",
      "6990-7000:90-100",
      "[::]:8080:80",
      "0.0.0.0:8080:1",
    ]) {
      const error = refusal([spec]);
      expect(isKind(error, "in-use") && error.message).toContain(name);
    }
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 8090, socket: { data: () => {} } });
    const error = refusal(["8090:80"]);
    expect(isKind(error, "in-use") && error.message).toContain("another program");
    expect(isKind(refusal(["203.0.113.5:8091:80"]), "invalid-argument")).toBe(true);
    expect(isKind(refusal(["[::1]:8092:80"]), "unimplemented")).toBe(true);
    expect(isKind(refusal(["8093:80", "8093:81"]), "in-use")).toBe(true);
    listener.stop(true);
    expect(lab.leftovers().length).toBe(before.length);
    // Another protocol or address is another port.
    box(["8080:80/udp", `${HOST_V4}:8090:80`]);
  });

  function refusal(ports: string[], extra: Partial<AttachRequest> = {}): unknown {
    const id = newId();
    const netnsPath = driver.createNetns(id);
    try {
      const request = { containerId: id, containerName: "refused", netnsPath, network: "bridge" };
      driver.attach(ctx, { ...request, ports: parsePorts(ports), ...extra });
    } catch (error) {
      return error;
    } finally {
      driver.removeNetns(id);
    }
    throw new Error("it was not refused");
  }

  test("what a container that is gone still holds is given to the next", () => {
    const a = box(["8080:80"]);
    driver.removeNetns(a.id);
    expect(driver.leaseHolders()).toContain(a.id);
    const b = box(["8080:80"]);
    expect(driver.leaseHolders()).toEqual([b.id]);
    // A plain file, as a reboot leaves it of a pin on a disk.
    driver.removeNetns(b.id);
    writeFileSync(b.netns, "");
    const c = box(["8080:80"], { staticIp: b.v4 });
    expect(driver.leaseHolders()).toEqual([c.id]);
    expect(c.v4).toBe(b.v4);
  });

  test("free ports are found and told", async () => {
    const a = box(["80", "127.0.0.1::81", "8400-8402:82"]);
    const b = box(["8400-8402:82"]);
    expect(a.attachment.ports.slice(0, 2).every((p) => p.hostPort >= 32768)).toBe(true);
    expect(b.attachment.ports[0]?.hostPort).toBe((a.attachment.ports[2]?.hostPort ?? 0) + 1);
    lab.tcp(a.netns, 80, "0.0.0.0");
    expect(await lab.ask("127.0.0.1", a.attachment.ports[0]?.hostPort as number)).toStartWith("80 ");
  });

  test("static address, MAC, interface name and the names of the network", () => {
    const subnet = driver.inspect("podman").subnets[0]?.subnet as string;
    const ip = subnet.replace("0.0/16", "77.7");
    const a = box([], { staticIp: ip, mac: "02:11:22:33:44:55", interfaceName: "net0", network: "default" });
    expect(a.v4).toBe(ip);
    expect(lab.run("ip -br link show net0", a.netns)).toContain("02:11:22:33:44:55");
    expect(isKind(refusal([], { staticIp: ip }), "in-use")).toBe(true);
    expect(isKind(refusal([], { staticIp: "192.0.2.1" }), "invalid-argument")).toBe(true);
    expect(isKind(refusal([], { staticIp: subnet.replace("0.0/16", "0.1") }), "in-use")).toBe(true);
    expect(isKind(refusal([], { mac: "01:00:00:00:00:00" }), "invalid-argument")).toBe(true);
    expect(isKind(refusal([], { interfaceName: "../../x" }), "invalid-argument")).toBe(true);
    expect(isKind(refusal([], { network: "nowhere" }), "not-found")).toBe(true);
  });

  test("a firewall flush is mended by the next attach and by reload", async () => {
    const a = box(["8080:80"]);
    lab.tcp(a.netns, 80, "0.0.0.0");
    lab.run("nft flush ruleset");
    expect(await lab.ask("127.0.0.1", 8080)).toBe("refused");
    driver.reload(ctx);
    expect(await lab.ask("127.0.0.1", 8080)).toStartWith("80 ");
    lab.run("nft flush ruleset");
    box(["8081:80"]);
    expect(await lab.ask("127.0.0.1", 8080)).toStartWith("80 ");
    // The bridge itself, as after somebody's `ip link del`.
    lab.run(`ip link del ${driver.inspect("bridge").bridge}`);
    driver.reload(ctx);
    expect(await lab.ask("127.0.0.1", 8080)).toStartWith("80 ");
  });

  test("detach is idempotent, and a container can come back at once", async () => {
    const a = box(["8080:80"]);
    for (let i = 0; i < 5; i++) {
      driver.detach(ctx, a.id);
      driver.detach(ctx, a.id);
      driver.removeNetns(a.id);
      driver.removeNetns(a.id);
      const netnsPath = driver.createNetns(a.id);
      driver.attach(ctx, {
        containerId: a.id,
        containerName: "again",
        netnsPath,
        network: "bridge",
        ports: parsePorts(["8080:80"]),
      });
      const server = lab.tcp(netnsPath, 80, "0.0.0.0");
      expect(await lab.ask("127.0.0.1", 8080)).toStartWith("80 ");
      server.stop();
    }
  });

  /** A process that attaches one container to the lab's default network. */
  function attachScript(id: string, ports: string[]): string {
    return `
      import { createCtx } from "${import.meta.dir}/../core/ctx.ts";
      import { createNetworkDriver } from "${import.meta.dir}/bridge.ts";
      import { networkSchema } from "${import.meta.dir}/schema.ts";
      import { parsePorts } from "${import.meta.dir}/ports.ts";
      import { Db } from "${import.meta.dir}/../sys/db.ts";
      import { linux } from "${import.meta.dir}/../sys/linux.ts";
      const dir = "${lab.dir}";
      const db = Db.open(dir + "/berth.db", 1, networkSchema);
      const driver = createNetworkDriver({ db, sys: linux, netnsDir: dir + "/netns", root: dir });
      const request = { containerId: "${id}", containerName: "x", netnsPath: driver.createNetns("${id}"), network: "bridge" };
      const { ports } = driver.attach(createCtx(), { ...request, ports: parsePorts(${JSON.stringify(ports)}) });
      console.log(JSON.stringify(ports.map((p) => p.hostPort)));`;
  }

  test("many processes make bridge, table and containers at once", async () => {
    driver.destroy(ctx, "bridge");
    const ids = Array.from({ length: 16 }, () => newId());
    boxes.push(...ids);
    const processes = ids.map((id) =>
      Bun.spawn([process.execPath, "-e", attachScript(id, ["20000-20100:80"])], {
        stdout: "pipe",
        stderr: "inherit",
      }),
    );
    const ports = (await Promise.all(processes.map((p) => p.stdout.json() as Promise<[number]>))).flat();
    expect(new Set(ports).size).toBe(16);
    for (const [index, id] of ids.entries()) {
      lab.tcp(`${lab.dir}/netns/${id}`, 80, "0.0.0.0");
      expect(await lab.ask("127.0.0.1", ports[index] as number)).toStartWith("80 ");
    }
  }, 30_000);

  test("a failure at any step leaves nothing", async () => {
    const id = "f".repeat(64);
    expect(isKind(refusal(["8080:80"], { netnsPath: `${lab.dir}/nowhere` }), "not-found")).toBe(true);
    expect(await lab.settled()).toEqual([]);
    for (const step of ["rows", "veth", "configure", "publish"]) {
      for (const action of ["error", "exit"]) {
        const env = { ...process.env, BERTH_FAILPOINTS: `network.attach.${step}=${action}` };
        const run = Bun.spawnSync([process.execPath, "-e", attachScript(id, ["8080:80"])], {
          env,
          stderr: "pipe",
        });
        expect(run.success).toBe(false);
        if (action === "error") expect(run.stderr.toString()).toContain("failpoint");
        expect(driver.leaseHolders()).toEqual(action === "exit" ? [id] : []);
        driver.detach(ctx, id);
        driver.removeNetns(id);
        expect(await lab.settled()).toEqual([]);
      }
    }
  }, 30_000);

  test("a bridge that was left half-made is finished by the next attach", async () => {
    driver.destroy(ctx, "bridge");
    const env = { ...process.env, BERTH_FAILPOINTS: "network.bridge.made=exit" };
    const id = newId();
    boxes.push(id);
    const run = Bun.spawnSync([process.execPath, "-e", attachScript(id, [])], { env, stderr: "pipe" });
    expect(run.signalCode).toBe("SIGKILL");
    expect(lab.run(`ip -br addr show ${driver.inspect("bridge").bridge}`)).not.toContain("10.");
    const a = box();
    lab.tcp(a.netns, 80, "0.0.0.0");
    expect(await lab.ask(a.v4, 80)).toStartWith("80 ");
  });

  test("without nft only bridge networks fail, and say what to install", () => {
    lab.run("nft flush ruleset");
    const id = newId();
    const script = attachScript(id, []).replace("const dir", "Bun.which = () => null;\nconst dir");
    const run = Bun.spawnSync([process.execPath, "-e", script], { stderr: "pipe" });
    expect(run.stderr.toString()).toContain("nftables");
    expect(driver.leaseHolders()).toEqual([]);
    driver.removeNetns(id);
    driver.reload(ctx);
  });

  test("a network in use cannot be destroyed", () => {
    box();
    expect(() => driver.destroy(ctx, "bridge")).toThrow("is used by");
  });

  test("two stores on one host do not meet", async () => {
    const a = box(["8080:80"]);
    const root = `${lab.dir}/other`;
    using db = Db.open(`${lab.dir}/other.db`, 1, networkSchema);
    const other = createNetworkDriver({ db, sys: linux, netnsDir: `${lab.dir}/netns`, root });
    const [mine, its] = [driver.inspect("bridge"), other.inspect("bridge")];
    expect(its.bridge).not.toBe(mine.bridge);
    expect(its.subnets[0]?.subnet).not.toBe(mine.subnets[0]?.subnet);
    const netnsPath = other.createNetns("other");
    other.attach(ctx, { containerId: newId(), containerName: "b", netnsPath, network: "bridge", ports: [] });
    lab.tcp(a.netns, 80, "0.0.0.0");
    expect(await lab.ask(HOST_V4, 8080, netnsPath)).toStartWith("80 ");
    expect(await lab.ask(a.v4, 80, netnsPath)).toBe("timeout");
    for (const id of other.leaseHolders()) other.detach(ctx, id);
    other.removeNetns("other");
    other.destroy(ctx, "bridge");
    expect(await lab.ask("127.0.0.1", 8080)).toStartWith("80 ");
  });
});
