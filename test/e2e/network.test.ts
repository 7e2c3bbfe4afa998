/** Networks of containers: bridge, published ports, IPv6, joining, none and host. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { Box } from "./box.ts";

const IMAGE = "localhost/busybox";
let box: Box;

beforeAll(() => {
  box = new Box("net");
  box.importBusybox();
  box.ok(["run", "--rm", "-p", "127.0.0.1::80", IMAGE, "true"]);
});
afterAll(() => box.close());
beforeEach(() => box.mark());
afterEach(async () => {
  for (const id of box.ok(["ps", "-aq"]).split("\n").filter(Boolean)) box.ok(["rm", "-f", id]);
  expect(await box.leaks()).toEqual([]);
});

function serve(name: string, ...flags: string[]): void {
  box.ok(["run", "-d", "--name", name, ...flags, IMAGE, "httpd", "-f", "-p", "80", "-h", "/var/www"]);
}

/** The page, once the server inside listens. */
async function page(url: string): Promise<string> {
  for (let tries = 0; ; tries++) {
    try {
      return await (await fetch(url, { signal: AbortSignal.timeout(2000) })).text();
    } catch (error) {
      if (tries > 40) throw error;
      await Bun.sleep(50);
    }
  }
}

function portOf(name: string, inside = "80/tcp"): string {
  return box.ok([
    "inspect",
    "--format",
    `{{(index (index .NetworkSettings.Ports "${inside}") 0).HostPort}}`,
    name,
  ]);
}

test("a container has an address, a default route and names in /etc/hosts", () => {
  const text = box.ok([
    "run",
    "--rm",
    "--hostname",
    "berthed",
    IMAGE,
    "sh",
    "-c",
    "ip -4 addr show eth0; ip route; cat /etc/hosts; hostname",
  ]);
  expect(text).toMatch(/inet 10\.\d+\.\d+\.\d+\/\d+/);
  expect(text).toMatch(/default via 10\./);
  expect(text).toMatch(/10\.\d+\.\d+\.\d+\s+.*berthed/);
  expect(text).toEndWith("berthed");
});

