import { fail } from "../../core/error.ts";
import type { PortMapping } from "../../network/network.ts";
import { defineCommand } from "../command.ts";
import { oneContainer } from "../select.ts";

interface Line {
  key: string;
  host: string;
}

/** A line for each single port and each address it listens on. */
function lines(ports: readonly PortMapping[]): Line[] {
  return ports.flatMap((port) =>
    Array.from({ length: port.range }, (_, i) => ({
      key: `${port.containerPort + i}/${port.protocol}`,
      host: `${hostAddress(port.hostIp)}:${port.hostPort + i}`,
    })),
  );
}

function hostAddress(ip: string): string {
  if (ip === "") return "0.0.0.0";
  return ip.includes(":") ? `[${ip}]` : ip;
}

export const portCommand = defineCommand({
  usage: "[options] CONTAINER [PORT[/PROTOCOL]]",
  description: "Lists the published ports of a container, or the host address of one port.",
  flags: {
    all: { type: "bool", short: "a", help: "Of all running containers" },
    latest: { type: "bool", short: "l", help: "The container created last" },
  },
  args: { min: 0, max: 2 },
  quick: true,
  completes: { first: "running", rest: "none" },
  async run(invocation) {
    const { ctx, flags, out } = invocation;
    const engine = await invocation.engine();
    const { list, resolveContainer } = await import("../../engine/list.ts");
    if (flags.all) {
      for (const { record } of list(ctx, engine, { all: false, filters: [] })) {
        const name = record.id.slice(0, 12);
        for (const { key, host } of lines(record.state.attachment?.ports ?? []))
          out.line(`${name}\t${key} -> ${host}`);
      }
      return;
    }
    const { container, rest } = await oneContainer(invocation, engine);
    const record = resolveContainer(engine, container);
    const all = lines(record.state.attachment?.ports ?? []);
    const wanted = rest[0];
    if (wanted === undefined) return all.forEach(({ key, host }) => out.line(`${key} -> ${host}`));
    const key = wanted.includes("/") ? wanted : `${wanted}/tcp`;
    const found = all.filter((line) => line.key === key);
    if (found.length === 0) {
      throw fail("not-found", `failed to find published port "${wanted}"`, { reason: "no-such-port" });
    }
    for (const { host } of found) out.line(host);
  },
});
