/**
 * A forwarding proxy on loopback: CONNECT tunnels and plain requests, with a password if one is set. Names are not resolved: where
 * each leads is said in `routes`, so that tests have hosts that are not this machine.
 */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  request as httpRequest,
} from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

export class ForwardProxy implements AsyncDisposable {
  /** "registry.test:443" → "127.0.0.1:PORT" */
  readonly routes = new Map<string, string>();
  /** "CONNECT registry.test:443", "GET http://…" */
  readonly seen: string[] = [];
  /** All that came in, as text: what somebody on the proxy could read. */
  heard = "";
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #wanted: string | undefined;

  private constructor(login: string | undefined) {
    this.#wanted = login === undefined ? undefined : `Basic ${Buffer.from(login).toString("base64")}`;
    this.#server = createServer((request, response) => this.#forward(request, response));
    this.#server.on("connect", (request: IncomingMessage, socket: Socket, head: Buffer) =>
      this.#tunnel(request, socket, head),
    );
    this.#server.on("connection", (socket: Socket) => this.#sockets.add(socket));
  }

  /** `login` is "user:password". */
  static async start(login?: string): Promise<ForwardProxy> {
    const proxy = new ForwardProxy(login);
    await new Promise<void>((resolve) => void proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #allowed(request: IncomingMessage): boolean {
    this.seen.push(`${request.method} ${request.url}`);
    this.heard += `${request.method} ${request.url}\n${JSON.stringify(request.headers)}\n`;
    return this.#wanted === undefined || request.headers["proxy-authorization"] === this.#wanted;
  }

  #tunnel(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const route = this.routes.get(request.url ?? "");
    if (!this.#allowed(request) || route === undefined) {
      const status = route === undefined ? "502 Bad Gateway" : "407 Proxy Authentication Required";
      socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      return;
    }
    const [host, port] = route.split(":");
    const upstream = connect(Number(port), host, () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      upstream.write(head);
      socket.on("data", (bytes: Buffer) => void (this.heard += bytes.toString("latin1")));
      socket.pipe(upstream);
      upstream.pipe(socket);
    });
    this.#sockets.add(upstream);
    upstream.on("error", () => socket.destroy());
  }

  #forward(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "");
    const route = this.routes.get(`${url.hostname}:${url.port || "80"}`);
    if (!this.#allowed(request) || route === undefined) {
      response.writeHead(route === undefined ? 502 : 407).end();
      return;
    }
    const [host, port] = route.split(":");
    const { "proxy-authorization": _, ...headers } = request.headers;
    const options = { host, port, path: url.pathname + url.search, method: request.method, headers };
    const onward = httpRequest(options, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }
}
