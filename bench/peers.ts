/** The engines that are compared, each on a store of its own with the same busybox image. All of them are taken down again. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { busyboxTar, runArgv } from "../test/e2e/box.ts";

export interface Peer {
  name: string;
  version: string;
  /** Shell words in front of a subcommand. */
  command: string;
  /** Flags that `run` needs on this machine. */
  runFlags: string;
  image: string;
  close(): void;
}

const IMAGE = "localhost/bench:latest";

function must(argv: string[], stdin?: Uint8Array): string {
  const outcome = runArgv(argv, { timeout: 120_000, ...(stdin === undefined ? {} : { stdin }) });
  if (outcome.code !== 0) throw new Error(`${argv.join(" ")}: ${outcome.stderr || outcome.stdout}`);
  return outcome.stdout.trim();
}

/** State that a reboot may take lies on a tmpfs, as /run does on a machine of Debian's making: for all three engines. */
function runDirectory(name: string): string {
  return mkdtempSync(`/dev/shm/bench-${name}-`);
}

function rootfsTar(dir: string): string {
  const path = join(dir, "busybox.tar");
  writeFileSync(path, busyboxTar(dir));
  return path;
}

export function berthPeer(): Peer {
  const dir = mkdtempSync(join(tmpdir(), "bench-berth-"));
  const run = runDirectory("berth");
  const argv = [resolve(import.meta.dir, "../dist/berth"), "--root", `${dir}/root`, "--run", run];
  must([...argv, "import", rootfsTar(dir), IMAGE]);
  return {
    name: "berth",
    version: must([argv[0] as string, "version", "--format", "{{.Client.Version}}"]),
    command: argv.join(" "),
    runFlags: "",
    image: IMAGE,
    close: () => {
      runArgv([...argv, "system", "reset", "--force"]);
      for (const path of [dir, run]) rmSync(path, { recursive: true, force: true });
    },
  };
}

export function podmanPeer(): Peer {
  const dir = mkdtempSync(join(tmpdir(), "bench-podman-"));
  const run = runDirectory("podman");
  const restoreFirewall = keepFirewall();
  const argv = [
    "podman",
    "--root",
    `${dir}/root`,
    "--runroot",
    run,
    "--tmpdir",
    `${run}/tmp`,
    "--runtime",
    "runc",
    "--cgroup-manager",
    "cgroupfs",
  ];
  must([...argv, "import", rootfsTar(dir), IMAGE]);
  return {
    name: "podman",
    version: must(["podman", "--version"]).replace(/^.* /, ""),
    command: argv.join(" "),
    // Without CAP_SYS_RESOURCE its default limits cannot be set.
    runFlags: "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024",
    image: IMAGE,
    close: () => {
      runArgv([...argv, "rm", "-fa", "-t", "0"]);
      runArgv([...argv, "rmi", "-fa"]);
      runArgv(["umount", `${dir}/root/overlay`]);
      runArgv(["ip", "link", "delete", "podman0"]);
      restoreFirewall();
      for (const path of [dir, run]) rmSync(path, { recursive: true, force: true });
    },
  };
}

/** Both engines leave chains, and dockerd a FORWARD policy of DROP, behind: the firewall is put back as it was. */
function keepFirewall(): () => void {
  const tools = ["iptables", "ip6tables"];
  const saved = tools.map((tool) => runArgv([`${tool}-save`]).stdout);
  return () => tools.forEach((tool, index) => runArgv([`${tool}-restore`], { stdin: saved[index] ?? "" }));
}

/** Starts a dockerd of our own, which starts its own containerd. `flags` are further ones of dockerd. */
export async function dockerPeer(flags: string[] = []): Promise<Peer> {
  const dir = mkdtempSync(join(tmpdir(), "bench-docker-"));
  const run = runDirectory("docker");
  const socket = `unix://${dir}/docker.sock`;
  const restoreFirewall = keepFirewall();
  const daemon = Bun.spawn(
    [
      "dockerd",
      "--data-root",
      `${dir}/root`,
      "--exec-root",
      run,
      "--pidfile",
      `${dir}/pid`,
      "-H",
      socket,
      ...flags,
    ],
    { stdin: "ignore", stdout: Bun.file(`${dir}/log`), stderr: Bun.file(`${dir}/log`) },
  );
  const argv = ["docker", "-H", socket];
  for (let tries = 0; runArgv([...argv, "info"]).code !== 0; tries++) {
    if (tries > 100) throw new Error(`dockerd did not come up: ${await Bun.file(`${dir}/log`).text()}`);
    await Bun.sleep(200);
  }
  must([...argv, "import", rootfsTar(dir), IMAGE]);
  return {
    name: "docker",
    version: must([...argv, "version", "--format", "{{.Server.Version}} (client {{.Client.Version}})"]),
    command: argv.join(" "),
    runFlags: "",
    image: IMAGE,
    close: () => {
      const left = must([...argv, "ps", "-aq"]);
      if (left !== "") runArgv([...argv, "rm", "-f", ...left.split("\n")]);
      daemon.kill("SIGTERM");
      for (let tries = 0; daemon.exitCode === null && tries < 100; tries++) Bun.sleepSync(100);
      runArgv(["ip", "link", "delete", "docker0"]);
      restoreFirewall();
      for (const path of [dir, run]) rmSync(path, { recursive: true, force: true });
    },
  };
}
