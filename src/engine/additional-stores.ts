/**
 * Which additional stores there are: those of `--additional-store` or BERTH_ADDITIONAL_STORES, then those that
 * containers-storage.conf(5) names under `additionalimagestores`. Asked only when the own store lacks something.
 */
import { existsSync, readFileSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { ioText, messageOf } from "../core/error.ts";
import type { AdditionalStores } from "../storage/additional.ts";
import type { AdditionalRequest } from "../storage/additional-open.ts";
import { hasCode } from "../sys/errno.ts";

type Request = Omit<AdditionalRequest, "roots" | "warn"> & {
  /** As given to this program. */
  given: readonly string[];
};

export function openAdditionalStores(ctx: Ctx, request: Request): AdditionalStores {
  const { given, ...rest } = request;
  let stores: AdditionalStores | undefined;
  const open = (): AdditionalStores => {
    const roots = [...given, ...rootsOfConf(ctx)];
    if (roots.length === 0) return () => [];
    const { additionalStores } =
      require("../storage/additional-open.ts") as typeof import("../storage/additional-open.ts");
    return additionalStores({ ...rest, roots: () => roots, warn: (message) => ctx.log.warn(message) });
  };
  return () => (stores ??= open())();
}

const CONF_FILES = ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];

/** Of the first file there is. Stores of other engines may stand in it as well: they are no business of ours. */
function rootsOfConf(ctx: Ctx): string[] {
  const named = process.env["CONTAINERS_STORAGE_CONF"] ?? "";
  for (const path of named === "" ? CONF_FILES : [named]) {
    const text = readConf(ctx, path);
    if (text === undefined) continue;
    try {
      return additionalImageStores(text).filter((root) => {
        const isOurs = existsSync(`${root}/berth.db`);
        if (!isOurs) ctx.log.debug(`additional store "${root}" of ${path} is no store of berth`);
        return isOurs;
      });
    } catch (error) {
      ctx.log.warn(`${path} is ignored: ${messageOf(error)}`);
      return [];
    }
  }
  return [];
}

function readConf(ctx: Ctx, path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (!hasCode(error, "ENOENT", "ENOTDIR")) ctx.log.warn(`cannot read ${path}: ${ioText(error)}`);
    return undefined;
  }
}

/** `storage.options.additionalimagestores` of a storage.conf. Errors: what the TOML parser says, or which value is wrong. */
export function additionalImageStores(text: string): string[] {
  // Mostly it only stands there as a comment, or not at all.
  if (!/^\s*(storage\.options\.)?(options\.)?additionalimagestores\b/m.test(text)) return [];
  const found = storeList(Bun.TOML.parse(text));
  const isList = Array.isArray(found) && found.every((root) => typeof root === "string");
  if (!isList) throw new Error("additionalimagestores is not a list of directories");
  const odd = (found as string[]).find((root) => !root.startsWith("/"));
  if (odd !== undefined) throw new Error(`additionalimagestores has "${odd}", which is no absolute path`);
  return found as string[];
}

function storeList(conf: object): unknown {
  let value: unknown = conf;
  for (const key of ["storage", "options", "additionalimagestores"]) {
    if (typeof value !== "object" || value === null) return [];
    value = (value as Record<string, unknown>)[key] ?? [];
  }
  return value;
}
