/** An object as an indented outline, as podman's `info` prints it (YAML, quoted where YAML needs it). */

function scalar(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (typeof value !== "string") return String(value);
  if (value === "") return '""';
  const plain = /^[\p{L}\p{N}/_.][^\n#"]*$/u.test(value) && !/: |:$|\s$/.test(value);
  const ambiguous = /^(true|false|yes|no|on|off|null|~|[\d.+-]+([eE]\d+)?)$/i.test(value);
  return plain && !ambiguous ? value : JSON.stringify(value);
}

function isNested(value: unknown): value is object {
  return typeof value === "object" && value !== null && Object.keys(value).length > 0;
}

function empty(value: object): string {
  return Array.isArray(value) ? "[]" : "{}";
}

function lines(value: object, indent: string): string[] {
  if (Array.isArray(value)) {
    return value.flatMap((item: unknown) => {
      if (!isNested(item))
        return [`${indent}- ${typeof item === "object" && item !== null ? empty(item) : scalar(item)}`];
      const [first = "", ...rest] = lines(item, `${indent}  `);
      return [`${indent}- ${first.trimStart()}`, ...rest];
    });
  }
  return Object.entries(value).flatMap(([key, item]: [string, unknown]) => {
    if (isNested(item))
      return [`${indent}${key}:`, ...lines(item, `${indent}${Array.isArray(item) ? "" : "  "}`)];
    return [`${indent}${key}: ${typeof item === "object" && item !== null ? empty(item) : scalar(item)}`];
  });
}

export function outline(value: object): string {
  return `${lines(value, "").join("\n")}\n`;
}
