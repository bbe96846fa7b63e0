import { AxiosError, AxiosHeaders } from 'axios';
import { describe, expect, test } from 'vitest';
import { readConfig, redactConfig, secretOptions, sectionsOf } from '../../src/config/index.js';
import { AgentError } from '../../src/lib/errors.js';
import { createLogger, secretPaths, type Logger } from '../../src/observe/index.js';
import { contextFromWire, contextToWire, elevated } from '../../src/rpc/context.js';
import { RemoteError } from '../../src/rpc/index.js';
import { recordedMessages, recordedOperations } from '../fakes/wire-samples.js';

/** In every planted secret; nothing that is logged may hold it. */
const mark = 'Zq7SECRETzq7';

interface Capture { readonly log: Logger; readonly text: () => string }

function capture(secrets: readonly string[] = []): Capture {
  const lines: string[] = [];
  const { log } = createLogger({ level: 'trace', file: null, secrets, sink: { write: (line) => { lines.push(line); } } });
  return { log, text: () => lines.join('') };
}

/** Logs a value in the ways that code does: as a field, deep inside, in a list, bound to a child, with an error, as the error's details. */
function logEverywhere(log: Logger, value: unknown): void {
  log.trace({ message: value }, 'frame');
  log.debug({ a: { b: [{ c: value }] } }, 'deep');
  log.info(value as object, 'spread');
  log.child({ bound: value }).warn('bound');
  log.child({ part: 'rpc' }).child(value as object).info('bound twice');
  log.error({ err: new AgentError('x', 'failed', { details: { value }, cause: new AgentError('y', 'below', { details: { deep: { value } } }) }) }, 'failed');
  log.error({ err: Object.assign(new Error('failed'), { request: value, response: value }) }, 'foreign');
}

function expectClean({ text }: Capture, what: string): void {
  expect(text(), what).not.toBe('');
  expect(text().split('\n').filter((line) => line.includes(mark)), what).toEqual([]);
}

/** Where secrets travel in messages; found in wire.md and nova-contract 16, independently of the list in observe. */
const plantings: Readonly<Record<string, (message: Record<string, unknown>) => void>> = {
  'token of the user': (message) => { message['_context_auth_token'] = mark; },
  'admin password of a build': (message) => { argsOf(message)['admin_password'] = mark; },
  'new password': (message) => { argsOf(message)['new_pass'] = mark; },
  'injected files': (message) => { argsOf(message)['injected_files'] = [['/etc/x', mark], [mark, 'x']]; },
  'user data': (message) => { dataOf(message)['user_data'] = mark; },
  'encrypted password in system metadata': (message) => { dataOf(message)['system_metadata'] = { password_0: mark, password_1: mark, image_x: 'y' }; },
  'connection of a volume': (message) => { argsOf(message)['bdms'] = [{ 'nova_object.data': { connection_info: JSON.stringify({ data: { auth_password: mark } }) } }]; },
  'connection of a volume, decoded': (message) => { argsOf(message)['connection'] = { data: { auth_method: 'CHAP', auth_password: mark } }; },
  'console token': (message) => { message['result'] = { 'nova_object.data': { token: mark, host: 'h' } }; },
  'console URL': (message) => { message['result'] = { access_url: `http://proxy:6080/vnc_auto.html?path=%3Ftoken%3D${mark}`, url: `http://p/?token=${mark}` }; },
  'console contents': (message) => { message['console_output'] = mark; },
};

const argsOf = (message: Record<string, unknown>): Record<string, unknown> => (message['args'] ??= {}) as Record<string, unknown>;
function dataOf(message: Record<string, unknown>): Record<string, unknown> {
  const instance = (argsOf(message)['instance'] ??= {}) as Record<string, unknown>;
  return (instance['nova_object.data'] ??= {}) as Record<string, unknown>;
}

