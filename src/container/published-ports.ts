/** The ports of a request: what `-p` says, and with `-P` every exposed one on a free port of the host. */
import type { ImageConfig } from "../image/image.ts";
import type { PortMapping } from "../network/network.ts";
import { parseExpose } from "../network/ports.ts";
import type { ContainerSpec } from "./container.ts";

/** Errors: invalid-argument for a malformed `--expose` or EXPOSE. */
export function publishedPorts(spec: ContainerSpec, image: ImageConfig | undefined): PortMapping[] {
  if (!spec.publishAll) return spec.ports;
  const taken = new Set(spec.ports.flatMap(keysOf));
  const exposed = [...Object.keys(image?.config.ExposedPorts ?? {}), ...spec.expose].flatMap(onFreePorts);
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

/** One mapping a port, each to a free one of the host. */
function onFreePorts(text: string): PortMapping[] {
  const { port, range, protocol } = parseExpose(text);
  return Array.from({ length: range }, (_, i) => ({
    hostIp: "",
    hostPort: 0,
    containerPort: port + i,
    protocol,
    range: 1,
  }));
}
