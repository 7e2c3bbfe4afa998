import { describe, expect, test } from "bun:test";
import { linux } from "../sys/linux.ts";
import { parseSyncMessage, SyncChannel } from "./sync-channel.ts";

describe("parseSyncMessage", () => {
  test.each([
    ['{"data": 4711}', { data: 4711 }],
    ['{"data": -1, "message": "say \\"so\\"\\n"}', { data: -1, message: 'say "so"\n' }],
    ['{"data":-125,"message":"bad \\x escape\\n"}', { data: -125, message: "bad x escape\n" }],
    ["garbage", undefined],
    ["", undefined],
  ])("%s", (line, message) => {
    expect(parseSyncMessage(line)).toEqual(message as never);
  });
});

describe("SyncChannel", () => {
  test("gives messages as they come, also the ones cut in pieces, and undefined at the end", async () => {
    using channel = await SyncChannel.open();
    linux.write(channel.peer, Buffer.from('{"data": 1}\nnoise\n{"data"'));
    expect(await channel.next()).toEqual({ data: 1 });
    setTimeout(() => {
      linux.write(channel.peer, Buffer.from(': 2}\n{"data": 3}'));
      linux.close(channel.peer);
    }, 5);
    expect(await channel.next()).toEqual({ data: 2 });
    expect(await channel.next()).toEqual({ data: 3 });
    expect(await channel.next()).toBeUndefined();
  });

  test("an abort ends the wait", async () => {
    using channel = await SyncChannel.open();
    expect(await channel.next(AbortSignal.timeout(5))).toBeUndefined();
    linux.close(channel.peer);
  });
});
