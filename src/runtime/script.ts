/** Small scripts that stand between the monitor and a runtime, kept in the run directory. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";

/** Writes the script if it is not there yet, whole or not at all. Returns its path. */
export function keepScript(path: string, content: string): string {
  try {
    if (readFileSync(path, "utf8") === content) return path;
  } catch {
    mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  }
  const aside = `${path}.${process.pid}`;
  writeFileSync(aside, content, { mode: 0o600 });
  renameSync(aside, path);
  return path;
}
