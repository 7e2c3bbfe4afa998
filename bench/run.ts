/**
 * `npm run bench`: the budgets of DESIGN §6 as ratios against docker and podman of the distribution, in one
 * run on one machine. Prints the table and writes it to bench/RESULTS.md. Needs root and `scripts/setup.sh bench`.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { runArgv } from "../test/e2e/box.ts";
import { berthPeer, dockerPeer, type Peer, podmanPeer } from "./peers.ts";

interface Row {
  work: string;
  /** Largest allowed ratio of berth to each peer. */
  budget: Partial<Record<string, number>>;
  /** A budget that is no ratio. */
  limit?: { most: number; text: string };
  /** Milliseconds or bytes, by engine. */
  value: Record<string, { mean: number; text: string }>;
}

const ROUNDS = 5;

/** Milliseconds of each run. The engines take turns, so that a noisy moment of the machine is not one engine's alone. */
function hyperfine(commands: Record<string, string>, runs: number): Record<string, number[]> {
  const output = join("/tmp", `hyperfine-${process.pid}.json`);
  const times: Record<string, number[]> = Object.fromEntries(Object.keys(commands).map((name) => [name, []]));
  const perRound = String(Math.ceil(runs / ROUNDS));
  for (let round = 0; round < ROUNDS; round++) {
    const argv = ["hyperfine", "--shell=none", "--warmup", "2", "--runs", perRound, "--export-json", output];
    const outcome = runArgv([...argv, ...Object.values(commands)], { timeout: 600_000 });
    if (outcome.code !== 0) throw new Error(outcome.stderr);
    const { results } = JSON.parse(readFileSync(output, "utf8")) as { results: { times: number[] }[] };
    Object.keys(commands).forEach((name, index) => {
      times[name]?.push(...(results[index]?.times ?? []).map((seconds) => seconds * 1000));
    });
  }
  return times;
}

/** The median is what is compared; the quarter and three-quarter points say how noisy it was. */
function summary(times: number[]): { mean: number; text: string } {
  const sorted = times.toSorted((x, y) => x - y);
  const at = (part: number): number => sorted[Math.floor((sorted.length - 1) * part)] as number;
  return { mean: at(0.5), text: `${at(0.5).toFixed(1)} (${at(0.25).toFixed(1)}-${at(0.75).toFixed(1)}) ms` };
}

interface Timed {
  work: string;
  budget: Row["budget"];
  line: (peer: Peer) => string;
  runs?: number;
}

function timed(peers: Peer[], { work, budget, line, runs = 40 }: Timed): Row {
  console.error(`measuring: ${work}`);
  return measured(work, budget, hyperfine(Object.fromEntries(peers.map((p) => [p.name, line(p)])), runs));
}

function measured(work: string, budget: Row["budget"], times: Record<string, number[]>): Row {
  return {
    work,
    budget,
    value: Object.fromEntries(Object.entries(times).map(([name, all]) => [name, summary(all)])),
  };
}

/** What no command can be faster than: an empty program of the same make (Bun), and docker's and podman's shortest calls. */
function floor(): Row {
  console.error("measuring: the floor");
  const source = join("/tmp", `bench-empty-${process.pid}.ts`);
  const binary = source.replace(/\.ts$/, "");
  writeFileSync(source, "export {};\n");
  const build = ["build", "--compile", "--bytecode", "--minify", "--format=esm", "--compile-jit-policy=100"];
  const outcome = runArgv([process.execPath, ...build, source, "--outfile", binary]);
  if (outcome.code !== 0) throw new Error(outcome.stderr);
  const times = hyperfine({ berth: binary, docker: "docker --version", podman: "podman --version" }, 100);
  for (const path of [source, binary]) rmSync(path);
  return measured("floor: an empty Bun program; `--version` of the others", {}, times);
}

/** Private bytes of all processes that hold a container up: what is there with n containers less what was there before, by n. */
function memoryPerContainer(peers: Peer[]): Row {
  console.error("measuring: memory per container");
  const count = 5;
  const value: Row["value"] = {};
  for (const peer of peers) {
    const before = shares(supervisors());
    for (let i = 0; i < count; i++) {
      const line = `${peer.command} run -d --network none ${peer.runFlags} --name mem${i} ${peer.image} sleep 1000`;
      const outcome = runArgv(line.split(/\s+/));
      if (outcome.code !== 0) throw new Error(outcome.stderr);
    }
    Bun.sleepSync(1000);
    const mean = growth(before, shares(supervisors())) / count;
    value[peer.name] = { mean, text: `${(mean / 1048576).toFixed(2)} MiB` };
    for (let i = 0; i < count; i++) runArgv(`${peer.command} rm -f mem${i}`.split(/\s+/));
  }
  return {
    work: "memory per running container, without its own processes (PSS)",
    budget: {},
    limit: { most: 3 * 1048576, text: "≤ 3 MiB" },
    value,
  };
}

