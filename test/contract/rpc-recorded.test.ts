/** The messages that a Zed cloud exchanged, as recorded, through our envelope. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseReply, parseRequest, renderRequest, unwrap, wrap } from '../../src/rpc/envelope.js';
import { decodeFailure } from '../../src/rpc/failure.js';
import { recordedOperations } from '../fakes/wire-samples.js';

interface Recorded { readonly routing_keys: readonly string[]; readonly properties: Readonly<Record<string, unknown>>; readonly message: Readonly<Record<string, unknown>> }
/** The recorder shows JSON in a string as an object with one key that says so. */
const AS_STRING = '(this is a JSON string on the wire)';
const asOnTheWire = (_key: string, value: unknown): unknown =>
  (typeof value === 'object' && value !== null && AS_STRING in value ? JSON.stringify(value[AS_STRING]) : value);
const recorded = (operation: string): Recorded[] =>
  readFileSync(join(import.meta.dirname, '../samples/wire/zed', `${operation}.jsonl`), 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line, asOnTheWire) as Recorded);
const operations = recordedOperations().map((operation) => [operation, recorded(operation)] as const);
const requests = operations.flatMap(([, messages]) => messages.filter(({ message }) => 'method' in message));
const replies = operations.flatMap(([, messages]) => messages.filter(({ message }) => !('method' in message) && '_msg_id' in message));

test.each(operations)('every message of %s is read without loss', (_operation, messages) => {
  expect(messages.length).toBeGreaterThan(0);
  for (const { message } of messages) {
    const inner = unwrap(wrap(message));
    expect(inner).toEqual(message);
    if ('method' in message) expect(parseRequest(inner).message).toMatchObject({ method: message['method'], args: message['args'], messageId: message['_unique_id'] });
    else if ('_msg_id' in message) expect(parseReply(inner)).toMatchObject({ callId: message['_msg_id'], isEnding: message['ending'] });
  }
});

test('a request of ours has the keys of a recorded one, so no Nova service sees anything new', () => {
  expect(requests.length).toBeGreaterThan(500);
  for (const { message } of requests) {
    const { message: parsed, namespace, replyTo } = parseRequest(message);
    const ours = renderRequest({
      method: parsed.method, args: parsed.args, version: parsed.version, context: parsed.context, messageId: parsed.messageId,
      ...(namespace === null ? {} : { namespace }), ...(replyTo === null ? {} : { replyTo }),
    });
    expect(ours).toMatchObject(message);
    const extra = Object.keys(ours).filter((key) => !(key in message) && !key.startsWith('_context_') && key !== 'version');
    expect(extra).toEqual([]);
  }
});

test('calls expire with their timeout, casts and replies never do', () => {
  for (const { message, properties } of requests) expect(properties['expiration'] !== undefined && properties['expiration'] !== null).toBe('_msg_id' in message);
  for (const { properties } of replies) expect(properties['expiration'] ?? null).toBeNull();
});

test('monitored calls are recognised, and a recorded sign of life does not end a call', () => {
  const monitored = requests.filter(({ message }) => typeof message['_timeout'] === 'number');
  expect(monitored.length).toBeGreaterThan(0);
  for (const { message } of monitored) expect(parseRequest(message).replyTo?.monitorMs).toBe(Number(message['_timeout']) * 1000);
});

test('each recorded failure is decoded to a class of a known module', () => {
  const failures = replies.map(({ message }) => parseReply(message).failure).filter((failure) => failure !== null);
  expect(failures.length).toBeGreaterThan(0);
  for (const failure of failures) {
    const error = decodeFailure(failure);
    expect(error.className).toMatch(/^[A-Z]\w+$/);
    expect(error.module).toMatch(/^(nova\.exception|builtins|oslo_versionedobjects\.exception|oslo_messaging\.rpc\.dispatcher)/);
  }
});
