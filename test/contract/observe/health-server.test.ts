import { createServer, type Server } from 'node:http';
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { createHealth, createLogger, createMetrics, startHealthServer, type HealthServer } from '../../../src/observe/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { recordingLog } from '../../fakes/recording-log.js';

let server: HealthServer | undefined;
afterEach(async () => { await server?.close(); server = undefined; });

async function start() {
  const health = createHealth({ clock: systemClock, parts: ['node'] });
  server = await startHealthServer({ bind: '127.0.0.1', port: 0, health, metrics: createMetrics(), log: recordingLog().log });
  return { health, get: (path: string, method = 'GET') => fetch(`http://127.0.0.1:${server!.port}${path}`, { method }) };
}

test('/healthz answers as long as the loop turns', async () => {
  const { get } = await start();
  const response = await get('/healthz');
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ alive: { ok: true } });
});

test('/readyz is 503 with the reasons until every part is well and we can be called', async () => {
  const { health, get } = await start();
  expect((await get('/readyz')).status).toBe(503);
  health.report('node', true, 'prepared');
  const half = await get('/readyz');
  expect(half.status).toBe(503);
  expect(await half.json()).toMatchObject({ ready: { ok: true }, callable: { ok: false, reason: 'not looked at yet' } });
  health.report('callable', true, 'ping came back');
  expect((await get('/readyz?verbose')).status).toBe(200);
});

test('/metrics is text for Prometheus; anything else is 404 or 405, without a body for HEAD', async () => {
  const { get } = await start();
  const metrics = await get('/metrics');
  expect(metrics.headers.get('content-type')).toMatch(/^text\/plain/);
  expect(await metrics.text()).toContain('# TYPE agent_operation_seconds histogram');
  expect((await get('/etc/passwd')).status).toBe(404);
  expect((await get('/healthz', 'POST')).status).toBe(405);
  expect(await (await get('/healthz', 'HEAD')).text()).toBe('');
});

test('a port that is taken is refused in a sentence that names the option', async () => {
  const other: Server = createServer();
  await new Promise<void>((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  const { port } = other.address() as AddressInfo;
  const health = createHealth({ clock: systemClock, parts: [] });
  await expect(startHealthServer({ bind: '127.0.0.1', port, health, metrics: createMetrics(), log: recordingLog().log })).rejects.toMatchObject({ code: 'http-bind', message: expect.stringContaining('http_port') as string });
  await new Promise((resolve) => { other.close(resolve); });
});

test('a log file is not for everybody, and is begun anew when newsyslog has moved it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'log-'));
  const file = join(folder, 'agent.log');
  const { log, reopen } = createLogger({ level: 'info', file, secrets: [] });
  log.info('one');
  expect(statSync(file).mode & 0o007).toBe(0);
  renameSync(file, `${file}.0`);
  log.info('two');
  reopen();
  log.info('three');
  expect(readFileSync(`${file}.0`, 'utf8').match(/"msg":"\w+"/g)).toEqual(['"msg":"one"', '"msg":"two"']);
  expect(readFileSync(file, 'utf8').match(/"msg":"\w+"/g)).toEqual(['"msg":"three"']);
  rmSync(folder, { recursive: true });
});

test('a log file that cannot be opened is refused in a sentence that names the option', () => {
  expect(() => createLogger({ level: 'info', file: '/nonexistent/agent.log', secrets: [] })).toThrow(expect.objectContaining({ code: 'log-file' }));
});
