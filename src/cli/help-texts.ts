/** The help of everything, as files: kept in test/golden/help, so that a change of words is seen in review. */
import { canonicalPath, commandTable, type EntryTable } from "./command-table.ts";
import { commandHelp, groupHelp } from "./help.ts";

export interface HelpText {
  /** "image-prune.txt"; "berth.txt" for the program itself. */
  file: string;
  text: string;
}

async function textsOf(table: EntryTable, path: string[]): Promise<HelpText[]> {
  const nested = Object.entries(table)
    .filter(([, entry]) => entry.hidden !== true)
    .map(async ([name, entry]) => {
      const here = [...path, name];
      if (canonicalPath(here, entry).length < here.length) return [];
      const file = `${here.join("-")}.txt`;
      if (entry.load !== undefined) return [{ file, text: commandHelp("berth", here, await entry.load()) }];
      const commands = entry.commands ?? {};
      return [{ file, text: groupHelp("berth", here, commands) }, ...(await textsOf(commands, here))];
    });
  return (await Promise.all(nested)).flat();
}

export async function helpTexts(): Promise<HelpText[]> {
  return [
    { file: "berth.txt", text: groupHelp("berth", [], commandTable) },
    ...(await textsOf(commandTable, [])),
  ];
}
