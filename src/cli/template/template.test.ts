import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import golden from "../../../test/golden/template.json";
import { isKind } from "../../core/error.ts";
import { executeTemplate } from "./eval.ts";
import { parseTemplate } from "./parse.ts";

interface Case {
  template: string;
  want?: string;
  error?: string;
}

function render(template: string, data: unknown, maps: "known" | "all" = "known"): string {
  return executeTemplate(parseTemplate(template), data, { maps });
}

function errorOf(body: () => unknown): unknown {
  try {
    body();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("templates give what Go's text/template gives", () => {
  for (const { template, want, error } of golden.cases as Case[]) {
    test(JSON.stringify(template), () => {
      if (want !== undefined) {
        expect(render(template, golden.data, "all")).toBe(want);
        return;
      }
      const thrown = errorOf(() => render(template, golden.data, "all"));
      expect(isKind(thrown, "invalid-argument")).toBe(true);
      if (error !== undefined) expect((thrown as Error).message).toBe(error);
    });
  }
});

describe("structs", () => {
  const data = {
    Id: "abc",
    Name: "web",
    Config: { Labels: { b: "2", a: "1" }, Env: ["A=1"], Tty: false },
    State: { Running: true, Pid: 42, Error: "" },
    Size: 12345678901234567890n,
    NetworkSettings: { Networks: { bridge: { IPAddress: "10.87.0.2" } } },
  };
  const cases: [string, string][] = [
    ["{{.ID}} {{.id}} {{.Id}}", "abc abc abc"],
    ["{{.State}}", "{true 42 }"],
    ['{{printf "%+v" .State}}', "{Running:true Pid:42 Error:}"],
    ["{{.Config}}", "{map[a:1 b:2] [A=1] false}"],
    ["{{.Config.Labels}}", "map[a:1 b:2]"],
    ["{{.Config.Labels.zz}}", "<no value>"],
    ['{{index .Config.Labels "zz"}}|', "|"],
    ["{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPAddress}}{{end}}", "bridge 10.87.0.2"],
    ["{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "10.87.0.2"],
    ['{{(index .NetworkSettings.Networks "bridge").IPAddress}}', "10.87.0.2"],
    [
      "{{.Size}} {{json .Config}}",
      '12345678901234567890 {"Labels":{"a":"1","b":"2"},"Env":["A=1"],"Tty":false}',
    ],
  ];
  for (const [template, want] of cases) test(template, () => expect(render(template, data)).toBe(want));

  test("an unknown field is an error that names it", () => {
    const thrown = errorOf(() =>
      executeTemplate(parseTemplate("a {{.Nope}}"), data, { typeName: "container" }),
    );
    expect((thrown as Error).message).toBe(
      'template: format:1:4: executing "format" at <.Nope>: can\'t evaluate field Nope in type container',
    );
  });

  test("getters and methods of a row are fields", () => {
    class Row {
      get ID(): string {
        return "1";
      }
      Label(key: string): string {
        return `<${key}>`;
      }
    }
    expect(render('{{.Id}} {{.Label "a"}} {{"b" | .Label}}', new Row())).toBe("1 <a> <b>");
    expect(
      isKind(
        errorOf(() => render("{{.constructor}}", new Row())),
        "invalid-argument",
      ),
    ).toBe(true);
  });

  test("what Object has is not a field", () => {
    for (const name of ["constructor", "toString", "__proto__"]) {
      expect(
        isKind(
          errorOf(() => render(`{{.${name}}}`, { A: 1 })),
          "invalid-argument",
        ),
      ).toBe(true);
    }
  });
});

describe("any text", () => {
  test("without actions is itself", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        fc.pre(!text.includes("{{"));
        expect(render(text, {})).toBe(text);
      }),
    );
  });

  test("as a template either renders or fails with invalid-argument", () => {
    const words =
      '{{ }} {{- -}} . .A $x $ := = | ( ) "q" `r` 1 if else end range with define template eq printf %d /* */ break ,';
    const piece = fc.constantFrom(" ", "\n", ...words.split(" "));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        const thrown = errorOf(() => render(pieces.join(""), { A: [1, 2] }));
        expect(thrown === undefined || isKind(thrown, "invalid-argument")).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("printf survives any format", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.array(fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean())),
        (format, args) => {
          const quoted = JSON.stringify(format);
          fc.pre(!/\\u00[89]|\\ud/i.test(quoted));
          const names = args.map((_arg, i) => `(index . ${i})`).join(" ");
          const thrown = errorOf(() => render(`{{printf ${quoted} ${names}}}`, args));
          expect(thrown === undefined || isKind(thrown, "invalid-argument")).toBe(true);
        },
      ),
    );
  });
});
