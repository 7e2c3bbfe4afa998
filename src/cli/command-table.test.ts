import { expect, test } from "bun:test";
import type { AnyCommand } from "./command.ts";
import { commandTable, type EntryTable } from "./command-table.ts";

async function allCommands(
  table: EntryTable,
  path: string[] = [],
): Promise<{ name: string; command: AnyCommand }[]> {
  const nested = Object.entries(table).map(async ([word, entry]) => {
    const name = [...path, word];
    if (entry.commands !== undefined) return allCommands(entry.commands, name);
    return [{ name: name.join(" "), command: await (entry.load as () => Promise<AnyCommand>)() }];
  });
  return (await Promise.all(nested)).flat();
}

test("every command loads, and no short flag means two things", async () => {
  const clashes: string[] = [];
  const commands = await allCommands(commandTable);
  for (const { name, command } of commands) {
    const seen = new Map<string, string>();
    for (const [flag, { short }] of Object.entries(command.flags)) {
      if (short === undefined) continue;
      const other = seen.get(short);
      if (other !== undefined) clashes.push(`${name}: -${short} is --${other} and --${flag}`);
      seen.set(short, flag);
    }
  }
  expect(clashes).toEqual([]);
  expect(commands.length).toBeGreaterThan(50);
});
