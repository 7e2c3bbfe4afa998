/**
 * What is peculiar to gVisor's runsc: every global flag must be repeated on every call, and its default network
 * ("sandbox") does not work on recent kernels. So the network is chosen from the bundle: `none` for a new, empty network
 * namespace, `host` (which uses the namespace that config.json names) otherwise. The choice is kept beside the state.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hasCode } from "../sys/errno.ts";
import { keepScript } from "./script.ts";

interface Namespaces {
  linux?: { namespaces?: { type: string; path?: string }[] };
}

function networkOf(bundle: string): "none" | "host" {
  const config = JSON.parse(readFileSync(`${bundle}/config.json`, "utf8")) as Namespaces;
  const network = config.linux?.namespaces?.find((namespace) => namespace.type === "network");
  return network !== undefined && network.path === undefined ? "none" : "host";
}

/** Flags of one container, chosen at creation. `directory` is not the state directory: runsc lists that one. */
export class RunscFlags {
  readonly #directory: string;
  readonly #configured: string[];

  /** `configured`: the runtime's own flags; a network or platform named there wins. */
  constructor(directory: string, configured: string[]) {
    this.#directory = directory;
    this.#configured = configured;
  }

  #withDefaults(network: string): string[] {
    const given = (name: string): boolean => this.#configured.some((flag) => flag.startsWith(`--${name}`));
    return [
      ...(given("platform") ? [] : ["--platform=ptrace"]),
      ...(given("network") ? [] : [`--network=${network}`]),
      ...this.#configured,
    ];
  }

  choose(id: string, bundle: string): string[] {
    const network = networkOf(bundle);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    writeFileSync(`${this.#directory}/${id}`, network, { mode: 0o600 });
    return this.#withDefaults(network);
  }

  of(id: string): string[] {
    try {
      return this.#withDefaults(readFileSync(`${this.#directory}/${id}`, "latin1"));
    } catch (error) {
      if (hasCode(error, "ENOENT")) return this.#withDefaults("none");
      throw error;
    }
  }

  forget(id: string): void {
    rmSync(`${this.#directory}/${id}`, { force: true });
  }
}

/** A `create` with an id that exists destroys the container that has it (release 20221219), so it is asked first. */
export function runscKnows(stateDir: string, id: string): boolean {
  try {
    return readdirSync(stateDir).some((name) => name.startsWith(`${id}_`) || name === id);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

const WITHOUT_TTY = `for word; do
  shift
  [ "$word" = --tty ] || set -- "$@" "$word"
done
exec "$@"
`;

/** conmon gives `exec --tty` for a session with a terminal; runsc does not know the flag and reads it from the process object. */
export function runscTerminalArgv(directory: string): string[] {
  return ["/bin/sh", keepScript(`${directory}/runsc-exec.sh`, WITHOUT_TTY)];
}