describe('no secret is in a log line', () => {
  const operations = recordedOperations();

  test.each(Object.entries(plantings))('%s, in any recorded message', (_name, plant) => {
    const all = capture();
    for (const operation of operations.slice(0, 12)) {
      for (const { message } of recordedMessages(operation).slice(0, 4)) {
        const copy = structuredClone(message) as Record<string, unknown>;
        plant(copy);
        logEverywhere(all.log, copy);
      }
    }
    expectClean(all, 'recorded message');
  }, 60_000);

  test('request contexts, as they came, as they go out and elevated', () => {
    const context = contextFromWire({ _context_auth_token: mark, _context_service_catalog: [], _context_user_id: 'u', _context_request_id: 'req-1' });
    const all = capture();
    for (const one of [context, elevated(context), contextToWire(context)]) logEverywhere(all.log, one);
    expectClean(all, 'context');
    expect(all.text()).toContain('req-1');
  });

  test('errors of HTTP, which carry the request with its tokens and bodies', () => {
    const config = { url: 'http://keystone/v3/auth/tokens', headers: new AxiosHeaders({ 'X-Auth-Token': mark, 'X-Service-Token': mark, Authorization: `Bearer ${mark}` }), data: JSON.stringify({ auth: { identity: { password: { user: { password: mark } } } } }) };
    const response = { status: 401, statusText: 'x', config, headers: { 'x-subject-token': mark, 'set-cookie': [mark] }, data: { token: { id: mark } } };
    const error = new AxiosError('Request failed with status code 401', 'ERR_BAD_REQUEST', config, { path: `/v3?token=${mark}` }, response);
    const all = capture();
    all.log.error({ err: error }, 'x');
    all.log.error(error, 'x');
    all.log.error({ err: new AgentError('http-unauthorized', 'no', { cause: error }) }, 'x');
    all.log.error({ failures: [error], other: { error } }, 'x');
    logEverywhere(all.log, { headers: config.headers.toJSON(), identity: { auth: JSON.parse(config.data) as unknown }, response });
    expectClean(all, 'axios');
    expect(all.text()).toContain('ERR_BAD_REQUEST');
  });

  test('exceptions of other services', () => {
    const all = capture();
    all.log.warn({ err: new RemoteError('ImageUnacceptable', 'nova.exception', 'x', [], { password: mark, auth_token: mark }) }, 'x');
    expectClean(all, 'remote');
  });

  test('URLs with a log-in, Fernet tokens and bearer tokens inside any text', () => {
    const all = capture();
    const texts = [
      `connect to rabbit://openstack:${mark}@c:5672/ failed`, `rabbit://a:${mark}@c1:5672,b:${mark}@c2:5672/v`, `amqps://:${mark}@c`, `gAAAAABn${mark}_-aaaaaaaaaaaaaaaaaaaaa`,
      `Authorization: Bearer ${mark}`, `http://proxy/vnc_auto.html?path=%3Ftoken%3D${mark}`, `ws://x/?token=${mark}&a=b`,
    ];
    for (const text of texts) {
      all.log.info({ text, list: [text], nested: { [text]: 1 } }, text);
      all.log.error({ err: new Error(text, { cause: new Error(text) }) }, 'x');
    }
    expectClean(all, 'texts');
  });

  test('values that the configuration calls secret, wherever they occur', () => {
    const own = `p@ss"w\\ord/${mark}`;
    const all = capture([own]);
    all.log.info({ argv: ['--x', own], text: `a ${own} b`, url: `http://u:${encodeURIComponent(own)}@h`, key: { [own]: own } }, `m ${own}`);
    all.log.error({ err: new Error(`refused ${own}`) }, 'x');
    expectClean(all, 'own secrets');
  });
});

describe('the configuration', () => {
  const line = (section: string, name: string): string => (name === 'transport_url' ? `rabbit://u:${mark}@h/` : `${mark}${section}`);
  const text = [...sectionsOf()].map(([section, options]) => {
    const login = 'auth_type' in options ? ['auth_type = password', 'auth_url = http://k', 'username = u'] : [];
    return [`[${section}]`, ...login, ...Object.keys(options).filter((name) => secretOptions.includes(`${section}.${name}`)).map((name) => `${name} = ${line(section, name)}`)].join('\n');
  }).join('\n');
  const { config } = readConfig([{ file: 'f', text: `${text}\n` }], {}, { hostname: 'h', address: '192.0.2.1' });

  test('can be logged as it is, and shown with its secrets replaced', () => {
    const all = capture();
    logEverywhere(all.log, config);
    expectClean(all, 'config');
    expect(JSON.stringify(redactConfig(config))).not.toContain(mark);
  });
});

test('what is not secret is still there', () => {
  const all = capture();
  all.log.info({ instance: 'uuid-1', ms: 12, step: 'clone-root-disk', details: { port: 'p', path: '/x', keys: [1, 2] }, password: '', token: null }, 'step done');
  const line = JSON.parse(all.text()) as Record<string, unknown>;
  expect(line).toMatchObject({ level: 'info', instance: 'uuid-1', ms: 12, step: 'clone-root-disk', details: { port: 'p', path: '/x', keys: [1, 2] }, password: '', token: null, msg: 'step done' });
  expect(typeof line['time']).toBe('string');
});

test('the list has no doubles and is written in the form that it is compared in', () => {
  expect(new Set(secretPaths).size).toBe(secretPaths.length);
  expect(secretPaths.filter((path) => path !== path.toLowerCase() || path.includes('-'))).toEqual([]);
});
