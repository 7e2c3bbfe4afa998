// Against a real docker-registry: plain on loopback, TLS with its own authority, Basic authentication.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type DockerRegistry,
  haveDockerRegistry,
  startDockerRegistry,
} from "../../test/fake/docker-registry.ts";
import { failure } from "../../test/fake/failure.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor } from "../image/image.ts";
import { OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST } from "../image/media-types.ts";
import { parseReference } from "../image/reference.ts";
import { openRegistry } from "./client.ts";
import type { RegistryClient, RegistryOptions } from "./registry.ts";

const ctx = createCtx();
const config = new TextEncoder().encode(
  '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
);
const layer = crypto.getRandomValues(new Uint8Array(60_000));

function describeBytes(mediaType: string, bytes: Uint8Array): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

async function* pieces(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 10_000) yield bytes.subarray(at, at + 10_000);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part.slice());
  return new Uint8Array(Buffer.concat(parts));
}

/** Pushes a small image, reads all of it back and compares. */
async function roundTrip(client: RegistryClient): Promise<void> {
  const configDescriptor = describeBytes(OCI_CONFIG, config);
  const layerDescriptor = describeBytes(OCI_LAYER_GZIP, layer);
  expect(await client.pushBlob(ctx, configDescriptor, () => pieces(config))).toBe("uploaded");
  expect(await client.pushBlob(ctx, layerDescriptor, () => pieces(layer))).toBe("uploaded");
  expect(await client.pushBlob(ctx, layerDescriptor, () => pieces(layer))).toBe("exists");
  const manifest = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: configDescriptor,
    layers: [layerDescriptor],
  };
  const bytes = new TextEncoder().encode(`${JSON.stringify(manifest, null, 3)}\n`);
  const digest = await client.pushManifest(ctx, "v1", OCI_MANIFEST, bytes);
  expect(digest).toBe(digestOf(bytes));

  for (const name of ["v1", digest]) {
    const fetched = await client.manifest(ctx, name);
    expect(fetched.bytes).toEqual(Buffer.from(bytes));
    expect(fetched.descriptor).toEqual({ mediaType: OCI_MANIFEST, digest, size: bytes.length });
  }
  expect(await collect(client.blob(ctx, layerDescriptor))).toEqual(layer);
  expect(await collect(client.blob(ctx, layerDescriptor, 59_990))).toEqual(layer.slice(59_990));
  expect(await client.hasBlob(ctx, layerDescriptor.digest)).toBe(true);
  expect(await client.hasBlob(ctx, digestOf("other"))).toBe(false);
  expect(await client.tags(ctx)).toEqual(["v1"]);
}

if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");

