import { expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { createLogger, createRedactor, serializeError } from '../../../src/observe/index.js';

function lines(level: 'info' | 'trace' = 'info') {
  const kept: string[] = [];
  const { log } = createLogger({ level, file: null, secrets: [], base: { host: 'node1' }, sink: { write: (line) => { kept.push(line); } } });
  return { log, kept, parsed: () => kept.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

test('a line is one JSON object with time, level in words, host, the child\'s fields and the message', () => {
  const { log, kept, parsed } = lines();
  log.child({ op: 'o1', rpc: 'stop_instance' }).info({ ms: 3 }, 'operation ended');
  log.debug('not at this level');
  expect(kept).toHaveLength(1);
  expect(kept[0]!.endsWith('}\n')).toBe(true);
  expect(parsed()[0]).toMatchObject({ level: 'info', host: 'node1', op: 'o1', rpc: 'stop_instance', ms: 3, msg: 'operation ended' });
  expect(parsed()[0]!['time']).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
});

test('an error shows its code, its details and the chain of causes, once each', () => {
  const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', syscall: 'connect' });
  const error = new AgentError('rpc-disconnected', 'no broker', { cause, retry: 'later', details: { host: 'c1' } });
  const { log, parsed } = lines();
  log.error({ err: error }, 'lost');
  expect(parsed()[0]!['err']).toMatchObject({
    type: 'AgentError', message: 'no broker', code: 'rpc-disconnected', retry: 'later', details: { host: 'c1' },
    cause: { type: 'Error', message: 'connect ECONNREFUSED', code: 'ECONNREFUSED', syscall: 'connect' },
  });
});

test('a chain of causes that is endless or no error at all does not hold up a line', () => {
  const loop = new Error('loop');
  loop.cause = loop;
  expect(JSON.stringify(serializeError(loop)).length).toBeLessThan(20_000);
  expect(serializeError('text')).toEqual({ message: 'text' });
  expect(serializeError(undefined)).toEqual({ message: 'undefined' });
});

test('a line has a limit, however large the thing that is logged', () => {
  const { log, kept } = lines();
  const endless: Record<string, unknown> = {};
  endless['self'] = endless;
  log.info({ text: 'x'.repeat(1e6), list: Array(1e4).fill('y'), endless }, 'large');
  expect(kept[0]!.length).toBeLessThan(10_000);
  expect(() => JSON.parse(kept[0]!) as unknown).not.toThrow();
});

test('text that is not JSON is masked all the same', () => {
  expect(createRedactor(['hush-hush']).line('oops hush-hush rabbit://a:b@c\n')).toBe('oops *** rabbit://a:***@c\n');
});
