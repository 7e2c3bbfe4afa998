/** `--format` for whole objects (`inspect`, `info`, `version`): JSON or a template for each. */
import type { Invocation } from "./command.ts";
import { unescapeFormat } from "./listing.ts";

/** Prints the template's text for the object and a newline. Errors: invalid-argument. */
export async function printFormatted(
  to: Pick<Invocation, "out">,
  format: string,
  object: object,
  typeName?: string,
): Promise<void> {
  const { parseTemplate } = await import("./template/parse.ts");
  const { executeTemplate } = await import("./template/eval.ts");
  const options = typeName === undefined ? {} : { typeName };
  const text = executeTemplate(parseTemplate(unescapeFormat(format), "inspect"), object, options);
  to.out.line(text);
}

export async function printJson(to: Pick<Invocation, "out">, value: unknown): Promise<void> {
  const { toJson } = await import("./template/functions.ts");
  to.out.line(toJson(value, { indent: "    " }));
}
