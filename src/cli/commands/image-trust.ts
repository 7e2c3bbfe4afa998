import { fail } from "../../core/error.ts";
import type { TrustEntry } from "../../engine/trust.ts";
import { defineCommand } from "../command.ts";
import { noHeadingFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";

const HEADINGS = {
  Transport: "TRANSPORT",
  Name: "NAME",
  Type: "TYPE",
  Signer: "ID",
  Identity: "SIGNED IDENTITY",
};

/** podman's words. */
const TYPES: Record<TrustEntry["type"], string> = {
  insecureAcceptAnything: "accept",
  reject: "reject",
  signedBy: "signed",
  signedBaseLayer: "signedBaseLayer",
  sigstoreSigned: "sigstoreSigned",
};

const ALL: TrustEntry[] = [
  { transport: "all", scope: "default", type: "insecureAcceptAnything", signers: [] },
];

export const imageTrustShowCommand = defineCommand({
  usage: "[options] [IMAGE]",
  description:
    "Shows the policy that says which images may be used, or only what decides for one image. Without a policy file everything may.",
  examples: [
    "image trust show",
    "image trust show quay.io/prometheus/busybox:latest",
    "image trust show --raw",
  ],
  flags: {
    json: { type: "bool", short: "j", help: "As JSON" },
    ...noHeadingFlag,
    raw: { type: "bool", help: "The policy file as it is" },
  },
  args: { min: 0, max: 1 },
  quick: true,
  completes: { first: "images" },
  async run(invocation) {
    const { ctx, flags, args, out } = invocation;
    const { trustEntries, trustFile } = await import("../../engine/trust.ts");
    const found = trustFile(ctx, invocation.options());
    if (flags.raw) return out.bytes(found?.bytes ?? new Uint8Array());
    const entries = found === undefined ? ALL : trustEntries(ctx, found, args[0]);
    await printListing(invocation, {
      rows: entries.map(rowOf),
      format: flags.json ? "json" : undefined,
      columns: ["Transport", "Name", "Type", "Signer", "Identity"],
      headings: HEADINGS,
      json: () => entries.map(jsonOf),
      noHeading: flags.noheading,
    });
  },
});

function rowOf({ transport, scope, type, signers, identity = "" }: TrustEntry): object {
  return {
    Transport: transport === "docker" ? "repository" : transport,
    Name: scope === "" ? "(all)" : scope,
    Type: TYPES[type],
    Signer: signers.join(", "),
    Identity: identity,
  };
}

function jsonOf({ transport, scope, type, signers, identity }: TrustEntry): object {
  return {
    transport: transport === "docker" ? "repository" : transport,
    name: scope === "default" ? "* (default)" : scope,
    repo_name: scope,
    type: TYPES[type],
    ...(signers.length === 0 ? {} : { signers }),
    ...(identity === undefined ? {} : { signed_identity: identity }),
  };
}

export const imageTrustSetCommand = defineCommand({
  usage: "[options] REGISTRY[/REPOSITORY]|default",
  description:
    "Changes one entry of the policy: what images of a registry, name space or repository must be to be used.",
  examples: [
    "image trust set -t reject default",
    "image trust set -t accept docker.io/library",
    "image trust set -t sigstoreSigned -f /etc/pki/team.pub --any-tag registry.example.com/team",
  ],
  flags: {
    "any-tag": {
      type: "bool",
      help: "A signature for the repository is enough, whatever the tag (cosign names none)",
    },
    pubkeysfile: {
      type: "list",
      short: "f",
      value: "FILE",
      help: "Public key (PEM) that must have signed; one of several is enough",
    },
    type: {
      type: "string",
      short: "t",
      value: "TYPE",
      choices: ["accept", "reject", "sigstoreSigned", "signedBy"],
      default: "sigstoreSigned",
      help: "What is asked of images: accept, reject, sigstoreSigned",
    },
  },
  args: { min: 1, max: 1 },
  async run(invocation) {
    const { ctx, flags, args } = invocation;
    const { type } = flags;
    if (type === "signedBy") {
      throw fail("unimplemented", 'trust of type "signedBy" (OpenPGP signatures) is not supported', {
        hint: "sign with cosign, and use --type sigstoreSigned",
      });
    }
    const { setTrust } = await import("../../engine/trust.ts");
    setTrust(ctx, invocation.options(), {
      scope: args[0] as string,
      type: type as "accept" | "reject" | "sigstoreSigned",
      keys: flags.pubkeysfile.map((path) => (path.startsWith("/") ? path : `${process.cwd()}/${path}`)),
      anyTag: flags["any-tag"],
    });
  },
});