describe.skipIf(!haveDockerRegistry)("docker-registry", () => {
  let plain: DockerRegistry;
  let tls: DockerRegistry;
  let basic: DockerRegistry;
  const undo = new AsyncDisposableStack();
  const temporary = undo.use(tempDir("registry"));
  beforeAll(async () => {
    plain = undo.use(await startDockerRegistry());
    tls = undo.use(await startDockerRegistry({ tls: true }));
    basic = undo.use(await startDockerRegistry({ login: { username: "me", password: "p:ß word" } }));
  });
  afterAll(() => undo.disposeAsync());
  const textFile = (name: string, text: string): string => {
    writeFileSync(join(temporary.path, name), text);
    return join(temporary.path, name);
  };
  const empty = textFile("registries.conf", "");
  const noLogins = join(temporary.path, "no-auth.json");
  const isolated: RegistryOptions = { registriesConf: empty, authFile: noLogins };
  const open = (registry: DockerRegistry, path: string, options: RegistryOptions = {}) =>
    openRegistry(parseReference(`${registry.host}/${path}`), { ...isolated, ...options });

  test("plain HTTP on loopback", () => roundTrip(open(plain, "team/app")));

  test("TLS with an authority from certs.d", () =>
    roundTrip(open(tls, "team/app", { certDir: tls.certDir as string })));

  test("TLS without verification", () => roundTrip(open(tls, "other/app", { tlsVerify: false })));

  test("an unknown authority is an error that says what to do, and never falls back to plain HTTP", async () => {
    const error = await failure(open(tls, "x").manifest(ctx, "v1"));
    expect(error).toMatchObject({ kind: "unavailable", reason: "tls" });
    expect(error.hint).toContain(`/etc/containers/certs.d/${tls.host}/ca.crt`);
  });

  test("--tls-verify=true refuses plain HTTP even on loopback", async () => {
    expect(await failure(open(plain, "x", { tlsVerify: true }).manifest(ctx, "v1"))).toMatchObject({
      kind: "unavailable",
      reason: "network",
    });
  });

  test("Basic with given credentials", () =>
    roundTrip(open(basic, "team/app", { credentials: { username: "me", password: "p:ß word" } })));

  test("Basic with credentials from the file, longest match first", () => {
    const encode = (user: string, password: string) => Buffer.from(`${user}:${password}`).toString("base64");
    const auths = {
      [basic.host]: { auth: encode("me", "wrong") },
      [`${basic.host}/team`]: { auth: encode("me", "p:ß word") },
    };
    const authFile = textFile("auth.json", JSON.stringify({ auths }));
    return roundTrip(open(basic, "team/from-file", { authFile }));
  });

  test("Basic without or with wrong credentials is unauthenticated and tells no secret", async () => {
    for (const options of [{}, { credentials: { username: "me", password: "s3cret" } }]) {
      const error = await failure(open(basic, "team/app", options).manifest(ctx, "v1"));
      expect(error).toMatchObject({ kind: "unauthenticated" });
      expect(JSON.stringify(error) + String(error)).not.toContain("s3cret");
    }
  });

  test("a blob is mounted from a neighbour repository", async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(1000));
    const descriptor = describeBytes(OCI_LAYER_GZIP, bytes);
    await open(plain, "mount/from").pushBlob(ctx, descriptor, () => pieces(bytes));
    const target = open(plain, "mount/to");
    const never = () => expect.unreachable();
    expect(await target.pushBlob(ctx, descriptor, never, "mount/from")).toBe("mounted");
    expect(await collect(target.blob(ctx, descriptor))).toEqual(bytes);
    const other = crypto.getRandomValues(new Uint8Array(1000));
    const unknown = describeBytes(OCI_LAYER_GZIP, other);
    expect(await target.pushBlob(ctx, unknown, () => pieces(other), "mount/from")).toBe("uploaded");
  });

  test("a push of wrong bytes is refused and leaves nothing", async () => {
    const client = open(plain, "wrong/digest");
    const descriptor = { ...describeBytes(OCI_LAYER_GZIP, layer), digest: digestOf("something else") };
    expect(await failure(client.pushBlob(ctx, descriptor, () => pieces(layer)))).toMatchObject({
      kind: "invalid-argument",
    });
    expect(await client.hasBlob(ctx, descriptor.digest)).toBe(false);
  });

  test("an unknown manifest and an unknown repository", async () => {
    expect(await failure(open(plain, "no/such").manifest(ctx, "v9"))).toMatchObject({
      kind: "not-found",
      message: `manifest "v9" of "${plain.host}/no/such" not found: manifest unknown`,
    });
    expect(await failure(open(plain, "no/such").tags(ctx))).toMatchObject({ kind: "not-found" });
  });

  test("mirrors are read first, are skipped when they fail, and are never written to", async () => {
    await roundTrip(open(plain, "mirrored/app"));
    const text = `
[[registry]]
prefix = "registry.invalid"
location = "${plain.host}/mirrored"
[[registry.mirror]]
location = "127.0.0.1:1/gone"
[[registry.mirror]]
location = "${basic.host}/locked"
`;
    writeFileSync(join(temporary.path, "mirrors.conf"), text);
    const options = { ...isolated, registriesConf: join(temporary.path, "mirrors.conf") };
    const client = openRegistry(parseReference("registry.invalid/app"), options);
    expect(await client.tags(ctx)).toEqual(["v1"]);
    expect(await collect(client.blob(ctx, describeBytes(OCI_LAYER_GZIP, layer)))).toEqual(layer);
    const bytes = new TextEncoder().encode("new");
    expect(await client.pushBlob(ctx, describeBytes(OCI_CONFIG, bytes), () => pieces(bytes))).toBe(
      "uploaded",
    );
  });

  test("a canceled caller gets canceled, at once", async () => {
    const abort = new AbortController();
    const client = open(plain, "team/app");
    const stream = client.blob(createCtx({ signal: abort.signal }), describeBytes(OCI_LAYER_GZIP, layer));
    await stream[Symbol.asyncIterator]().next();
    abort.abort();
    expect(
      await failure(
        collect(client.blob(createCtx({ signal: abort.signal }), describeBytes(OCI_LAYER_GZIP, layer))),
      ),
    ).toMatchObject({ kind: "canceled" });
  });
});
