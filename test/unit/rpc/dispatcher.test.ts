import fc from 'fast-check';
import { expect, test } from 'vitest';
import { wireFaultOf } from '../../../src/lib/errors.js';
import { baseEndpoints } from '../../../src/rpc/base-endpoints.js';
import { checkEndpoints, findMethod, isCompatible } from '../../../src/rpc/dispatcher.js';
import { parseRequest } from '../../../src/rpc/envelope.js';
import type { RpcEndpoint, RpcMethod } from '../../../src/rpc/types.js';

const endpoint = (namespace: string | null, version: string, ...names: string[]): RpcEndpoint =>
  ({ namespace, version, methods: new Map(names.map((rpc): [string, RpcMethod] => [rpc, { rpc, handle: async () => version }])) });
const served = [endpoint(null, '6.5', 'stop_instance'), endpoint(null, '5.13', 'stop_instance', 'old_only'), ...baseEndpoints('compute')];
const find = (request: Record<string, unknown>): string | undefined => {
  try {
    return findMethod(served, parseRequest(request)).rpc;
  } catch (error) {
    return wireFaultOf(error)?.className;
  }
};

test.each([
  [{ method: 'stop_instance', version: '6.0' }, 'stop_instance'],
  [{ method: 'stop_instance', version: '6.5' }, 'stop_instance'],
  [{ method: 'stop_instance', version: '5.0' }, 'stop_instance'],
  [{ method: 'old_only', version: '5.13' }, 'old_only'],
  [{ method: 'old_only', version: '6.0' }, 'NoSuchMethod'],
  [{ method: 'stop_instance', version: '6.6' }, 'UnsupportedVersion'],
  [{ method: 'stop_instance', version: '7.0' }, 'UnsupportedVersion'],
  [{ method: 'stop_instance', version: '4.0' }, 'UnsupportedVersion'],
  [{ method: 'stop_instance', version: 'six' }, 'UnsupportedVersion'],
  [{ method: 'stop_instance', version: '6.0', namespace: 'compute' }, 'UnsupportedVersion'],
  [{ method: 'ping', version: '1.0', namespace: 'baseapi', args: { arg: 1 } }, 'ping'],
  [{ method: 'ping', version: '1.2', namespace: 'baseapi', args: { arg: 1 } }, 'UnsupportedVersion'],
  [{ method: 'ping', version: '1.0', namespace: 'baseapi', args: {} }, 'TypeError'],
  [{ method: 'ping', version: '1.0', namespace: 'baseapi', args: { arg: 1, more: 2 } }, 'TypeError'],
  [{ method: 'oslo_rpc_server_ping', args: { whatever: 1 } }, 'oslo_rpc_server_ping'],
  [{ method: '__proto__', version: '6.0' }, 'NoSuchMethod'],
  [{ method: 'constructor', version: '6.0' }, 'NoSuchMethod'],
])('%o is %s', (request, expected) => {
  expect(find(request)).toBe(expected);
});

test('a version is served exactly when the major is equal and the minor not newer', () => {
  const number = fc.integer({ min: 0, max: 30 });
  fc.assert(fc.property(number, number, number, number, (a, b, c, d) => {
    expect(isCompatible(`${a}.${b}`, `${c}.${d}`)).toBe(a === c && d <= b);
  }));
});

test('two methods of one name in one namespace and major are refused at the start', () => {
  expect(() => checkEndpoints(served)).not.toThrow();
  expect(() => checkEndpoints([endpoint(null, '6.5', 'a'), endpoint(null, '6.1', 'a')])).toThrow(/served twice/);
  expect(() => checkEndpoints([{ ...endpoint(null, '6.5'), methods: new Map([['a', { rpc: 'b', handle: async () => null }]]) }])).toThrow(/another name/);
});
