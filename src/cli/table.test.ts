import { describe, expect, test } from "bun:test";
import { printListing } from "./listing.ts";
import type { Output } from "./output.ts";
import { personalityOf } from "./personality.ts";
import { renderTable } from "./table.ts";

describe("renderTable", () => {
  test("podman: two spaces between, no column under twelve", () => {
    expect(
      renderTable(
        [
          ["ID", "NAME"],
          ["0123456789abcdef", "x"],
        ],
        2,
      ),
    ).toBe("ID                NAME\n0123456789abcdef  x\n");
    expect(renderTable([["A", "B"]], 2)).toBe("A           B\n");
  });
  test("docker: three spaces between, no column under ten", () => {
    expect(
      renderTable(
        [
          ["0123456789ab", "B"],
          ["c", "d"],
        ],
        3,
      ),
    ).toBe("0123456789ab   B\nc              d\n");
    expect(renderTable([["A", "B"]], 3)).toBe("A         B\n");
  });
  test("wide characters count as what they take", () => {
    expect(
      renderTable(
        [
          ["港港港港港港", "x"],
          ["a", "y"],
        ],
        2,
      ),
    ).toBe("港港港港港港  x\na             y\n");
  });
});

function captured(name: string): { to: Parameters<typeof printListing>[0]; text: () => string } {
  let text = "";
  const out = { write: (part: string) => (text += part), line: (part: string) => (text += `${part}\n`) };
  return { to: { out: out as unknown as Output, personality: personalityOf(name) }, text: () => text };
}

const listing = {
  rows: [
    { ID: "1", Name: "a", Labels: { x: "1" } },
    { ID: "2", Name: "b", Labels: {} },
  ],
  columns: ["ID", "Name"],
  headings: { ID: "THE ID", Name: "NAME", Labels: "LABELS" },
};

async function show(name: string, format: string | undefined, more: object = {}): Promise<string> {
  const { to, text } = captured(name);
  await printListing(to, { ...listing, format, ...more });
  return text();
}

describe("printListing", () => {
  const cases: [string, string, string | undefined, string][] = [
    ["default", "podman", undefined, "THE ID      NAME\n1           a\n2           b\n"],
    ["default", "docker", undefined, "THE ID    NAME\n1         a\n2         b\n"],
    ["table alone", "podman", "table", "THE ID      NAME\n1           a\n2           b\n"],
    ["template", "podman", "{{.ID}}={{.Name}}", "1=a\n2=b\n"],
    ["template with escapes", "podman", "{{.ID}}\\t{{.Name}}\\n", "1\ta\n2\tb\n"],
    [
      "table template",
      "podman",
      "table {{.Name}}\\t{{.ID}}",
      "NAME        THE ID\na           1\nb           2\n",
    ],
    ["whole list", "podman", "{{range .}}{{.ID}}{{end}}", "12"],
    [
      "json",
      "docker",
      "json",
      '{"ID":"1","Name":"a","Labels":{"x":"1"}}\n{"ID":"2","Name":"b","Labels":{}}\n',
    ],
  ];
  for (const [title, name, format, want] of cases) {
    test(`${title}, ${name}`, async () => expect(await show(name, format)).toBe(want));
  }
  test("podman's json is one indented array", async () => {
    const text = await show("podman", "json");
    expect(JSON.parse(text)).toEqual(listing.rows as unknown[]);
    expect(text).toStartWith('[\n    {\n        "ID": "1"');
  });
  test("no heading", async () =>
    expect(await show("podman", undefined, { noHeading: true })).toStartWith("1  "));
  test("an empty list has its heading all the same", async () => {
    expect(await show("podman", undefined, { rows: [] })).toBe("THE ID      NAME\n");
  });
  test("an unknown field is an error", () => {
    expect(show("podman", "{{.Nope}}")).rejects.toThrow("can't evaluate field Nope");
  });
});
