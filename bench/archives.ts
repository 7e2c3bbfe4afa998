/**
 * `bun bench/archives.ts [NAME]`: load, save and push as ratios against docker and podman, in one run on one machine. Prints the table and
 * writes it to bench/ARCHIVES.md (a run of single cases, whose names have NAME in them, only prints).
 *
 * Needs root and `scripts/setup.sh bench`; BENCH_DIR says where stores lie (default: a tmpfs, as for bench/images.ts).
 */
import {
  createReadStream,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { closeSync, openSync, writeSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { createGunzip } from "node:zlib";
import { TarWriter } from "../src/archive/tar-writer.ts";
import { runArgv } from "../test/e2e/box.ts";
import { startDockerRegistry } from "../test/fake/docker-registry.ts";
import { type BenchImage, type ImageShape, makeImage } from "./image-fixtures.ts";
import { measure, type Measured, quartiles } from "./measure.ts";
import { berthPeer, dockerPeer, type Peer, podmanPeer } from "./peers.ts";

const NAME = "localhost/archive:1";
const MIB = 1024 * 1024;
const BOTH = { docker: 0.5, podman: 0.5 };
const DOCKER = { docker: 0.5 };
const SHAPE: ImageShape = {
  name: "three-gzip",
  layers: [
    { files: 5000, megabytes: 395 },
    { files: 3500, megabytes: 300 },
    { files: 1500, megabytes: 135 },
  ],
  compression: "gzip",
};

type Prepare = "nothing" | "plain" | "packed";

interface Case {
  work: string;
  /** What of the archives is in the store before: the one with plain layers, or the one with compressed ones. */
  before: Prepare;
  /** Argv after the engine's own; `target` is a file for what is saved, or a repository on a fresh registry. */
  argv(peer: Peer, files: Files, target: string): string[];
  peers: string[];
  /** Largest allowed ratio to each. */
  budget: { docker?: number; podman?: number };
  runs: number;
}

interface Files {
  /** docker-archive with plain layers, as docker and podman write it. */
  plain: string;
  /** OCI archive with gzip layers. */
  packed: string;
}

const ALL = ["berth", "docker", "podman"];
const push = (peer: Peer, _files: Files, target: string): string[] => {
  runArgv([...words(peer), "tag", NAME, target]);
  return ["push", "-q", ...(peer.name === "podman" ? ["--tls-verify=false"] : []), target];
};

const CASES: Case[] = [
  {
    work: "load a docker-archive, 838 MB, layers not compressed",
    before: "nothing",
    argv: (_, { plain }) => ["load", "-q", "-i", plain],
    peers: ALL,
    budget: BOTH,
    runs: 5,
  },
  {
    work: "load an OCI archive, 300 MB, gzip layers",
    before: "nothing",
    argv: (_, { packed }) => ["load", "-q", "-i", packed],
    // Docker 20.10 reads no OCI archives.
    peers: ["berth", "podman"],
    budget: BOTH,
    runs: 5,
  },
  {
    work: "save a docker-archive of what came without compression",
    before: "plain",
    argv: (_, _files, target) => ["save", "-o", target, NAME],
    peers: ALL,
    budget: BOTH,
    runs: 5,
  },
  {
    work: "save an OCI archive of what came as gzip",
    before: "packed",
    argv: (_, _files, target) => ["save", "--format", "oci-archive", "-o", target, NAME],
    peers: ["berth", "podman"],
    budget: BOTH,
    runs: 3,
  },
  {
    work: "push 838 MB of layers that are not compressed yet",
    before: "plain",
    argv: push,
    peers: ALL,
    budget: DOCKER,
    runs: 3,
  },
  {
    work: "push 300 MB of gzip layers as they came",
    before: "packed",
    argv: push,
    peers: ["berth", "podman"],
    budget: DOCKER,
    runs: 3,
  },
];

function words({ command }: Peer): string[] {
  return command.split(/\s+/);
}

class ArchiveFile implements Disposable {
  readonly #tar = new TarWriter();
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, "w");
  }

  add(name: string, bytes: Uint8Array): void {
    this.begin(name, bytes.length);
    this.write(bytes);
    this.end(bytes.length);
  }

  begin(name: string, size: number): void {
    this.write(this.#tar.header({ name: Buffer.from(name), type: "file", mode: 0o644, size }));
  }

  write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) done += writeSync(this.#fd, bytes, done);
  }

  end(size: number): void {
    this.write(this.#tar.padding(size));
  }

  [Symbol.dispose](): void {
    this.write(this.#tar.end());
    closeSync(this.#fd);
  }
}

async function* inflated(path: string): AsyncGenerator<Uint8Array> {
  yield* createReadStream(path).pipe(createGunzip({ chunkSize: MIB }));
}

async function writeArchives(dir: string, image: BenchImage): Promise<Files> {
  const files = { plain: join(dir, "plain.tar"), packed: join(dir, "packed.tar") };
  const config = readFileSync(image.config.path);
  const blob = (digest: string): string => `blobs/${digest.replace(":", "/")}`;
  {
    using tar = new ArchiveFile(files.plain);
    const Layers = image.layers.map((_, i) => `layer${i}/layer.tar`);
    tar.add("config.json", config);
    for (const [i, layer] of image.layers.entries()) {
      let size = 0;
      for await (const chunk of inflated(layer.path)) size += chunk.length;
      tar.begin(Layers[i] as string, size);
      for await (const chunk of inflated(layer.path)) tar.write(chunk);
      tar.end(size);
    }
    tar.add(
      "manifest.json",
      Buffer.from(JSON.stringify([{ Config: "config.json", RepoTags: [NAME], Layers }])),
    );
  }
  using tar = new ArchiveFile(files.packed);
  const digest = `sha256:${new Bun.CryptoHasher("sha256").update(image.manifest).digest("hex")}`;
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const annotations = { "org.opencontainers.image.ref.name": NAME };
  const manifests = [{ mediaType, digest, size: image.manifest.length, annotations }];
  tar.add("oci-layout", Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  tar.add("index.json", Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
  tar.add(blob(digest), image.manifest);
  tar.add(blob(image.config.digest), config);
  for (const layer of image.layers) tar.add(blob(layer.digest), readFileSync(layer.path));
  return files;
}

function must(argv: string[]): void {
  const { code, stderr } = runArgv(argv, { timeout: 300_000 });
  if (code !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
}

function empty(peer: Peer): void {
  const argv = words(peer);
  const ids = runArgv([...argv, "images", "-q"])
    .stdout.split("\n")
    .filter(Boolean);
  if (ids.length > 0) runArgv([...argv, "rmi", "-f", ...new Set(ids)]);
  if (peer.name === "berth") runArgv([...argv, "image", "prune", "-f"]);
}

/** Everything is put back before each run: what an engine remembers of the last one must not help it. */
async function once(one: Case, peer: Peer, files: Files, dir: string): Promise<Measured> {
  empty(peer);
  if (one.before !== "nothing") must([...words(peer), "load", "-q", "-i", files[one.before]]);
  await using registry = one.argv === push ? await startDockerRegistry() : undefined;
  const out = join(dir, "out.tar");
  const target = registry === undefined ? out : `${registry.host}/bench/archive:1`;
  const argv = [...words(peer), ...one.argv(peer, files, target)];
  runArgv(["sync"]);
  const measured = await measure(argv);
  rmSync(out, { force: true });
  return measured;
}

function row(one: Case, results: Map<string, Measured[]>): { text: string; isKept: boolean } {
  const seconds = (name: string): number | undefined => {
    const all = results.get(name);
    return all === undefined ? undefined : quartiles(all.map(({ wall }) => wall))[1] / 1000;
  };
  const own = seconds("berth") as number;
  const names = ["docker", "podman"] as const;
  const ratios = names.map((name) => {
    const other = seconds(name);
    return other === undefined ? undefined : own / other;
  });
  const isKept = names.every((name, i) => (ratios[i] ?? 0) <= (one.budget[name] ?? Infinity));
  const peak = Math.max(...(results.get("berth") ?? []).map((m) => m.peak)) / MIB;
  const cells = [
    one.work,
    ...ALL.map((name) => seconds(name)?.toFixed(2) ?? ""),
    ...ratios.map((ratio) => ratio?.toFixed(2) ?? ""),
    peak.toFixed(0),
    isKept ? "yes" : "**no**",
  ];
  return { text: `| ${cells.join(" | ")} |`, isKept };
}

function chooseDirectory(): string {
  const given = process.env["BENCH_DIR"];
  if (given !== undefined) return given;
  const shm = statfsSync("/dev/shm");
  return shm.bavail * shm.bsize > 9 * 1024 * MIB ? "/dev/shm" : "/tmp";
}

async function main(part: string): Promise<void> {
  const base = chooseDirectory();
  process.env["TMPDIR"] = base;
  await using resources = new AsyncDisposableStack();
  const dir = mkdtempSync(join(base, "bench-archives-"));
  resources.defer(() => rmSync(dir, { recursive: true, force: true }));
  const files = await writeArchives(dir, await makeImage(SHAPE));
  console.error(`${files.plain}: ${(statSync(files.plain).size / MIB).toFixed(0)} MiB`);
  const peers = [
    berthPeer(),
    await dockerPeer(["--iptables=false", "--ip6tables=false", "--bridge=none"]),
    podmanPeer(),
  ];
  for (const peer of peers) resources.defer(() => peer.close());
  const rows: { text: string; isKept: boolean }[] = [];
  for (const one of CASES.filter(({ work }) => work.includes(part))) {
    const results = new Map<string, Measured[]>();
    for (let round = 0; round < one.runs; round++) {
      for (const peer of peers.filter(({ name }) => one.peers.includes(name)))
        results.set(peer.name, [...(results.get(peer.name) ?? []), await once(one, peer, files, dir)]);
    }
    rows.push(row(one, results));
    console.error(rows.at(-1)?.text);
  }
  const versions = peers.map(({ name, version }) => `${name} ${version}`).join(", ");
  const text = [
    "# Archives and pushes against docker and podman",
    "",
    `${new Date().toISOString().slice(0, 10)}, ${cpus().length} × ${cpus()[0]?.model ?? "?"}, stores on ${base}, docker-registry on loopback; ${versions}.`,
    "Medians in seconds; ratios are berth to the other: at most 0.5, to podman for load and save only. Memory is berth's with its children, MiB.",
    "Made by `bun bench/archives.ts`.",
    "",
    "| work | berth | docker | podman | to docker | to podman | peak RSS | kept |",
    "|---|---|---|---|---|---|---|---|",
    ...rows.map(({ text: line }) => line),
    "",
  ].join("\n");
  console.log(text);
  if (part === "") writeFileSync(join(import.meta.dir, "ARCHIVES.md"), text);
  if (rows.some(({ isKept }) => !isKept)) process.exitCode = 1;
}

await main(process.argv[2] ?? "");
