/**
 * Identifiers of containers, sandboxes and networks: 64 lower-case hexadecimal digits, random;
 * people see the first 12. Any unique prefix names the object.
 */
export function newId(): string {
  return crypto.getRandomValues(new Uint8Array(32)).toHex();
}

export function shortId(id: string): string {
  return id.slice(0, 12);
}

/** True for something that could be an id or the beginning of one. */
export function isIdPrefix(text: string): boolean {
  return /^[0-9a-f]{1,64}$/.test(text);
}
