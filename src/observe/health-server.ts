/** /healthz, /readyz and /metrics over HTTP, without log-in: on loopback unless the operator says otherwise. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AgentError } from '../lib/errors.js';
import type { Health } from './health.js';
import type { MetricsHandle } from './metrics.js';
import type { Logger } from './types.js';

export interface HealthServerOptions {
  /** [agent] http_bind */
  readonly bind: string;
  /** [agent] http_port */
  readonly port: number;
  readonly health: Pick<Health, 'summary'>;
  readonly metrics: MetricsHandle;
  readonly log: Logger;
}

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const json = (status: number, value: unknown): Page => ({ status, type: 'application/json', body: `${JSON.stringify(value, null, 2)}\n` });

async function pageOf(path: string, { health, metrics }: HealthServerOptions): Promise<Page> {
  const { alive, ready, callable, parts } = health.summary();
  switch (path) {
    case '/healthz': return json(200, { alive });
    case '/readyz': return json(ready.ok && callable.ok ? 200 : 503, { ready, callable, parts });
    case '/metrics': return { status: 200, type: metrics.contentType, body: await metrics.text() };
    default: return json(404, { error: 'there is /healthz, /readyz and /metrics' });
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, options: HealthServerOptions): Promise<void> {
  const isGet = request.method === 'GET' || request.method === 'HEAD';
  const page = isGet ? await pageOf((request.url ?? '/').split('?')[0]!, options) : json(405, { error: 'only GET' });
  response.writeHead(page.status, { 'content-type': page.type, 'content-length': Buffer.byteLength(page.body), 'cache-control': 'no-store' });
  response.end(request.method === 'HEAD' ? undefined : page.body);
}

function listen(server: Server, bind: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => reject(new AgentError('http-bind', `cannot listen on ${bind}:${port}; see [agent] http_bind and http_port`, { cause })));
    server.listen(port, bind, resolve);
  });
}

/** AgentError `http-bind` if the address or the port is not to be had. */
export async function startHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const server = createServer({ requestTimeout: 5000, headersTimeout: 5000, keepAliveTimeout: 5000, maxHeaderSize: 8192 }, (request, response) => {
    answer(request, response, options).catch((err: unknown) => {
      options.log.warn({ err }, 'health request not answered');
      response.destroy();
    });
  });
  server.maxConnections = 32;
  await listen(server, options.bind, options.port);
  server.on('error', (err) => options.log.warn({ err }, 'health server had an error'));
  server.unref(); // it does not keep the process alive by itself
  return {
    port: (server.address() as AddressInfo).port,
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}