const SUPERVISOR = /^(conmon|containerd-shim.*|dockerd|containerd|berth|docker-proxy)$/;

function supervisors(): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return SUPERVISOR.test(readFileSync(`/proc/${pid}/comm`, "utf8").trim());
    } catch {
      return false;
    }
  });
}

/** Proportional set size by pid, of those that are still there. */
function shares(pids: string[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      found.set(pid, Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024);
    } catch {
      // it ended
    }
  }
  return found;
}

/** What processes that came have, and what those that stayed have more; others' that went meanwhile do not count. */
function growth(before: Map<string, number>, after: Map<string, number>): number {
  return [...after].reduce((sum, [pid, bytes]) => sum + bytes - (before.get(pid) ?? 0), 0);
}

function measure(peers: Peer[]): Row[] {
  const run = (p: Peer, network: string): string =>
    `${p.command} run --rm ${network} ${p.runFlags} ${p.image} true`.replace(/\s+/g, " ");
  for (const peer of peers) {
    const line = `${peer.command} run -d --network none ${peer.runFlags} --name stay ${peer.image} sleep 100000`;
    const outcome = runArgv(line.split(/\s+/));
    if (outcome.code !== 0) throw new Error(`${line}: ${outcome.stderr}`);
  }
  const runBudget = { docker: 0.25, podman: 0.25 };
  const rows = [
    timed(peers, { work: "ps", budget: { docker: 0.5 }, line: (p) => `${p.command} ps`, runs: 100 }),
    timed(peers, { work: "run --rm IMG true, bridge network", budget: runBudget, line: (p) => run(p, "") }),
    timed(peers, {
      work: "run --rm --network none IMG true",
      budget: { docker: 0.4, podman: 0.4 },
      line: (p) => run(p, "--network none"),
    }),
    timed(peers, {
      work: "exec CTR true",
      budget: { docker: 0.5, podman: 0.5 },
      line: (p) => `${p.command} exec stay true`,
    }),
  ];
  for (const peer of peers) runArgv(`${peer.command} rm -f stay`.split(/\s+/));
  return [floor(), ...rows, memoryPerContainer(peers)];
}

function verdict(row: Row, met: boolean | undefined): string {
  const ok = row.limit === undefined ? met : (row.value["berth"]?.mean ?? 0) <= row.limit.most;
  if (ok === undefined) return "";
  return ok ? "yes" : "**no**";
}

function table(rows: Row[], peers: Peer[]): string {
  const others = peers.filter((p) => p.name !== "berth");
  const head = ["work", ...peers.map((p) => p.name), ...others.map((p) => `÷ ${p.name}`), "budget", "met"];
  const lines = rows.map((row) => {
    const ratio = (name: string): number => (row.value["berth"]?.mean ?? 0) / (row.value[name]?.mean ?? 1);
    const budgets = Object.entries(row.budget);
    const met = budgets.every(([name, limit]) => ratio(name) <= (limit ?? 1));
    return [
      row.work,
      ...peers.map((p) => row.value[p.name]?.text ?? ""),
      ...others.map((p) => ratio(p.name).toFixed(2)),
      budgets.map(([name, limit]) => `≤ ${limit} × ${name}`).join(", ") || (row.limit?.text ?? ""),
      verdict(row, budgets.length > 0 ? met : undefined),
    ];
  });
  return [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

const peers: Peer[] = [];
try {
  peers.push(berthPeer());
  peers.push(await dockerPeer());
  peers.push(podmanPeer());
  const text = table(measure(peers), peers);
  const versions = peers.map((p) => `${p.name} ${p.version}`).join(", ");
  const kernel = runArgv(["uname", "-r"]).stdout.trim();
  const facts = `${versions}; ${cpus().length} × ${cpus()[0]?.model ?? "cpu"}, kernel ${kernel}; seccomp on in all`;
  const page = `# Results\n\nMade by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}: ${facts}.\n\n${text}\n`;
  writeFileSync(join(import.meta.dir, "RESULTS.md"), page);
  console.log(page);
} finally {
  for (const peer of peers) peer.close();
}
