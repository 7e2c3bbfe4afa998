/** Traffic of the network namespace that a process is in, without its loopback (proc_net_dev: /proc/PID/net/dev). */
import { readFileSync } from "node:fs";

/** Bytes since the namespace was made; zeros when the process is gone. */
export function interfaceBytes(pid: number): { received: number; sent: number } {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/net/dev`, "latin1");
  } catch {
    return { received: 0, sent: 0 };
  }
  const total = { received: 0, sent: 0 };
  for (const line of text.split("\n").slice(2)) {
    const [name = "", counters = ""] = line.split(":");
    if (name.trim() === "lo" || counters === "") continue;
    const fields = counters.trim().split(/\s+/).map(Number);
    total.received += fields[0] ?? 0;
    total.sent += fields[8] ?? 0;
  }
  return total;
}
