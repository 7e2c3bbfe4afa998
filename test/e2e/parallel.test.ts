/** Many commands on one store at once: each ends soon with a defined result, and nothing is left. */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { Box } from "./box.ts";
import type { Census } from "./census.ts";
import { footprint, leftovers } from "./footprint.ts";

const IMAGE = "localhost/busybox";
const LONGEST_MS = 10_000;
let box: Box;
let clean: Census;

beforeAll(() => {
  box = new Box("parallel");
  box.importBusybox();
  box.ok(["run", "--rm", "-p", "127.0.0.1::80", IMAGE, "true"]);
  clean = footprint(box);
});
afterAll(() => box.close());
afterEach(async () => {
  box.ok(["rm", "-f", "-t", "0", "-a"]);
  expect(await leftovers(box, clean, 5000)).toEqual([]);
  expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
});

interface Ended {
  args: string[];
  code: number;
  stdout: string;
  stderr: string;
  ms: number;
}

async function berth(args: string[]): Promise<Ended> {
  const started = performance.now();
  const child = box.spawn(args);
  void child.stdin.end();
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const code = await child.exited;
  return { args, code, stdout, stderr, ms: performance.now() - started };
}

test("five times 32 containers at once", async () => {
  let slowest = 0;
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    const all = await Promise.all(
      Array.from({ length: 32 }, (_, i) => berth(["run", "--rm", IMAGE, "sh", "-c", `echo ${i}; exit ${i}`])),
    );
    for (const [i, ended] of all.entries()) {
      expect({ i, code: ended.code, stdout: ended.stdout, stderr: ended.stderr }).toEqual({
        i,
        code: i,
        stdout: `${i}\n`,
        stderr: "",
      });
      slowest = Math.max(slowest, ended.ms);
    }
    console.warn(`32 runs at once: ${Math.round(performance.now() - started)} ms`);
  }
  expect(slowest).toBeLessThan(LONGEST_MS);
}, 120_000);

/** Words with which a command may lose against another one. */
const DEFINED =
  /no such (container|object)|ended while|is not running|it is (exited|created|removing|running|initialized)|was removed|already (running|in use)|container has ended|is paused|ended without a status|does not run|not running/;

const VERBS: string[][] = [
  ["rm", "-f", "v"],
  ["stop", "-t", "0", "v"],
  ["exec", "v", "true"],
  ["inspect", "v"],
  ["logs", "-f", "v"],
  ["start", "v"],
  ["wait", "v"],
];

test("a hundred rounds of rm, stop, exec, inspect, logs, start and wait on one container", async () => {
  const undefinedResults: string[] = [];
  for (let round = 0; round < 100; round++) {
    box.ok([
      "run",
      "-d",
      "--replace",
      "--name",
      "v",
      IMAGE,
      "sh",
      "-c",
      "while :; do echo x; sleep 0.02; done",
    ]);
    // Another order in every round.
    const order = VERBS.toSorted(() => Math.random() - 0.5);
    for (const { args, code, stderr, ms } of await Promise.all(order.map((args) => berth(args)))) {
      const words = stderr.trim();
      const killed = args[0] === "exec" && code === 137;
      const defined = code === 0 || killed || args[0] === "wait" || DEFINED.test(words);
      if (!defined || ms > LONGEST_MS)
        undefinedResults.push(`round ${round}: ${args.join(" ")}: ${code} in ${Math.round(ms)} ms: ${words}`);
    }
    const state = box.ok(["ps", "-a", "--filter", "name=^v$", "--format", "{{.State}}"]);
    if (!["", "running", "exited"].includes(state)) undefinedResults.push(`round ${round}: left ${state}`);
  }
  expect(undefinedResults).toEqual([]);
}, 300_000);

