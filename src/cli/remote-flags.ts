/** Flags of the commands that name places outside the store: tables only, because quick commands have them too. */
import { patienceFlags, registryFlags } from "./container-flags.ts";
import type { FlagSpec, FlagTable } from "./flags.ts";

/** Which image of an index; skopeo's names and podman's. */
export const overrideFlags = {
  "override-arch": { type: "string", value: "ARCH", help: "Choose the image for this architecture" },
  "override-os": { type: "string", value: "OS", help: "Choose the image for this operating system" },
  "override-variant": { type: "string", value: "VARIANT", help: "Choose the image for this variant" },
  platform: { type: "string", value: "OS/ARCH[/VARIANT]", help: "Choose the image for this platform" },
} as const satisfies FlagTable;

/** Flags for one registry: inspect, tags, delete. */
export const oneRegistryFlags = {
  "no-creds": { type: "bool", help: "Be nobody there" },
  username: { type: "string", value: "USER", help: "User name for the registry" },
  password: { type: "string", value: "PASSWORD", help: "Password for the registry" },
  "registry-token": { type: "string", hidden: true, unsupported: true, help: "Bearer token" },
  "daemon-host": { type: "string", hidden: true, unsupported: true, help: "Docker's daemon" },
  "shared-blob-dir": { type: "string", hidden: true, unsupported: true, help: "Shared blobs" },
} as const satisfies FlagTable;

/** Flags for source and destination. */
export const twoPlacesFlags: FlagTable = {
  authfile: { type: "string", value: "FILE", help: "Credentials for both registries" },
  "tls-verify": { type: "bool", default: true, help: "Require HTTPS with a valid certificate on both sides" },
  ...patienceFlags,
  ...sideFlags("src", "the source"),
  ...sideFlags("dest", "the destination"),
};

function sideFlags(side: string, where: string): FlagTable {
  const text = (value: string, help: string): FlagSpec => ({ type: "string", value, help });
  const refused = (help: string): FlagSpec => ({ type: "string", hidden: true, unsupported: true, help });
  return {
    [`${side}-authfile`]: text("FILE", `Credentials for ${where}`),
    [`${side}-cert-dir`]: text("DIR", `*.crt to trust and *.cert, *.key to show to ${where}`),
    [`${side}-creds`]: text("USER:PASSWORD", `Credentials for ${where}`),
    [`${side}-no-creds`]: { type: "bool", help: `Be nobody at ${where}` },
    [`${side}-username`]: text("USER", `User name for ${where}`),
    [`${side}-password`]: text("PASSWORD", `Password for ${where}`),
    [`${side}-tls-verify`]: {
      type: "bool",
      default: true,
      help: `Require HTTPS with a valid certificate at ${where}`,
    },
    [`${side}-daemon-host`]: refused("Docker's daemon"),
    [`${side}-registry-token`]: refused("Bearer token"),
    [`${side}-shared-blob-dir`]: refused("Shared blobs"),
  };
}

/** What `inspect` has besides its own flags. */
export const remoteFlags = {
  remote: { type: "bool", help: "Look at an image on its registry, in an archive, a layout or a directory" },
  config: { type: "bool", help: "With --remote: the image's configuration" },
  raw: { type: "bool", help: "With --remote: byte for byte, the manifest or the configuration" },
  "no-tags": { type: "bool", short: "n", help: "With --remote: do not list the repository's tags" },
  ...registryFlags,
  ...oneRegistryFlags,
  ...overrideFlags,
} as const satisfies FlagTable;

/** What `rmi` has besides its own flags. */
export const deleteFlags = {
  remote: { type: "bool", help: "Delete images on their registries, not here" },
  ...registryFlags,
  ...oneRegistryFlags,
} as const satisfies FlagTable;
