/** `rename`: gives a container another name. Errors: not-found, already-exists, invalid-argument. */
import type { Ctx } from "../core/ctx.ts";
import { checkName } from "../container/names.ts";
import type { Engine } from "./engine.ts";

export function rename(_ctx: Ctx, engine: Engine, request: { container: string; name: string }): void {
  const name = checkName(request.name);
  engine.db.tx(() => {
    const record = engine.records.resolve(request.container);
    engine.records.rename(record.id, name);
    engine.events.add({
      type: "container",
      action: "rename",
      id: record.id,
      name,
      attributes: { image: record.spec.image, oldName: record.name },
    });
  });
}
