/**
 * Crash safety: commands killed and failed at their system calls (sweep.ts). The default run samples the points and takes about three
 * minutes; BERTH_SWEEP=full takes every one.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type DockerRegistry, haveDockerRegistry, startDockerRegistry } from "../fake/docker-registry.ts";
import { Box } from "./box.ts";
import { type Failure, report, sweepFailures, sweepKills, type SweepResult, type Verb } from "./sweep.ts";

const IMAGE = "localhost/busybox";
const LONG = 3_600_000;
/** One store's tests use one host port, taken and given back at every point. */
const PORT = "127.0.0.1:28431:80";
let box: Box;
let registry: DockerRegistry;
const haveStrace = Bun.which("strace") !== null;

beforeAll(async () => {
  box = new Box("faults");
  box.importBusybox();
  // The bridge, its table, caches and probes are there before the first look.
  box.ok(["run", "--rm", "-p", PORT, IMAGE, "true"]);
  registry = await startDockerRegistry();
  makeLayers();
});
afterAll(async () => {
  box.close();
  await registry[Symbol.asyncDispose]();
});

/** An image of three layers, in the registry and as a file. */
function makeLayers(): void {
  const image = `${registry.host}/three:latest`;
  box.ok(["run", "--name", "l2", IMAGE, "sh", "-c", "mkdir /two; seq 100000 > /two/file; rm /etc/group"]);
  box.ok(["commit", "l2", "localhost/two"]);
  box.ok(["run", "--name", "l3", "localhost/two", "sh", "-c", "mkdir /three; echo 3 > /three/file"]);
  box.ok(["commit", "l3", image]);
  box.ok(["rm", "l2", "l3"]);
  box.ok(["push", "--tls-verify=false", image]);
  box.ok(["save", "-o", join(box.dir, "three.tar"), image]);
  box.ok(["rmi", image, "localhost/two"]);
}

function stateOf(name: string): string {
  return box.ok(["ps", "-a", "--filter", `name=^${name}$`, "--format", "{{.State}}"]);
}

function oneOf(found: string, ...allowed: string[]): void {
  if (!allowed.includes(found)) throw new Error(`it is "${found}", not one of "${allowed.join('", "')}"`);
}

async function untilGone(name: string): Promise<void> {
  for (let tries = 0; stateOf(name) !== ""; tries++) {
    if (tries > 100) throw new Error(`"${name}" does not go: it is "${stateOf(name)}"`);
    await Bun.sleep(50);
  }
}

/** Another container at once, and one with the same name and port as soon as the killed one's monitor has cleaned up. */
function runAgain(args: string[]): (box: Box) => Promise<void> {
  return async () => {
    box.ok(["run", "--rm", IMAGE, "true"]);
    await untilGone("v");
    box.ok(args);
  };
}

const BRIDGED = ["run", "--rm", "--name", "v", "-p", PORT, IMAGE, "true"];
const ALONE = ["run", "--rm", "--name", "v", "--network", "none", IMAGE, "true"];
const UP = ["run", "-d", "--name", "v", "-p", PORT, IMAGE, "sleep", "1000"];

const runBridged: Verb = { name: "run --rm", args: BRIDGED, again: runAgain(BRIDGED) };
const runAlone: Verb = { name: "run --rm --network none", args: ALONE, again: runAgain(ALONE) };

const runDetached: Verb = {
  name: "run -d",
  args: UP,
  // A start that failed leaves the container with the reason in its record, as with docker and podman.
  check: (_box, how) => oneOf(stateOf("v"), "", "running", ...(how === "failed" ? ["created"] : [])),
  again: () => {
    box.ok(["run", "-d", IMAGE, "sleep", "1000"]);
    box.ok(["rm", "-f", "v"]);
    box.ok(UP);
    oneOf(stateOf("v"), "running");
  },
};

const removeForced: Verb = {
  name: "rm -f",
  args: ["rm", "-f", "v"],
  before: () => void box.ok(UP),
  check: () => oneOf(stateOf("v"), "", "running", "exited"),
  again: () => {
    box.ok(["rm", "-f", "v"]);
    box.ok(UP);
  },
};

