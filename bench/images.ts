/**
 * `bun bench/images.ts [NAME]`: the budgets for images as ratios against docker, podman and `curl | tar`, in one run on one machine, with the
 * peak of the memory. Prints the table and writes it to bench/IMAGES.md (a run of single cases, whose names have NAME in them, only prints).
 *
 * Stores lie on a tmpfs where there is room (BENCH_DIR says where else): what a disk writes back later is charged to
 * whoever comes next. Needs root and `scripts/setup.sh bench`.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { runArgv } from "../test/e2e/box.ts";
import { startDockerRegistry } from "../test/fake/docker-registry.ts";
import { type BenchImage, type ImageShape, makeImage, upload } from "./image-fixtures.ts";
import { measure, type Measured, quartiles } from "./measure.ts";
import { berthPeer, dockerPeer, type Peer, podmanPeer } from "./peers.ts";

/** One engine, or none: `curl` fetches and unpacks one layer after the other. */
interface Contender {
  name: string;
  version: string;
  pull(name: string): string[];
  /** Takes the image away, with all that only it needs. */
  remove(name: string): void;
  /** Daemons that do the work. */
  pids: () => number[];
  close(): void;
}

export interface Case {
  work: string;
  shape: ImageShape;
  /** Largest allowed ratio of berth to each other, and of bytes and milliseconds by itself. */
  budget: { docker?: number; podman?: number; curl?: number; peak?: number; ms?: number };
  runs: number;
  /** Whether the image is there already when it is pulled. */
  isPresent?: boolean;
}

const MIB = 1024 * 1024;
const THREE = [
  { files: 5000, megabytes: 395 },
  { files: 3500, megabytes: 300 },
  { files: 1500, megabytes: 135 },
];
const PULL = { docker: 0.4, podman: 0.3, curl: 1.5, peak: 200 * MIB };

const CASES: Case[] = [
  {
    work: "pull 3 layers, 300 MB gzip, 838 MB unpacked, 10,000 files",
    shape: { name: "three-gzip", layers: THREE, compression: "gzip" },
    budget: PULL,
    runs: 5,
  },
  {
    work: "the same as zstd, 243 MB",
    shape: { name: "three-zstd", layers: THREE, compression: "zstd" },
    // Docker 20.10 cannot read it.
    budget: { podman: PULL.podman, curl: PULL.curl, peak: PULL.peak },
    runs: 5,
  },
  {
    work: "pull 60 layers of 2 MB",
    shape: {
      name: "sixty",
      layers: Array.from({ length: 60 }, () => ({ files: 60, megabytes: 2 })),
      compression: "gzip",
    },
    budget: PULL,
    runs: 5,
  },
  {
    work: "pull one layer of 838 MB unpacked",
    shape: { name: "one-gzip", layers: [{ files: 10_000, megabytes: 830 }], compression: "gzip" },
    budget: PULL,
    runs: 3,
  },
  {
    work: "pull what is there already",
    shape: { name: "three-gzip", layers: THREE, compression: "gzip" },
    budget: { ms: 30 },
    runs: 20,
    isPresent: true,
  },
];

/** Where stores are made: `berthPeer` and the others take the directory of temporary files. */
function chooseDirectory(): string {
  const given = process.env["BENCH_DIR"];
  if (given !== undefined) return given;
  const shm = statfsSync("/dev/shm");
  return shm.bavail * shm.bsize > 6 * 1024 * MIB ? "/dev/shm" : "/tmp";
}

function descendantOf(peer: Peer): number[] {
  if (peer.name !== "docker") return [];
  const socket = /-H unix:\/\/(\S+)/.exec(peer.command)?.[1] as string;
  const data = socket.replace(/docker\.sock$/, "root");
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .map(Number)
    .filter((pid) => {
      const line = runArgv(["cat", `/proc/${pid}/cmdline`]).stdout;
      return line.startsWith("dockerd") && line.includes(data);
    });
}

function contender(peer: Peer): Contender {
  const argv = peer.command.split(/\s+/);
  const flags = peer.name === "podman" ? ["--tls-verify=false"] : [];
  const daemons = descendantOf(peer);
  return {
    name: peer.name,
    version: peer.version,
    pull: (name) => [...argv, "pull", "-q", ...flags, name],
    remove: (name) => {
      runArgv([...argv, "rmi", "-f", name]);
      if (peer.name === "berth") runArgv([...argv, "image", "prune", "-f"]);
    },
    pids: () => daemons,
    close: () => peer.close(),
  };
}

/** What two programs of every system do with the same blobs, one after the other, into one directory each. */
function curl(dir: string, images: Map<string, BenchImage>): Contender {
  const root = mkdtempSync(join(dir, "bench-curl-"));
  return {
    name: "curl",
    version: "",
    pull: (name) => {
      const image = images.get(name) as BenchImage;
      const [host, ...rest] = name.split("/");
      const repository = rest.join("/").replace(/:[^:]*$/, "");
      const flag = image.shape.compression === "gzip" ? "-z" : "--zstd";
      const lines = image.layers.map(({ digest }, i) => {
        mkdirSync(join(root, String(i)), { recursive: true });
        return `curl -sf http://${host}/v2/${repository}/blobs/${digest} | tar ${flag} -xf - -C ${root}/${i}`;
      });
      return ["bash", "-c", `set -e -o pipefail; ${lines.join("; ")}`];
    },
    remove: () => {
      for (const entry of readdirSync(root)) rmSync(join(root, entry), { recursive: true, force: true });
    },
    pids: () => [],
    close: () => rmSync(root, { recursive: true, force: true }),
  };
}

