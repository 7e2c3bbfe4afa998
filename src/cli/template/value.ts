/** What Go sees in our values: kinds, truth, which objects are maps, and the words for types in messages. */

export type Kind = "nil" | "bool" | "int" | "float" | "string" | "list" | "map" | "struct" | "func";

/** Fields of inspect, info and list output whose type in Go is a map. */
const MAP_FIELDS = new Set([
  "Annotations",
  "Attributes",
  "BuildArgs",
  "Config.Volumes",
  "Data",
  "DriverOpts",
  "ExposedPorts",
  "GlobalMounts",
  "IPAMOptions",
  "Labels",
  "Networks",
  "NamesHistoryMap",
  "Options",
  "Ports",
  "PortBindings",
  "Sysctls",
  "Tmpfs",
  "UnifiedCgroups",
  "Volumes",
]);

/** Knows which plain objects are maps; marks them as they are reached by field name. */
export class Shapes {
  readonly #all: boolean;
  readonly #maps = new WeakSet<object>();

  constructor(all: boolean) {
    this.#all = all;
  }

  /** Notes what `field` led to; returns the value. */
  reached(field: string, value: unknown): unknown {
    if (MAP_FIELDS.has(field) && isObject(value) && !Array.isArray(value)) this.#maps.add(value);
    return value;
  }

  isMap(value: object): boolean {
    return this.#all || value instanceof Map || this.#maps.has(value);
  }

  kind(value: unknown): Kind {
    if (value === undefined || value === null) return "nil";
    if (typeof value === "object") {
      if (Array.isArray(value)) return "list";
      return this.isMap(value) ? "map" : "struct";
    }
    if (typeof value === "number") return Number.isInteger(value) ? "int" : "float";
    if (typeof value === "bigint") return "int";
    if (typeof value === "boolean") return "bool";
    return typeof value === "function" ? "func" : "string";
  }

  typeName(value: unknown): string {
    const names: Record<Kind, string> = {
      nil: "<nil>",
      bool: "bool",
      int: "int",
      float: "float64",
      string: "string",
      list: "[]interface {}",
      map: "map[string]interface {}",
      struct: "struct",
      func: "func",
    };
    return names[this.kind(value)];
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** True for a field whose value Go prints with its keys in order. */
export function isMapField(name: string): boolean {
  return MAP_FIELDS.has(name);
}

/** Keys of a map in Go's printing order (byte order). */
export function sortedEntries(map: object): [string, unknown][] {
  const entries = map instanceof Map ? [...(map as Map<string, unknown>)] : Object.entries(map);
  return entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** Neither false nor 0, nil, empty text, empty list or empty map; a struct is always true. */
export function isTrue(shapes: Shapes, value: unknown): boolean {
  switch (shapes.kind(value)) {
    case "nil":
      return false;
    case "bool":
      return value as boolean;
    case "int":
    case "float":
      return Number(value) !== 0;
    case "string":
      return value !== "";
    case "list":
      return (value as unknown[]).length > 0;
    case "map":
      return sizeOfMap(value as object) > 0;
    case "struct":
    case "func":
      return true;
  }
}

export function sizeOfMap(map: object): number {
  return map instanceof Map ? map.size : Object.keys(map).length;
}

export function mapGet(map: object, key: string): unknown {
  if (map instanceof Map) return (map as Map<string, unknown>).get(key);
  return Object.hasOwn(map, key) ? (map as Record<string, unknown>)[key] : undefined;
}
