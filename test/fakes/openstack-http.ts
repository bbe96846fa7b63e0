/**
 * A loopback HTTP server that plays Keystone, with tokens that expire and can be revoked, and any other service by a handler per path
 * prefix. A handler may also break the connection or never answer: real servers do both.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

export interface FakeRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
  /** How many requests this connection carried before. */
  readonly earlierOnConnection: number;
}

export type FakeReply =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: unknown; readonly octets?: Uint8Array; /** Break off after the octets. */ readonly cut?: boolean }
  | 'reset' | 'hang';
export type FakeHandler = (request: FakeRequest) => FakeReply | Promise<FakeReply>;

export interface FakeCloud {
  readonly url: string;
  readonly requests: FakeRequest[];
  /** Handlers by path prefix (longest wins). */
  readonly services: Map<string, FakeHandler>;
  readonly keystone: FakeKeystone;
  close(): Promise<void>;
}

export interface FakeKeystone {
  /** Bodies of the logins, in order. */
  readonly logins: unknown[];
  readonly tokens: Set<string>;
  lifetimeMs: number;
  password: string;
  /** Of whoever logs in. */
  roles: string[];
  catalog: unknown[];
  /** 401 unless X-Auth-Token is good. */
  guard(handler: FakeHandler): FakeHandler;
}

export async function startFakeCloud(tls?: ServerOptions): Promise<FakeCloud> {
  const requests: FakeRequest[] = [];
  const services = new Map<string, FakeHandler>();
  const counts = new WeakMap<Socket, number>();
  const sockets = new Set<Socket>();
  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const parts: Buffer[] = [];
    for await (const part of incoming) parts.push(part as Buffer);
    const url = new URL(incoming.url ?? '/', 'http://fake');
    const octets = Buffer.concat(parts);
    const isOctets = incoming.headers['content-type'] === 'application/octet-stream';
    const earlier = counts.get(incoming.socket) ?? 0;
    counts.set(incoming.socket, earlier + 1);
    const request: FakeRequest = { method: incoming.method ?? '', path: url.pathname, query: url.searchParams, headers: incoming.headers as Record<string, string>,
      body: octets.length === 0 ? undefined : isOctets ? octets : (JSON.parse(octets.toString('utf8')) as unknown), earlierOnConnection: earlier };
    requests.push(request);
    const prefix = [...services.keys()].filter((one) => request.path.startsWith(one)).sort((a, b) => b.length - a.length)[0];
    answer(response, prefix === undefined ? { status: 404 } : await services.get(prefix)!(request));
  };
  const listener = (incoming: IncomingMessage, response: ServerResponse): void => void serve(incoming, response);
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const keystone = createKeystone(url);
  services.set('/v3/auth/tokens', keystone.handle);
  return {
    url, requests, services, keystone,
    close: () => new Promise((resolve) => {
      for (const socket of sockets) socket.destroy();
      server.close(() => resolve());
    }),
  };
}

function answer(response: ServerResponse, reply: FakeReply): void {
  if (reply === 'hang') return;
  if (reply === 'reset') {
    response.socket?.resetAndDestroy();
    return;
  }
  const json = reply.body === undefined ? '' : JSON.stringify(reply.body);
  const octets = reply.octets ?? Buffer.from(json);
  response.writeHead(reply.status, { 'content-type': 'application/json', 'content-length': String(octets.length + (reply.cut === true ? 1 : 0)), ...reply.headers });
  if (reply.cut !== true) response.end(octets);
  else response.write(octets, () => response.socket?.destroy());
}

function createKeystone(url: string): FakeKeystone & { readonly handle: FakeHandler } {
  let issued = 0;
  const endpoints = (region: string, suffix: string): unknown[] => ['public', 'internal', 'admin'].map((name) => ({ interface: name, region, region_id: region, url: `${url}/${name}${suffix}` }));
  const keystone: FakeKeystone & { readonly handle: FakeHandler } = {
    logins: [], tokens: new Set(), lifetimeMs: 3_600_000, password: 'secret-password', roles: ['service'],
    catalog: [{ type: 'network', endpoints: [...endpoints('RegionTwo', '/two'), ...endpoints('RegionOne', '/network/v2.0/')] }, { type: 'image', endpoints: endpoints('RegionOne', '/image') },
      { type: 'placement', endpoints: endpoints('RegionOne', '/placement') }],
    guard: (handler) => (request) => (keystone.tokens.has(request.headers['x-auth-token'] ?? '') ? handler(request) : { status: 401, body: { error: { message: 'no' } } }),
    handle: (request) => {
      const { auth } = request.body as { auth: { identity: { password?: { user: { password: string } }; application_credential?: { secret: string } } } };
      keystone.logins.push(auth);
      if ((auth.identity.password?.user.password ?? auth.identity.application_credential?.secret) !== keystone.password) return { status: 401, body: { error: { code: 401 } } };
      const token = `token-${(issued += 1)}`;
      keystone.tokens.add(token);
      const now = Date.parse('2020-01-01T00:00:00Z');
      return { status: 201, headers: { 'X-Subject-Token': token }, body: { token: { issued_at: new Date(now).toISOString(), expires_at: new Date(now + keystone.lifetimeMs).toISOString(), catalog: keystone.catalog, roles: keystone.roles.map((name) => ({ id: name, name })) } } };
    },
  };
  return keystone;
}
