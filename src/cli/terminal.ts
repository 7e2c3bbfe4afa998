/** What is known of the terminal: whether there is one, how wide it is, whether it wants colours. */
export function isTerminal(fd: 0 | 1 | 2): boolean {
  return process.getBuiltinModule("node:tty").isatty(fd);
}

/** Columns of the terminal behind the descriptor; 80 where nobody knows. */
export function terminalWidth(fd: 1 | 2): number {
  const stream = fd === 1 ? process.stdout : process.stderr;
  return stream.columns > 0 ? stream.columns : 80;
}

/** Lines of the terminal behind the descriptor; 24 where nobody knows. */
export function terminalHeight(fd: 1 | 2): number {
  const stream = fd === 1 ? process.stdout : process.stderr;
  return stream.rows > 0 ? stream.rows : 24;
}

/** Colours only on a terminal, and never against NO_COLOR (no-color.org) or TERM=dumb. */
export function wantsColor(fd: 1 | 2): boolean {
  const off = process.env["NO_COLOR"] ?? "";
  return off === "" && process.env["TERM"] !== "dumb" && isTerminal(fd);
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;
export type Color = keyof typeof CODES;

export function paint(color: Color, text: string): string {
  return `\x1b[${CODES[color]}m${text}\x1b[0m`;
}