test("a published port answers on loopback, on the host's own address and from another container", async () => {
  serve("web", "-p", "0:80");
  const port = portOf("web");
  expect(await page(`http://127.0.0.1:${port}/`)).toBe("hello from berth\n");
  const own = Object.values(networkInterfaces())
    .flat()
    .find((a) => a?.family === "IPv4" && !a.internal && !a.address.startsWith("10.87"));
  if (own !== undefined) expect(await page(`http://${own.address}:${port}/`)).toBe("hello from berth\n");
  const address = box.ok(["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "web"]);
  expect(box.ok(["run", "--rm", IMAGE, "wget", "-qO-", `http://${address}/`])).toBe("hello from berth");
  const gateway = box.ok(["inspect", "--format", "{{.NetworkSettings.Gateway}}", "web"]);
  expect(box.ok(["run", "--rm", IMAGE, "wget", "-qO-", `http://${gateway}:${port}/`])).toBe(
    "hello from berth",
  );
});

test("a container reaches its own published port (hairpin)", async () => {
  serve("self", "-p", "0:80");
  const port = portOf("self");
  await page(`http://127.0.0.1:${port}/`);
  const gateway = box.ok(["inspect", "--format", "{{.NetworkSettings.Gateway}}", "self"]);
  expect(box.ok(["exec", "self", "wget", "-qO-", `http://${gateway}:${port}/`])).toBe("hello from berth");
});

test("a host IP limits where a port is published, a range publishes each", async () => {
  serve("limited", "-p", "127.0.0.1::80");
  expect(await page(`http://127.0.0.1:${portOf("limited")}/`)).toBe("hello from berth\n");
  box.ok([
    "run",
    "-d",
    "--name",
    "range",
    "-p",
    "127.0.0.1:42080-42082:80-82",
    IMAGE,
    "sh",
    "-c",
    "httpd -p 80 -h /var/www; httpd -p 82 -h /var/www; sleep 100",
  ]);
  expect(await page("http://127.0.0.1:42080/")).toBe("hello from berth\n");
  expect(await page("http://127.0.0.1:42082/")).toBe("hello from berth\n");
  expect(box.ok(["port", "range", "81/tcp"])).toBe("127.0.0.1:42081");
});

test("UDP is published", async () => {
  box.ok(["run", "-d", "--name", "udp", "-p", "127.0.0.1:42053:53/udp", IMAGE, "sleep", "100"]);
  // Debian's busybox has no server for UDP: one of ours stands in the container's network.
  const netns = box.ok(["inspect", "--format", "{{.NetworkSettings.SandboxKey}}", "udp"]);
  const echo =
    "await Bun.udpSocket({ port: 53, socket: { data: (s, d, port, host) => void s.send(d, port, host) } })";
  const argv = ["nsenter", `--net=${netns}`, process.execPath, "-e", echo];
  const server = Bun.spawn(argv, { stdout: "inherit", stderr: "inherit" });
  const answer = Promise.withResolvers<string>();
  const client = await Bun.udpSocket({
    connect: { hostname: "127.0.0.1", port: 42053 },
    socket: { data: (_socket, data) => answer.resolve(data.toString()), error: () => {} },
  });
  const again = setInterval(() => client.send("ping"), 100);
  const late = setTimeout(() => answer.reject(new Error("no answer")), 5000);
  try {
    expect(await answer.promise).toBe("ping");
  } finally {
    clearInterval(again);
    clearTimeout(late);
    client.close();
    server.kill("SIGKILL");
    await server.exited;
  }
});

test("IPv6: an address inside, and the published port on it", async () => {
  serve("six", "-p", "0:80");
  const address = box.ok(["inspect", "--format", "{{.NetworkSettings.GlobalIPv6Address}}", "six"]);
  expect(address).toMatch(/^f[cd]/);
  expect(await page(`http://[${address}]/`)).toBe("hello from berth\n");
});

test("a taken port is an error before anything is made, and names its holder", async () => {
  serve("first", "-p", "127.0.0.1:42090:80");
  await page("http://127.0.0.1:42090/");
  const ours = box.berth(["run", "--rm", "--name", "second", "-p", "127.0.0.1:42090:80", IMAGE, "true"]);
  expect(ours.code).toBe(125);
  expect(ours.stderr).toContain("42090");
  expect(ours.stderr).toContain("first");
  using listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 42091,
    socket: { data() {} },
  }) as unknown as Disposable & { stop(): void };
  const foreign = box.berth(["run", "--rm", "-p", "127.0.0.1:42091:80", IMAGE, "true"]);
  expect(foreign.code).toBe(125);
  expect(foreign.stderr).toContain("42091");
  listener.stop();
  expect(box.ok(["ps", "-a", "--format", "{{.Names}}"])).toBe("first");
});

test("network none has a loopback only, host is the host's, container:NAME is another's", () => {
  expect(
    box.ok([
      "run",
      "--rm",
      "--network",
      "none",
      IMAGE,
      "sh",
      "-c",
      "ls /sys/class/net; ip addr show lo | grep -c 127.0.0.1",
    ]),
  ).toBe("lo\n1");
  const host = box.ok(["run", "--rm", "--network", "host", IMAGE, "readlink", "/proc/self/ns/net"]);
  expect(host).toBe(Bun.spawnSync(["readlink", "/proc/self/ns/net"]).stdout.toString().trim());
  box.ok(["run", "-d", "--name", "base", IMAGE, "sleep", "100"]);
  const address = box.ok(["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "base"]);
  expect(
    box.ok(["run", "--rm", "--network", "container:base", IMAGE, "ip", "-4", "addr", "show", "eth0"]),
  ).toContain(address);
  const missing = box.berth(["run", "--rm", "--network", "container:nobody", IMAGE, "true"]);
  expect(missing.code).toBe(125);
  expect(missing.stderr).toContain("nobody");
});

test("sixteen containers at once all get different addresses", async () => {
  const runs = Array.from({ length: 16 }, () =>
    box.spawn(["run", "--rm", IMAGE, "sh", "-c", "ip -4 -o addr show eth0; sleep 1"]),
  );
  const texts = await Promise.all(runs.map((child) => new Response(child.stdout).text()));
  expect(await Promise.all(runs.map((child) => child.exited))).toEqual(runs.map(() => 0));
  const addresses = texts.map((text) => /inet (\S+)/.exec(text)?.[1]);
  expect(new Set(addresses).size).toBe(16);
});
