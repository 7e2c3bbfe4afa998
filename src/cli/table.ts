/** Tables as docker's and podman's tabwriter lays them out: no lines, columns as wide as their widest cell. */

/** docker's smallest column is 10 wide, podman's 12; the last cell of a row is never padded. */
export function renderTable(rows: readonly (readonly string[])[], padding: number): string {
  const smallest = padding === 3 ? 10 : 12;
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      if (index === row.length - 1) break;
      widths[index] = Math.max(widths[index] ?? smallest, Bun.stringWidth(cell) + padding);
    }
  }
  let text = "";
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      const isLast = index === row.length - 1;
      text += isLast ? `${cell}\n` : cell + " ".repeat((widths[index] as number) - Bun.stringWidth(cell));
    }
  }
  return text;
}
