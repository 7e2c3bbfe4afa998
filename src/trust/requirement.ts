/** One requirement of a policy, read strictly (containers-policy.json(5), "Policy Requirements"). */
import { invalid, type JsonObject } from "../image/document.ts";
import { excerpt } from "../image/digest.ts";
import { parseIdentity } from "./identity.ts";
import { exactObject, requiredString } from "./strict-json.ts";
import type { Fulcio, Material, Requirement, SigstoreSigned } from "./trust.ts";

const WHAT = "policy";

/** Errors: invalid-argument, also for an empty list: what accepts everything must say so. */
export function parseRequirements(field: string, value: unknown): Requirement[] {
  if (!Array.isArray(value)) throw invalid(WHAT, `${field} is not a list of requirements`);
  if (value.length === 0) throw invalid(WHAT, `${field} is an empty list`);
  return value.map((item, i) => parseRequirement(`${field}[${i}]`, item));
}

function parseRequirement(field: string, value: unknown): Requirement {
  const type = typeof value === "object" && value !== null && "type" in value ? value.type : undefined;
  switch (type) {
    case "insecureAcceptAnything":
    case "reject":
      exactObject(WHAT, field, value, ["type"]);
      return { type };
    case "signedBy":
      checkSignedBy(field, value);
      return { type };
    case "signedBaseLayer":
      parseIdentity(
        field,
        exactObject(WHAT, field, value, ["type", "baseLayerIdentity"])["baseLayerIdentity"],
      );
      return { type };
    case "sigstoreSigned":
      return parseSigstoreSigned(field, value);
    default:
      throw invalid(
        WHAT,
        `${field} has ${typeof type === "string" ? `the unknown type "${excerpt(type)}"` : "no type"}`,
      );
  }
}

function checkSignedBy(field: string, value: unknown): void {
  const fields = exactObject(WHAT, field, value, [
    "type",
    "keyType",
    "keyPath",
    "keyPaths",
    "keyData",
    "signedIdentity",
  ]);
  const keyType = requiredString(WHAT, `${field}.keyType`, fields["keyType"]);
  if (keyType !== "GPGKeys") throw invalid(WHAT, `${field} has the unknown keyType "${excerpt(keyType)}"`);
  if (material(field, "key", fields) === undefined) {
    throw invalid(WHAT, `${field} names no key: it needs keyPath, keyPaths or keyData`);
  }
  parseIdentity(field, fields["signedIdentity"]);
}

const SIGSTORE_KEYS = [
  "type",
  "keyPath",
  "keyPaths",
  "keyData",
  "keyDatas",
  "fulcio",
  "pki",
  "rekorPublicKeyPath",
  "rekorPublicKeyPaths",
  "rekorPublicKeyData",
  "rekorPublicKeyDatas",
  "signedIdentity",
];

function parseSigstoreSigned(field: string, value: unknown): SigstoreSigned {
  const fields = exactObject(WHAT, field, value, SIGSTORE_KEYS);
  const keys = material(field, "key", fields);
  const { fulcio, pki } = fields;
  const roots = [keys, fulcio, pki].filter((root) => root !== undefined);
  if (roots.length !== 1) {
    throw invalid(
      WHAT,
      `${field} needs exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki, it has ${roots.length}`,
    );
  }
  const rekorKeys = material(field, "rekorPublicKey", fields) ?? [];
  if (fulcio !== undefined && rekorKeys.length === 0) {
    throw invalid(WHAT, `${field} has fulcio without rekorPublicKeyPath or rekorPublicKeyData`);
  }
  if (pki !== undefined && rekorKeys.length > 0)
    throw invalid(WHAT, `${field} has pki together with a Rekor key`);
  return {
    type: "sigstoreSigned",
    keys: keys ?? [],
    ...(fulcio === undefined ? {} : { fulcio: parseFulcio(`${field}.fulcio`, fulcio) }),
    pki: pki !== undefined,
    rekorKeys,
    identity: parseIdentity(field, fields["signedIdentity"]),
  };
}

function parseFulcio(field: string, value: unknown): Fulcio {
  const fields = exactObject(WHAT, field, value, ["caPath", "caData", "oidcIssuer", "subjectEmail"]);
  const ca = material(field, "ca", fields);
  if (ca === undefined) throw invalid(WHAT, `${field} needs caPath or caData`);
  return {
    ca: ca[0] as Material,
    oidcIssuer: requiredString(WHAT, `${field}.oidcIssuer`, fields["oidcIssuer"]),
    subjectEmail: requiredString(WHAT, `${field}.subjectEmail`, fields["subjectEmail"]),
  };
}

/** What `NAMEPath`, `NAMEPaths`, `NAMEData` or `NAMEDatas` gives; at most one of them may stand there. */
function material(field: string, name: string, fields: JsonObject): Material[] | undefined {
  const given = [`${name}Path`, `${name}Paths`, `${name}Data`, `${name}Datas`].filter(
    (key) => fields[key] !== undefined,
  );
  if (given.length > 1) throw invalid(WHAT, `${field} has both ${given.join(" and ")}`);
  const [key] = given;
  if (key === undefined) return undefined;
  const items = key.endsWith("s") ? nonEmptyList(`${field}.${key}`, fields[key]) : [fields[key]];
  return items.map((item) => {
    const text = requiredString(WHAT, `${field}.${key}`, item);
    return key.includes("Path") ? { path: text } : { data: base64(`${field}.${key}`, text) };
  });
}

function nonEmptyList(field: string, value: unknown): unknown[] {
  if (Array.isArray(value) && value.length > 0) return value;
  throw invalid(WHAT, `${field} is not a list with entries`);
}

function base64(field: string, text: string): Uint8Array {
  // Buffer.from passes over what is not base64.
  if (!/^[A-Za-z0-9+/\r\n]*={0,2}\s*$/.test(text)) throw invalid(WHAT, `${field} is not base64`);
  return new Uint8Array(Buffer.from(text, "base64"));
}
