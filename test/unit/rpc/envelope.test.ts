import fc from 'fast-check';
import { expect, test } from 'vitest';
import { codeOf } from '../../../src/lib/errors.js';
import { adminContext, contextFromWire } from '../../../src/rpc/context.js';
import { hexId, parseReply, parseRequest, renderReply, renderRequest, unwrap, wrap } from '../../../src/rpc/envelope.js';

const json = fc.dictionary(fc.string().filter((key) => key !== '__proto__'), fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown), { noNullPrototype: true });
const codeFor = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return codeOf(error) ?? `not an AgentError: ${String(error)}`;
  }
};

test('what is wrapped is what is unwrapped, and the inner message is JSON in a string', () => {
  fc.assert(fc.property(json, (inner) => {
    const body = wrap(inner);
    expect(unwrap(body)).toEqual(inner);
    const outer = JSON.parse(body.toString()) as Record<string, unknown>;
    expect(outer['oslo.version']).toBe('2.0');
    expect(typeof outer['oslo.message']).toBe('string');
  }));
});

test('a rendered request is read as the same request', () => {
  const monitor = fc.option(fc.integer({ min: 2, max: 10_000 }).map((seconds) => seconds * 1000));
  fc.assert(fc.property(fc.string({ minLength: 1 }), json, fc.option(fc.string({ minLength: 1 })), fc.option(monitor.map((monitorMs) => ({ queue: 'reply_1', callId: 'c', monitorMs }))), (method, args, namespace, replyTo) => {
    const inner = renderRequest({
      method, args, version: '6.0', context: adminContext({ requestId: 'req-1' }), messageId: 'm',
      ...(namespace === null ? {} : { namespace }), ...(replyTo === null ? {} : { replyTo }),
    });
    const request = parseRequest(unwrap(wrap(inner)));
    expect(request).toMatchObject({ namespace, replyTo, message: { method, version: '6.0', messageId: 'm', isCall: replyTo !== null } });
    expect(request.message.args).toEqual(args);
    expect(request.message.context.requestId).toBe('req-1');
    expect(request.message.wire).toEqual(inner);
  }));
});

test('a rendered reply is read as the same reply, and only the ending one ends', () => {
  fc.assert(fc.property(fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown), fc.option(fc.string()), fc.boolean(), (result, failure, isEnding) => {
    expect(parseReply(unwrap(wrap(renderReply('c', { result, failure, isEnding }))))).toMatchObject({ callId: 'c', result, failure, isEnding });
  }));
});

test('no bytes whatever make anything but rpc-malformed', () => {
  const bodies = fc.oneof(fc.uint8Array().map((bytes) => Buffer.from(bytes)), fc.json().map((text) => Buffer.from(text)),
    fc.json().map((text) => Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': text }))));
  fc.assert(fc.property(bodies, (body) => {
    for (const read of [parseRequest, parseReply]) expect([undefined, 'rpc-malformed']).toContain(codeFor(() => read(unwrap(body))));
  }));
});

test('a malformed message is not quoted in the error', () => {
  for (const body of ['{"password": "hunter2"', JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': 'hunter2' })]) {
    try {
      unwrap(Buffer.from(body));
      expect.unreachable();
    } catch (error) {
      expect(`${String(error)} ${String((error as Error).cause)}`).not.toContain('hunter2');
    }
  }
});

test('envelope version 2.1 is read, 3.0 is not', () => {
  const body = (version: string): Buffer => Buffer.from(JSON.stringify({ 'oslo.version': version, 'oslo.message': '{"method": "ping"}' }));
  expect(unwrap(body('2.1'))).toEqual({ method: 'ping' });
  expect(codeFor(() => unwrap(body('3.0')))).toBe('rpc-malformed');
});

test.each([[60, 60_000], ['60', 60_000], [2, 2_000], [1, null], [0, null], [-5, null], [null, null], ['soon', null], [undefined, null]])('a _timeout of %s seconds is monitored as %s ms', (timeout, expected) => {
  expect(parseRequest({ method: 'm', _msg_id: 'c', _reply_q: 'q', _timeout: timeout }).replyTo).toMatchObject({ monitorMs: expected });
});

test('a request without version is 1.0, without args has none, without id gets one', () => {
  const { message, namespace } = parseRequest({ method: 'ping' });
  expect({ version: message.version, args: message.args, namespace, isCall: message.isCall }).toEqual({ version: '1.0', args: {}, namespace: null, isCall: false });
  expect(message.messageId).toMatch(/^[0-9a-f]{32}$/);
  expect(hexId()).not.toBe(hexId());
});

test('unknown context keys travel on unchanged', () => {
  const context = contextFromWire({ _context_request_id: 'req-9', _context_from_the_future: { a: 1 }, _context_is_admin: true });
  expect(renderRequest({ method: 'm', args: {}, version: '1.0', context, messageId: 'x' })).toMatchObject({ _context_from_the_future: { a: 1 }, _context_request_id: 'req-9' });
});

test('a message nested thousands of levels deep is malformed, and brackets in strings are not levels', () => {
  const deep = `{"method":"ping","args":{"a":${'['.repeat(5_000)}${']'.repeat(5_000)}}}`;
  const body = (inner: string): Buffer => Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': inner }));
  expect(codeFor(() => unwrap(body(deep)))).toBe('rpc-malformed');
  expect(codeFor(() => unwrap(Buffer.from(deep)))).toBe('rpc-malformed');
  const text = `${'['.repeat(5_000)}"\\`;
  expect(unwrap(body(JSON.stringify({ method: 'ping', args: { text } })))).toEqual({ method: 'ping', args: { text } });
});