test.skipIf(!haveDockerRegistry)(
  "eight pulls of one image at once: every blob comes once",
  async () => {
    await using registry = await startDockerRegistry();
    const image = `${registry.host}/shared:1`;
    box.ok(["run", "--name", "l2", IMAGE, "sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=8"]);
    box.ok(["commit", "l2", image]);
    box.ok(["rm", "l2"]);
    box.ok(["push", "--tls-verify=false", image]);
    box.ok(["rmi", image]);
    const fetched: string[] = [];
    const proxy = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => {
        const { pathname } = new URL(request.url);
        if (request.method === "GET" && pathname.includes("/blobs/")) fetched.push(pathname);
        return fetch(`http://${registry.host}${pathname}`, {
          method: request.method,
          headers: request.headers,
        });
      },
    });
    try {
      for (let round = 0; round < 3; round++) {
        fetched.length = 0;
        const name = `127.0.0.1:${proxy.port}/shared:1`;
        const all = await Promise.all(Array.from({ length: 8 }, () => berth(["pull", "-q", name])));
        expect(all.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
          Array.from({ length: 8 }, () => ({ code: 0, stderr: "" })),
        );
        expect(new Set(all.map(({ stdout }) => stdout)).size).toBe(1);
        for (const { ms } of all) expect(ms).toBeLessThan(LONGEST_MS);
        expect(fetched).toHaveLength(2);
        expect(new Set(fetched).size).toBe(2);
        expect(box.ok(["run", "--rm", name, "ls", "/big"])).toBe("/big");
        box.ok(["rmi", name]);
        box.ok(["image", "prune", "-f"]);
      }
    } finally {
      await proxy.stop(true);
    }
  },
  120_000,
);

test("two that want one name, one port: one gets it", async () => {
  for (let round = 0; round < 10; round++) {
    const args = ["run", "-d", "--name", "one", "-p", "127.0.0.1:28433:80", IMAGE, "sleep", "100"];
    const all = await Promise.all(Array.from({ length: 4 }, () => berth(args)));
    expect(all.filter(({ code }) => code === 0)).toHaveLength(1);
    for (const { code, stderr } of all) if (code !== 0) expect(stderr).toContain("already in use");
    const ports = await Promise.all(
      ["a", "b", "c"].map((name) =>
        berth(["run", "--rm", "--name", name, "-p", "127.0.0.1:28433:80", IMAGE, "true"]),
      ),
    );
    for (const { code, stderr } of ports) {
      expect(code).toBe(125);
      expect(stderr).toContain('in use by container "one"');
    }
    box.ok(["rm", "-f", "one"]);
  }
}, 120_000);

test("loads and removals of one image at once", async () => {
  const tar = join(box.dir, "saved.tar");
  box.ok(["tag", IMAGE, "localhost/copy:1"]);
  box.ok(["save", "-o", tar, "localhost/copy:1"]);
  for (let round = 0; round < 5; round++) {
    const all = await Promise.all([
      ...Array.from({ length: 4 }, () => berth(["load", "-q", "-i", tar])),
      berth(["rmi", "-i", "localhost/copy:1"]),
      berth(["image", "prune", "-f"]),
    ]);
    for (const { args, code, stderr } of all)
      expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: "" });
    box.ok(["load", "-q", "-i", tar]);
    box.ok(["run", "--rm", "localhost/copy:1", "true"]);
  }
  box.ok(["rmi", "localhost/copy:1"]);
}, 120_000);

test("stop and rm tell the exit code to whoever stays with the container", async () => {
  const wrong: string[] = [];
  for (let round = 0; round < 20; round++) {
    const rm = round % 2 === 0 ? ["--rm"] : [];
    const run = berth(["run", ...rm, "--name", "v", IMAGE, "sh", "-c", "echo up; sleep 1000"]);
    while (box.ok(["ps", "-q", "--filter", "name=^v$"]) === "") await Bun.sleep(5);
    const [attach, wait] = [berth(["attach", "v"]), berth(["wait", "v"])];
    await Bun.sleep(60);
    const end = round % 4 < 2 ? ["stop", "-t", "0", "v"] : ["rm", "-f", "v"];
    expect(await berth(end)).toMatchObject({ code: 0 });
    const codes = [(await run).code, (await attach).code, (await wait).stdout.trim()].join(" ");
    // An attach that comes too late is told so.
    if (!/^137 (137|125) 137$/.test(codes)) wrong.push(`round ${round}, ${end.join(" ")}: ${codes}`);
    box.ok(["rm", "-f", "v"]);
  }
  expect(wrong).toEqual([]);
}, 120_000);
