/** A real `docker-registry` (Debian's package) on a free loopback port, with temporary storage; plain, TLS, or Basic. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface DockerRegistry extends AsyncDisposable {
  /** "127.0.0.1:PORT" */
  host: string;
  /** PEM of the authority that signed its certificate, and the directory that holds it as ca.crt. */
  certDir?: string;
}

export interface DockerRegistryOptions {
  tls?: boolean;
  login?: { username: string; password: string };
  /** Manifests may name layers that lie elsewhere. */
  urls?: boolean;
  /** Bearer tokens of this service, signed with the key of this certificate. */
  token?: { realm: string; service: string; issuer: string; certificate: string };
}

export const haveDockerRegistry = existsSync("/usr/bin/docker-registry");

export async function startDockerRegistry(options: DockerRegistryOptions = {}): Promise<DockerRegistry> {
  const directory = mkdtempSync(join(tmpdir(), "berth-registry-"));
  const port = freePort();
  const host = `127.0.0.1:${port}`;
  const lines = [
    "version: 0.1",
    "log: {level: error, accesslog: {disabled: true}}",
    `storage: {filesystem: {rootdirectory: ${directory}/data}, delete: {enabled: true}}`,
    "http:",
    `  addr: ${host}`,
  ];
  if (options.urls === true) lines.unshift("validation: {manifests: {urls: {allow: ['.*']}}}");
  if (options.tls === true) {
    await makeCertificate(directory);
    lines.push(`  tls: {certificate: ${directory}/server.crt, key: ${directory}/server.key}`);
  }
  if (options.login !== undefined) {
    const { username, password } = options.login;
    const hash = await Bun.password.hash(password, { algorithm: "bcrypt", cost: 4 });
    writeFileSync(`${directory}/htpasswd`, `${username}:${hash}\n`);
    lines.push(`auth: {htpasswd: {realm: test, path: ${directory}/htpasswd}}`);
  }
  if (options.token !== undefined) {
    const { realm, service, issuer, certificate } = options.token;
    lines.push(
      `auth: {token: {realm: "${realm}", service: ${service}, issuer: ${issuer}, rootcertbundle: ${certificate}}}`,
    );
  }
  writeFileSync(`${directory}/config.yml`, `${lines.join("\n")}\n`);
  const child = Bun.spawn(["/usr/bin/docker-registry", "serve", `${directory}/config.yml`], {
    stdio: ["ignore", "ignore", "ignore"],
    env: { PATH: "/usr/bin:/bin", OTEL_TRACES_EXPORTER: "none" },
  });
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await waitForPort(port);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    host,
    ...(options.tls === true ? { certDir: join(directory, "ca") } : {}),
    [Symbol.asyncDispose]: stop,
  };
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

async function waitForPort(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    try {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } });
      socket.end();
      return;
    } catch {
      await Bun.sleep(25);
    }
  }
  throw new Error(`docker-registry did not open port ${port}`);
}

const key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/** An authority of its own and a certificate for 127.0.0.1 (and more names), made by openssl: `ca/ca.crt`, `server.crt`, `server.key`. */
export async function makeCertificate(directory: string, names: string[] = []): Promise<void> {
  mkdirSync(join(directory, "ca"));
  const all = ["IP:127.0.0.1", "DNS:localhost", ...names.map((name) => `DNS:${name}`)];
  writeFileSync(join(directory, "ext"), `subjectAltName=${all.join(",")}\n`);
  await openssl(directory, `req -x509 ${key} -keyout ca.key -out ca/ca.crt -days 2 -subj /CN=berth-test`);
  await openssl(directory, `req ${key} -keyout server.key -out server.csr -subj /CN=localhost`);
  await openssl(
    directory,
    "x509 -req -in server.csr -CA ca/ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.crt",
  );
}

/** A client's certificate by the authority that `makeCertificate` made: `client.cert` and `client.key` in `into`. */
export async function makeClientCertificate(directory: string, into: string): Promise<void> {
  await openssl(directory, `req ${key} -keyout ${into}/client.key -out client.csr -subj /CN=client`);
  await openssl(
    directory,
    `x509 -req -in client.csr -CA ca/ca.crt -CAkey ca.key -CAcreateserial -days 2 -out ${into}/client.cert`,
  );
}

async function openssl(cwd: string, command: string): Promise<void> {
  const child = Bun.spawn(["openssl", ...command.split(" ")], { cwd, stdio: ["ignore", "ignore", "pipe"] });
  if ((await child.exited) !== 0) throw new Error(`openssl: ${await new Response(child.stderr).text()}`);
}
