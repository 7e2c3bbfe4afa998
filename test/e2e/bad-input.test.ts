/** Bad input: a clear error that names it, the right exit code, nothing changed, nothing left. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Box, runArgv } from "./box.ts";

const IMAGE = "localhost/busybox";
let box: Box;

beforeAll(() => {
  box = new Box("bad");
  box.importBusybox();
  box.ok(["run", "--rm", IMAGE, "true"]);
  box.ok(["create", "--name", "taken", IMAGE, "true"]);
});
afterAll(() => box.close());
beforeEach(() => box.mark());
afterEach(async () => {
  expect(await box.leaks()).toEqual([]);
  expect(box.ok(["ps", "-a", "--format", "{{.Names}}"])).toBe("taken");
});

interface Case {
  args: string[];
  code: number;
  says: string[];
}

const RUN = ["run", "--rm"];
const CASES: Record<string, Case> = {
  "unknown image": {
    args: [...RUN, "--pull", "never", "nosuchimage"],
    code: 125,
    says: ["nosuchimage", "image not known"],
  },
  "malformed reference": {
    args: [...RUN, "UPPER/case:tag:tag"],
    code: 125,
    says: ["UPPER/case:tag:tag", "invalid reference"],
  },
  "unknown runtime": {
    args: ["--runtime", "nosuchruntime", ...RUN, IMAGE],
    code: 125,
    says: ["nosuchruntime"],
  },
  "missing conmon": {
    args: ["--conmon", "/nonexistent/conmon", ...RUN, IMAGE],
    code: 125,
    says: ["/nonexistent/conmon", "apt-get install conmon"],
  },
  "name taken": { args: ["create", "--name", "taken", IMAGE], code: 125, says: ["taken", "already in use"] },
  "invalid name": { args: [...RUN, "--name", "a/b", IMAGE], code: 125, says: ["a/b"] },
  "invalid port": { args: [...RUN, "-p", "99999:80", IMAGE], code: 125, says: ["99999"] },
  "invalid memory": { args: [...RUN, "-m", "lots", IMAGE], code: 125, says: ["lots"] },
  "invalid volume": { args: [...RUN, "-v", "a:b:c:d", IMAGE], code: 125, says: ["a:b:c:d"] },
  "missing bind source": {
    args: [...RUN, "--mount", "type=bind,source=/nonexistent/x,target=/x", IMAGE],
    code: 125,
    says: ["/nonexistent/x"],
  },
  "unknown user": { args: [...RUN, "-u", "nobody-here", IMAGE, "true"], code: 125, says: ["nobody-here"] },
  "user out of range": { args: [...RUN, "-u", "4294967296", IMAGE, "true"], code: 125, says: ["4294967296"] },
  "unknown capability": { args: [...RUN, "--cap-add", "FLY", IMAGE], code: 125, says: ["FLY"] },
  "unknown device": {
    args: [...RUN, "--device", "/dev/nonexistent", IMAGE],
    code: 125,
    says: ["/dev/nonexistent"],
  },
  "unknown flag": { args: [...RUN, "--no-such-flag", IMAGE], code: 125, says: ["no-such-flag"] },
  "--rm with --restart": {
    args: [...RUN, "--restart", "always", IMAGE],
    code: 125,
    says: ["--rm", "--restart"],
  },
  "swap below memory": {
    args: [...RUN, "-m", "64m", "--memory-swap", "32m", IMAGE],
    code: 125,
    says: ["memory"],
  },
  "sysctl of the host": {
    args: [...RUN, "--sysctl", "kernel.panic=1", IMAGE],
    code: 125,
    says: ["kernel.panic"],
  },
  "newline in a host name": { args: [...RUN, "--hostname", "a\nb", IMAGE], code: 125, says: ["host name"] },
  "newline in --add-host": {
    args: [...RUN, "--add-host", "a\n1.2.3.4 b:1.2.3.4", IMAGE],
    code: 125,
    says: ["host"],
  },
  "no such container": {
    args: ["start", "nobody"],
    code: 125,
    says: ['no container with name or ID "nobody" found: no such container'],
  },
  "exec in a container that does not run": {
    args: ["exec", "taken", "true"],
    code: 125,
    says: ["taken", "not running"],
  },
  "unknown filter": { args: ["ps", "--filter", "nosuch=1"], code: 125, says: ["nosuch"] },
  "broken template": { args: ["ps", "-a", "--format", "{{.Names"], code: 125, says: ["template"] },
};

for (const [name, { args, code, says }] of Object.entries(CASES)) {
  test(name, () => {
    const outcome = box.berth(args);
    expect(outcome.stdout).toBe("");
    for (const text of says) expect(outcome.stderr).toContain(text);
    expect(outcome.code).toBe(code);
  });
}

describe("archives", () => {
  const images = (): string => box.ok(["images", "-q"]);

  test("a truncated or corrupt root file system is refused whole", () => {
    const before = images();
    const tar = join(box.dir, "busybox.tar");
    const gzip = join(box.dir, "cut.tar.gz");
    writeFileSync(gzip, Bun.gzipSync(new Uint8Array(readFileSync(tar))).subarray(0, 100_000));
    const cut = box.berth(["import", gzip, "localhost/cut"]);
    expect(cut.code).toBe(125);
    expect(cut.stderr).toMatch(/truncated|unexpected end|ends/i);
    const noise = join(box.dir, "noise.tar");
    writeFileSync(noise, crypto.getRandomValues(new Uint8Array(20_000)));
    expect(box.berth(["import", noise, "localhost/noise"]).code).toBe(125);
    expect(images()).toBe(before);
    expect(box.ok(["system", "check"])).not.toContain("orphan");
  });

  test("entries that point outside change nothing on the host", () => {
    const canary = join(box.dir, "canary");
    mkdirSync(canary);
    writeFileSync(join(canary, "file"), "untouched");
    const work = join(box.dir, "evil");
    mkdirSync(join(work, "x"), { recursive: true });
    const evil = join(box.dir, "evil.tar");
    const python = `
import tarfile, io
t = tarfile.open(${JSON.stringify(evil)}, "w")
def link(n, to, kind):
    i = tarfile.TarInfo(n); i.type = kind; i.linkname = to; t.addfile(i)
def file(n, data=b"evil"):
    i = tarfile.TarInfo(n); i.size = len(data); t.addfile(i, io.BytesIO(data))
link("a", ${JSON.stringify(canary)}, tarfile.SYMTYPE)
file("a/file")
file("a/new")
file("/etc/absolute")
t.close()
`;
    const made = runArgv(["python3", "-c", python]);
    if (made.code !== 0) throw new Error(made.stderr);
    box.berth(["import", evil, "localhost/evil"]);
    expect(runArgv(["ls", canary]).stdout).toBe("file\n");
    expect(runArgv(["cat", join(canary, "file")]).stdout).toBe("untouched");
    box.berth(["rmi", "-f", "localhost/evil"]);
  });

  test("load of something that is no archive names it", () => {
    const file = join(box.dir, "text");
    writeFileSync(file, "this is not an archive\n".repeat(100));
    const outcome = box.berth(["load", "-i", file]);
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toContain(file);
  });
});

test("a full disk: the error says so, nothing is left, and the store works on", () => {
  const small = new Box("full");
  try {
    mkdirSync(small.root, { recursive: true });
    expect(runArgv(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small.root]).code).toBe(0);
    const tar = join(box.dir, "big.tar");
    const big = join(box.dir, "big");
    mkdirSync(big, { recursive: true });
    writeFileSync(join(big, "zeros"), new Uint8Array(8 << 20));
    runArgv(["tar", "-C", big, "-cf", tar, "."]);
    const outcome = small.berth(["import", tar, "localhost/big"]);
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toMatch(/no space|ENOSPC|full/i);
    expect(small.ok(["images", "-q"])).toBe("");
    const left = runArgv([
      "find",
      `${small.root}/ingest`,
      `${small.root}/layers`,
      `${small.root}/blobs`,
      "-type",
      "f",
    ]).stdout;
    expect(left).toBe("");
  } finally {
    small.berth(["system", "reset", "--force"]);
    runArgv(["umount", small.root]);
    small.close();
  }
});