const start: Verb = {
  name: "start",
  args: ["start", "v"],
  before: () => {
    box.ok(UP);
    box.ok(["stop", "-t", "0", "v"]);
  },
  check: () => oneOf(stateOf("v"), "exited", "running"),
  again: () => {
    box.ok(["start", "v"]);
    oneOf(stateOf("v"), "running");
    oneOf(box.ok(["exec", "v", "echo", "in"]), "in");
  },
};

const stop: Verb = {
  name: "stop",
  args: ["stop", "-t", "0", "v"],
  before: () => void box.ok(UP),
  check: () => oneOf(stateOf("v"), "exited", "running"),
  again: () => {
    box.ok(["stop", "-t", "0", "v"]);
    oneOf(box.ok(["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "v"]), "exited 137");
    box.ok(["start", "v"]);
  },
};

const commit: Verb = {
  name: "commit",
  args: ["commit", "v", "localhost/made"],
  before: () => void box.ok(["run", "-d", "--name", "v", IMAGE, "sh", "-c", "echo x > /x; sleep 1000"]),
  check: () => {
    oneOf(stateOf("v"), "running");
    oneOf(box.ok(["exec", "v", "cat", "/x"]), "x");
  },
  after: () => {
    box.ok(["rmi", "-i", "localhost/made"]);
    // Of two commits under one name the first has none any more.
    box.ok(["image", "prune", "-f"]);
  },
};

function imageVerb(name: string, args: () => string[], image: () => string): Verb {
  return {
    name,
    get args() {
      return args();
    },
    check: () => {
      const found = box.ok(["images", "--format", "{{.Repository}}:{{.Tag}}", image()]);
      oneOf(found, "", image());
      if (found !== "") box.ok(["run", "--rm", "--network", "none", image(), "true"]);
    },
    after: () => {
      box.ok(["run", "--rm", "--network", "none", image(), "true"]);
      box.ok(["rmi", image()]);
      box.ok(["image", "prune", "-f"]);
    },
  };
}

const three = (): string => `${registry.host}/three:latest`;
const pull = imageVerb("pull", () => ["pull", "-q", three()], three);
const load = imageVerb("load", () => ["load", "-i", join(box.dir, "three.tar")], three);
const importTar = imageVerb(
  "import",
  () => ["import", join(box.dir, "busybox.tar"), "localhost/other:latest"],
  () => "localhost/other:latest",
);

function clean(result: SweepResult): void {
  console.warn(report(result));
  expect(result.problems).toEqual([]);
  // Had nothing been hit, nothing would be proven.
  expect(result.hit).toBeGreaterThan(3);
}

const only = process.env["BERTH_SWEEP_VERB"];
function wanted(verb: Verb): boolean {
  if (!haveStrace || !haveDockerRegistry) {
    console.warn("skip: strace or docker-registry is not installed");
    return false;
  }
  return only === undefined || only === verb.name;
}

describe("killed at every point", () => {
  const verbs = [runBridged, runAlone, runDetached, removeForced, start, stop, commit, pull, load, importTar];
  for (const verb of verbs) {
    test.skipIf(!haveStrace || !haveDockerRegistry)(
      verb.name,
      async () => {
        if (wanted(verb)) clean(await sweepKills(box, verb));
      },
      LONG,
    );
  }
});

const FAILURES: Failure[] = [
  { calls: "fsync,fdatasync,syncfs", errno: "EIO" },
  { calls: "write,pwrite64", errno: "ENOSPC" },
  { calls: "rename,renameat,renameat2", errno: "EIO" },
  { calls: "mkdir,mkdirat", errno: "ENOSPC" },
  { calls: "mount,fsconfig,fsmount,move_mount,unshare,setns", errno: "ENOMEM" },
  { calls: "sendto,sendmsg", errno: "ENOBUFS" },
  { calls: "ftruncate,fchown,chmod,flock", errno: "EIO" },
];

describe("made to fail at every point", () => {
  for (const verb of [runBridged, runDetached, removeForced, pull]) {
    test.skipIf(!haveStrace || !haveDockerRegistry)(
      verb.name,
      async () => {
        if (wanted(verb)) clean(await sweepFailures(box, verb, FAILURES));
      },
      LONG,
    );
  }
});
