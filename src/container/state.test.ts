import { expect, test } from "bun:test";
import type { ContainerRecord, ContainerState } from "./container.ts";
import { isMonitored, observe, type Probes } from "./state.ts";

const LIVE: ContainerState = {
  status: "running",
  restarts: 0,
  startedAt: "2026-01-02T03:04:05Z",
  bootId: "this",
  pid: 10,
  pidStart: 100,
  monitorPid: 20,
  monitorStart: 200,
};

interface World {
  boot?: string;
  exits?: ({ code: number; atMs: number } | undefined)[];
  starts?: Record<number, number>;
}

/** Answers of the exit file one after the other; the last one stays. */
function probes({ boot = "this", exits = [undefined], starts = { 10: 100, 20: 200 } }: World): Probes {
  const answers = [...exits];
  return {
    bootId: () => boot,
    exitOf: () => (answers.length > 1 ? answers.shift() : answers[0]),
    startTime: (pid) => starts[pid],
  };
}

function seen(world: World, state: ContainerState = LIVE): ContainerState {
  return observe({ id: "x", name: "x", created: "", spec: {}, state } as ContainerRecord, probes(world));
}

const exit = { code: 3, atMs: 1000 };

test("a living monitor means a living container", () => {
  expect(seen({})).toEqual(LIVE);
  // Between the process's end and the exit file.
  expect(seen({ starts: { 20: 200 } })).toEqual(LIVE);
  expect(seen({ starts: { 10: 100, 20: 200 } }, { ...LIVE, status: "paused" }).status).toBe("paused");
});

test("the exit file says how it ended, whatever else is true", () => {
  for (const world of [{ exits: [exit] }, { exits: [exit], starts: {} }, { exits: [exit], boot: "other" }]) {
    expect(seen(world)).toMatchObject({
      status: "exited",
      exitCode: 3,
      finishedAt: "1970-01-01T00:00:01.000Z",
    });
  }
});

test("an exit file written between two looks, by a monitor that is gone by now", () => {
  expect(seen({ exits: [undefined, exit], starts: {} })).toMatchObject({ status: "exited", exitCode: 3 });
});

test("without a monitor it has ended with 255, even if its process lives", () => {
  for (const starts of [{}, { 10: 100 }, { 10: 100, 20: 999 }]) {
    expect(seen({ starts })).toMatchObject({
      status: "exited",
      exitCode: 255,
      error: "its monitor is gone",
      finishedAt: LIVE.startedAt as string,
    });
  }
});

test("no pid of another boot is trusted", () => {
  expect(seen({ boot: "other" })).toMatchObject({
    status: "exited",
    exitCode: 255,
    error: "the host was restarted",
  });
});

test("what has not run is created again, and what has ended stays", () => {
  expect(seen({ starts: {} }, { ...LIVE, status: "initialized" }).status).toBe("created");
  const ended: ContainerState = { status: "exited", exitCode: 1, restarts: 0 };
  expect(seen({ starts: {} }, ended)).toBe(ended);
});

test("a monitor is told by its start time, where that is known", () => {
  expect(isMonitored(LIVE, probes({}))).toBe(true);
  expect(isMonitored(LIVE, probes({ starts: { 20: 1 } }))).toBe(false);
  const { monitorStart: _, ...older } = LIVE;
  expect(isMonitored(older, probes({ starts: { 20: 1 } }))).toBe(true);
  expect(isMonitored({ status: "running", restarts: 0 }, probes({}))).toBe(false);
});
