/** The ports of a request: what `-p` says, and with `-P` every exposed one on a free port of the host. */
import { fail } from "../core/error.ts";
import type { ImageConfig } from "../image/image.ts";
import type { PortMapping, Protocol } from "../network/network.ts";
import type { ContainerSpec } from "./container.ts";

/** Errors: invalid-argument for a malformed `--expose` or EXPOSE. */
export function publishedPorts(spec: ContainerSpec, image: ImageConfig | undefined): PortMapping[] {
  if (!spec.publishAll) return spec.ports;
  const taken = new Set(spec.ports.flatMap(keysOf));
  const exposed = [...Object.keys(image?.config.ExposedPorts ?? {}), ...spec.expose].flatMap(parseExpose);
  const added = exposed.filter((port) => {
    const key = `${port.containerPort}/${port.protocol}`;
    if (taken.has(key)) return false;
    taken.add(key);
    return true;
  });
  return [...spec.ports, ...added];
}

function keysOf(port: PortMapping): string[] {
  return Array.from({ length: port.range }, (_, i) => `${port.containerPort + i}/${port.protocol}`);
}

/** "80", "53/udp", "8000-8010/tcp" → one mapping a port. */
function parseExpose(text: string): PortMapping[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? first);
  if (match === null || first < 1 || last > 65535 || last < first) {
    throw fail("invalid-argument", `invalid exposed port "${text}"`, {
      hint: 'write "80", "80/tcp" or "8000-8010/udp"',
    });
  }
  const protocol = (match[3] ?? "tcp").toLowerCase() as Protocol;
  return Array.from({ length: last - first + 1 }, (_, i) => ({
    hostIp: "",
    hostPort: 0,
    containerPort: first + i,
    protocol,
    range: 1,
  }));
}