type Results = Map<string, Measured[]>;

/** The contenders take turns, so that a noisy moment of the machine is not one's alone. */
async function run(one: Case, name: string, contenders: Contender[]): Promise<Results> {
  const results: Results = new Map(contenders.map((c) => [c.name, []]));
  for (let round = 0; round < one.runs; round++) {
    for (const c of contenders) {
      if (one.isPresent !== true) {
        c.remove(name);
        runArgv(["sync"]);
      } else if (round === 0) await measure(c.pull(name), c.pids());
      results.get(c.name)?.push(await measure(c.pull(name), c.pids()));
    }
  }
  for (const c of contenders) c.remove(name);
  return results;
}

interface Line {
  text: string;
  isKept: boolean;
}

function line(one: Case, results: Results): Line {
  const ms = (name: string): number | undefined => {
    const all = results.get(name)?.map(({ wall }) => wall) ?? [];
    return all.length === 0 ? undefined : quartiles(all)[1];
  };
  const own = ms("berth") as number;
  const peak = Math.max(...(results.get("berth") ?? []).map((m) => m.peak));
  const failures: string[] = [];
  const ratios = (["docker", "podman", "curl"] as const).map((name) => {
    const other = ms(name);
    const most = one.budget[name];
    if (other === undefined) return "";
    const ratio = own / other;
    if (most !== undefined && ratio > most) failures.push(`${name} ${ratio.toFixed(2)} > ${most}`);
    return `${ratio.toFixed(2)}${most === undefined ? "" : ` (≤ ${most})`}`;
  });
  if (one.budget.peak !== undefined && peak > one.budget.peak) failures.push("memory");
  if (one.budget.ms !== undefined && own > one.budget.ms)
    failures.push(`${own.toFixed(0)} ms > ${one.budget.ms}`);
  const cells = ["berth", "docker", "podman", "curl"].map((name) => timeCell(results.get(name) ?? []));
  const memory = ["berth", "docker", "podman"].map((name) => peakCell(results.get(name) ?? []));
  const verdict = failures.length === 0 ? "yes" : `**no**: ${failures.join(", ")}`;
  return {
    text: `| ${[one.work, ...cells, ...ratios, memory.join(" / "), verdict].join(" | ")} |`,
    isKept: failures.length === 0,
  };
}

function timeCell(all: Measured[]): string {
  if (all.length === 0) return "";
  const [low, middle, high] = quartiles(all.map(({ wall }) => wall));
  const show = (value: number): string => (middle < 1000 ? value.toFixed(0) : (value / 1000).toFixed(2));
  return `${show(middle)} (${show(low)}-${show(high)}) ${middle < 1000 ? "ms" : "s"}`;
}

function peakCell(all: Measured[]): string {
  return all.length === 0 ? "-" : `${(Math.max(...all.map(({ peak }) => peak)) / MIB).toFixed(0)}`;
}

const HEADER = [
  "| work | berth | docker | podman | curl \\| tar | to docker | to podman | to curl | peak RSS, MiB (berth / docker / podman) | kept |",
  "|---|---|---|---|---|---|---|---|---|---|",
];

async function main(part: string): Promise<void> {
  const dir = chooseDirectory();
  process.env["TMPDIR"] = dir;
  await using resources = new AsyncDisposableStack();
  const registry = resources.use(await startDockerRegistry());
  const cases = CASES.filter(({ work, shape }) => `${work} ${shape.name}`.includes(part));
  const images = new Map<string, BenchImage>();
  for (const { shape } of cases) {
    console.error(`making ${shape.name}`);
    const image = await makeImage(shape);
    images.set(await upload(registry.host, image), image);
  }
  // Images need no network of docker's making, which would change the machine's firewall.
  const docker = await dockerPeer(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
  const peers = [berthPeer(), docker, podmanPeer()];
  const contenders = [...peers.map(contender), curl(dir, images)];
  for (const one of contenders) resources.defer(() => one.close());
  const lines: Line[] = [];
  for (const one of cases) {
    console.error(`measuring: ${one.work}`);
    const name = `${registry.host}/bench/${one.shape.name}:1`;
    const able = contenders.filter(({ name: who }) => who !== "docker" || one.shape.compression === "gzip");
    lines.push(line(one, await run(one, name, one.isPresent === true ? able.slice(0, 3) : able)));
    console.error(lines.at(-1)?.text);
  }
  const versions = contenders.filter((c) => c.version !== "").map((c) => `${c.name} ${c.version}`);
  const text = [
    "# Images against docker, podman and curl | tar",
    "",
    `${new Date().toISOString().slice(0, 10)}, ${cpus().length} × ${cpus()[0]?.model ?? "?"}, stores on ${dir}, docker-registry on loopback; ${versions.join(", ")}.`,
    "Medians with quartiles; ratios are berth to the other, the budget in brackets. Memory is the largest sum of resident sets, children and daemon",
    "included (pages that processes share count once for each). Made by `bun bench/images.ts`.",
    "",
    ...HEADER,
    ...lines.map((one) => one.text),
    "",
  ].join("\n");
  console.log(text);
  if (part === "") writeFileSync(join(import.meta.dir, "IMAGES.md"), text);
  if (lines.some(({ isKept }) => !isKept)) process.exitCode = 1;
}

await main(process.argv[2] ?? "");
