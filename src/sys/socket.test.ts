import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { tempDir } from "../../test/fake/temp-dir.ts";
import * as k from "./const.ts";
import { call } from "./libc.ts";
import { linux } from "./linux.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** A listening SOCK_SEQPACKET socket, as conmon makes it. */
function listenSeqpacket(directory: string, name: string): number {
  const fd = call("socket", "", 1, 5 | k.O_CLOEXEC, 0);
  const dir = linux.open(directory, k.O_PATH);
  const address = Buffer.from(`\x01\0/proc/self/fd/${dir}/${name}\0`);
  call("bind", name, fd, address, address.byteLength);
  call("listen", name, fd, 8);
  linux.close(dir);
  return fd;
}

describe("the attach protocol's socket", () => {
  for (const directory of ["short", "long/".repeat(60)]) {
    test(`packets keep their bounds; end of input is seen (${directory.length} bytes of path)`, () => {
      using tmp = tempDir("sys-socket");
      const path = `${tmp.path}/${directory}`;
      mkdirSync(path, { recursive: true });
      const listener = listenSeqpacket(path, "attach");
      const client = linux.connectSeqpacket(`${path}/attach`);
      const server = linux.accept(listener);
      linux.send(server, Buffer.from("\x02out"));
      linux.send(server, Buffer.from("\x03err"));
      const into = new Uint8Array(8193);
      expect(text(into.subarray(0, linux.receive(client, into)))).toBe("\x02out");
      expect(text(into.subarray(0, linux.receive(client, into)))).toBe("\x03err");
      linux.setNonBlocking(client);
      expect(linux.receive(client, into)).toBeUndefined();
      linux.shutdown(client, "write");
      expect(linux.receive(server, into)).toBe(0);
      linux.close(server);
      expect(linux.receive(client, into)).toBe(0);
      expect(() => linux.send(client, Uint8Array.of(1))).toThrow("EPIPE");
      linux.close(client);
      linux.close(listener);
    });
  }

  test("a failed connect leaves no descriptor", () => {
    const before = readdirSync("/proc/self/fd").length;
    expect(() => linux.connectSeqpacket("/tmp/berth-absent/attach")).toThrow("ENOENT");
    expect(() => linux.connectSeqpacket(`/tmp/${"x".repeat(200)}/attach`)).toThrow("ENOENT");
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });
});

describe("descriptors in messages", () => {
  test("arrive close-on-exec and lead to the same files", () => {
    const [a, b] = linux.socketpair("stream");
    const files = ["one", "two", "three"].map((name) => {
      const fd = linux.memfd(name);
      linux.write(fd, Buffer.from(name));
      return fd;
    });
    linux.sendFds(a, Buffer.from("terminal"), files);
    const got = linux.receiveFds(b, 3);
    expect(text(got.data)).toBe("terminal");
    const contents = got.fds.map((fd) => {
      const into = new Uint8Array(16);
      return text(into.subarray(0, linux.read(fd, into, 0)));
    });
    expect(contents).toEqual(["one", "two", "three"]);
    linux.sendFds(a, Buffer.from("none"), []);
    expect(linux.receiveFds(b, 1)).toMatchObject({ fds: [] });
    for (const fd of [a, b, ...files, ...got.fds]) linux.close(fd);
  });

  test("more than expected are closed and refused", () => {
    const [a, b] = linux.socketpair("seqpacket");
    const before = readdirSync("/proc/self/fd").length;
    linux.sendFds(a, Uint8Array.of(1), [0, 0, 0, 0, 0, 0]);
    expect(() => linux.receiveFds(b, 2)).toThrow("EOVERFLOW");
    expect(readdirSync("/proc/self/fd").length).toBe(before);
    linux.close(a);
    linux.close(b);
  });
});

test("a listening socket is for its owner only, however long its path", () => {
  using tmp = tempDir("sys-listen");
  const directory = `${tmp.path}/${"d".repeat(120)}`;
  mkdirSync(directory);
  const fd = linux.listenUnix(`${directory}/console.sock`);
  expect(statSync(`${directory}/console.sock`).mode & 0o777).toBe(0o600);
  linux.close(fd);
});

test("a netlink socket answers", () => {
  const fd = linux.netlink(0);
  // nlmsghdr: length 20, RTM_GETLINK with NLM_F_REQUEST|NLM_F_DUMP, sequence 1; then rtgenmsg of family 0.
  const request = new Uint8Array(20);
  new DataView(request.buffer).setUint32(0, 20, true);
  request.set([18, 0, 0x01, 0x03, 1, 0, 0, 0], 4);
  linux.send(fd, request);
  const into = new Uint8Array(32_768);
  expect(linux.receive(fd, into)).toBeGreaterThan(16);
  expect(into[4]).toBe(16);
  linux.close(fd);
});
