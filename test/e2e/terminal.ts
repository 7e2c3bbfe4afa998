/** A command on a terminal of its own: what a person types and sees. */

interface Pty {
  write(text: string): void;
  resize(columns: number, rows: number): void;
  close(): void;
}

export class Terminal {
  readonly #child: Bun.Subprocess;
  readonly #pty: Pty;
  /** All that was shown, with the terminal's "\r\n". */
  text = "";
  /** Up to where `sees` has read. */
  #seen = 0;

  constructor(
    argv: string[],
    options: { columns?: number; rows?: number; env?: Record<string, string> } = {},
  ) {
    const { columns = 80, rows = 24, env } = options;
    const child = Bun.spawn(argv, {
      env: { ...process.env, TERM: "xterm", ...env },
      terminal: {
        cols: columns,
        rows,
        data: (_: unknown, bytes: Uint8Array) => void (this.text += Buffer.from(bytes).toString()),
      },
    });
    this.#child = child;
    this.#pty = child.terminal as unknown as Pty;
  }

  type(text: string): void {
    this.#pty.write(text);
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows);
  }

  /** Waits until this is shown after what was seen before; throws with all that was shown after ten seconds. */
  async sees(wanted: string | RegExp): Promise<string> {
    for (const deadline = Date.now() + 10_000; Date.now() < deadline; await Bun.sleep(10)) {
      const fresh = this.text.slice(this.#seen);
      const at = typeof wanted === "string" ? fresh.indexOf(wanted) : fresh.search(wanted);
      if (at < 0) continue;
      const found = typeof wanted === "string" ? wanted : (wanted.exec(fresh)?.[0] ?? "");
      this.#seen += at + found.length;
      return found;
    }
    throw new Error(`${String(wanted)} was not shown in ${JSON.stringify(this.text)}`);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The exit code; throws if it does not end within ten seconds. */
  async ends(): Promise<number> {
    const code = await Promise.race([this.#child.exited, Bun.sleep(10_000)]);
    if (code === undefined) {
      this.#child.kill("SIGKILL");
      throw new Error(`it did not end; it showed ${JSON.stringify(this.text)}`);
    }
    return code;
  }
}
