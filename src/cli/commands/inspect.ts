import { fail, isKind } from "../../core/error.ts";
import type { Engine } from "../../engine/engine.ts";
import { type AnyCommand, defineCommand, type Invocation } from "../command.ts";
import { exitCodeOf, printError } from "../errors.ts";
import { objectFormatFlag } from "../list-flags.ts";
import { printFormatted, printJson } from "../object-format.ts";
import { remoteFlags } from "../remote-flags.ts";

type Kind = "container" | "image" | "network";
const KINDS: readonly Kind[] = ["container", "image", "network"];
const OTHER_KINDS = ["volume", "pod", "secret"];

interface Look {
  kinds: readonly Kind[];
  size: boolean;
}

interface Wanted {
  kind: Kind;
  name: string;
  size: boolean;
}

async function inspectAs(invocation: Invocation, engine: Engine, wanted: Wanted): Promise<object> {
  const { kind, name, size } = wanted;
  if (kind === "network") return networkObject(engine, name);
  const { ctx, personality } = invocation;
  const { docker } = personality;
  const { inspectContainer, inspectImage } = await import("../../engine/inspect.ts");
  if (kind === "image") return inspectImage(ctx, engine, { image: name, docker });
  return inspectContainer(ctx, engine, { container: name, size, docker });
}

/** A network in podman's shape. */
function networkObject(engine: Engine, name: string): object {
  const { subnets, bridge, ...record } = engine.network.inspect(name);
  return {
    name: record.name,
    id: record.id,
    driver: record.driver,
    network_interface: bridge,
    created: record.created,
    subnets,
    ipv6_enabled: subnets.some(({ subnet }) => subnet.includes(":")),
    internal: record.internal,
    dns_enabled: false,
    labels: record.labels,
    ipam_options: { driver: "host-local" },
  };
}

/** The first kind that has an object of this name. */
async function find(invocation: Invocation, engine: Engine, look: Look, name: string): Promise<object> {
  let last: unknown;
  for (const kind of look.kinds) {
    try {
      return await inspectAs(invocation, engine, { kind, name, size: look.size });
    } catch (error) {
      if (!isKind(error, "not-found")) throw error;
      last = error;
    }
  }
  if (look.kinds.length === 1) throw last;
  throw fail("not-found", `no such object: "${name}"`, { reason: "no-such-object" });
}

/** Prints what was found (`[]` if nothing) and the errors; the exit code is the last error's. */
async function inspectAll(
  invocation: Invocation,
  names: string[],
  look: Look,
  format: string,
): Promise<number> {
  const { out, personality, path } = invocation;
  const engine = await invocation.engine();
  const found: object[] = [];
  const errors: unknown[] = [];
  for (const name of names) {
    try {
      found.push(await find(invocation, engine, look, name));
    } catch (error) {
      errors.push(error);
    }
  }
  if (format === "" || format === "json") {
    await printJson(invocation, found);
  } else {
    for (const object of found) await printFormatted(invocation, format, object);
  }
  for (const error of errors) printError(error, { out, personality, path, trace: false });
  return errors.length === 0 ? 0 : exitCodeOf(errors.at(-1), path, personality);
}

function kindsOf(type: string): readonly Kind[] {
  if (type === "all" || type === "") return KINDS;
  const kind = KINDS.find((known) => known === type);
  if (kind !== undefined) return [kind];
  if (OTHER_KINDS.includes(type)) throw fail("unimplemented", `inspecting a ${type} is not supported yet`);
  throw fail("invalid-argument", `invalid type "${type}"`, { hint: `choose all, ${KINDS.join(", ")}` });
}

async function lookRemotely(invocation: Invocation): Promise<void> {
  const { inspectRemoteImages } = await import("./inspect-remote.ts");
  await inspectRemoteImages(invocation, invocation.args);
}

/** Flags that say how to look at a registry mean nothing here. */
function checkIsRemote(changed: ReadonlySet<string>): void {
  const odd = [...changed].find((name) => Object.hasOwn(remoteFlags, name) && name !== "remote");
  // --authfile is a flag of berth itself as well.
  if (odd === undefined || odd === "authfile") return;
  throw fail("invalid-argument", `--${odd} is of use with --remote only`, { reason: "arguments" });
}

export const inspectCommand = defineCommand({
  usage: "[options] NAME [NAME...]",
  description: "Shows containers, images or networks in full, as JSON or by a template.",
  examples: [
    "inspect --format '{{.State.Pid}}' web",
    "inspect --remote quay.io/prometheus/busybox:latest",
    "inspect --remote --raw oci:layout:v1",
  ],
  flags: {
    ...objectFormatFlag,
    ...remoteFlags,
    latest: { type: "bool", short: "l", help: "The container created last" },
    size: { type: "bool", short: "s", help: "Add sizes of containers" },
    type: {
      type: "string",
      short: "t",
      value: "TYPE",
      default: "all",
      help: "container, image, network or all",
    },
  },
  args: { min: 0 },
  quick: true,
  completes: { first: "objects" },
  async run(invocation) {
    const { flags, args } = invocation;
    const kinds = kindsOf(flags.type);
    const names = [...args];
    if (flags.latest) {
      const { latest } = await import("../../engine/list.ts");
      names.push(latest(await invocation.engine()).id);
    }
    if (names.length === 0) {
      throw fail("invalid-argument", "names or ids must be provided", { reason: "arguments" });
    }
    if (flags.remote) return await lookRemotely(invocation as unknown as Invocation);
    checkIsRemote(invocation.changed);
    return inspectAll(invocation, names, { kinds, size: flags.size }, flags.format ?? "");
  },
});

export const containerInspectCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description: "Shows containers in full, as JSON or by a template.",
  flags: {
    ...objectFormatFlag,
    latest: { type: "bool", short: "l", help: "The container created last" },
    size: { type: "bool", short: "s", help: "Add sizes" },
  },
  args: { min: 0 },
  quick: true,
  completes: { first: "containers" },
  async run(invocation) {
    const { flags, args } = invocation;
    const { latest } = await import("../../engine/list.ts");
    const names = flags.latest ? [...args, latest(await invocation.engine()).id] : args;
    if (names.length === 0) {
      throw fail("invalid-argument", "names or ids must be provided", { reason: "arguments" });
    }
    return inspectAll(invocation, names, { kinds: ["container"], size: flags.size }, flags.format ?? "");
  },
});

function inspector(kind: Kind, usage: string, completes: "images" | "networks"): AnyCommand {
  return defineCommand({
    usage: `[options] ${usage} [${usage}...]`,
    description: `Shows ${kind}s in full, as JSON or by a template.`,
    flags: objectFormatFlag,
    args: { min: 1 },
    quick: true,
    completes: { first: completes },
    run: (invocation) =>
      inspectAll(invocation, invocation.args, { kinds: [kind], size: false }, invocation.flags.format ?? ""),
  });
}

export const imageInspectCommand = inspector("image", "IMAGE", "images");
export const networkInspectCommand = inspector("network", "NETWORK", "networks");
