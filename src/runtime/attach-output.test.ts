import { expect, test } from "bun:test";
import { linux } from "../sys/linux.ts";
import { OutputPump, Sink } from "./attach-output.ts";

const PACKET = 4096;
const PACKETS = 16;

test("after a blocked write the socket is read again in the same turn: the caller may know that nothing more comes", () => {
  const [ours, monitor] = linux.socketpair("seqpacket");
  const pipe = linux.pipe(4096);
  using fds = new DisposableStack();
  for (const fd of [ours, monitor, pipe.read, pipe.write]) fds.adopt(fd, linux.close);
  linux.setNonBlocking(ours);
  linux.setNonBlocking(pipe.read);
  const pump = new OutputPump(ours, { stdout: fds.use(new Sink(pipe.write)), stderr: undefined });
  const packet = new Uint8Array(1 + PACKET).fill(2);
  const into = new Uint8Array(1 << 20);
  let passed = 0;
  const drain = (): void => {
    for (;;) {
      try {
        passed += linux.read(pipe.read, into);
      } catch {
        return;
      }
    }
  };

  linux.send(monitor, packet);
  linux.send(monitor, packet);
  expect(pump.turn()).toBe("open");
  expect(pump.blocked).toBe(true);
  for (let i = 2; i < PACKETS; i++) linux.send(monitor, packet);
  // As the attach pump does once the container has ended: until nothing is blocked, and not once more.
  for (let turns = 0; pump.blocked; turns++) {
    drain();
    expect(pump.turn()).toBe("open");
    expect(turns).toBeLessThan(1000);
  }
  drain();
  expect(passed).toBe(PACKETS * PACKET);
});
