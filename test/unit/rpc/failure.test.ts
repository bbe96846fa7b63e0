import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { novaFaults, refuse } from '../../../src/lib/nova-faults.js';
import { decodeFailure, encodeFailure } from '../../../src/rpc/failure.js';
import { RemoteError } from '../../../src/rpc/remote-error.js';

const encoded = (error: unknown): Record<string, unknown> => JSON.parse(encodeFailure(error, 'stop_instance')) as Record<string, unknown>;

test('a fault buried under context is what the caller gets', () => {
  const error = new AgentError('stop-failed', 'stopping', { cause: new AgentError('x', 'y', { cause: refuse(novaFaults.instanceNotRunning('u')) }) });
  expect(encoded(error)).toEqual({
    class: 'InstanceNotRunning', module: 'nova.exception', message: 'Instance u is not running.', tb: [],
    args: ['Instance u is not running.'], kwargs: { instance_id: 'u', code: 400 },
  });
});

test('builtins carry no kwargs, or the caller could not rebuild them', () => {
  expect(encoded(refuse(novaFaults.notImplemented()))).toMatchObject({ class: 'NotImplementedError', module: 'builtins', args: [], kwargs: {} });
  expect(encoded(new RemoteError('KeyError', 'builtins', 'gone', ['gone'], { code: 1 }))).toMatchObject({ class: 'KeyError', kwargs: {} });
});

test('another service\'s Nova exception passes through us unchanged', () => {
  const conductor = new RemoteError('InstanceNotFound', 'nova.exception', 'Instance u could not be found.', ['Instance u could not be found.'], { instance_id: 'u', code: 404 });
  expect(encoded(new AgentError('save-failed', 'saving', { cause: conductor }))).toMatchObject({ class: 'InstanceNotFound', module: 'nova.exception', kwargs: { instance_id: 'u' } });
});

test('nothing of a foreign error leaves, and never a stack', () => {
  const foreign = new Error('password hunter2');
  for (const error of [foreign, new AgentError('zfs-busy', 'the dataset is busy', { cause: foreign }), 'hunter2', new RemoteError('X', 'sqlalchemy.exc', 'no', [], {})]) {
    const failure = encoded(error);
    expect(JSON.stringify(failure)).not.toMatch(/hunter2|\.ts/);
    expect(failure['tb']).toEqual([]);
    expect(['nova.exception', 'builtins']).not.toContain(failure['module']);
  }
});

test('a fault that went over the wire comes back with class, module, arguments', () => {
  const text = encodeFailure(refuse(novaFaults.instanceNotRunning('u')), 'm');
  expect(decodeFailure(text)).toMatchObject({ code: 'rpc-remote', className: 'InstanceNotRunning', module: 'nova.exception', args: ['Instance u is not running.'], kwargs: { instance_id: 'u' } });
  expect(decodeFailure('{"class": "InstanceNotFound_Remote", "module": "nova.exception_Remote"}')).toMatchObject({ className: 'InstanceNotFound', module: 'nova.exception' });
});

test.each(['', 'nonsense', '7', 'null', '[]', '{"class": 3, "kwargs": [], "args": 4}'])('an unreadable failure %s is still a RemoteError', (text) => {
  expect(decodeFailure(text)).toMatchObject({ className: 'Unknown', args: [], kwargs: {} });
});

test("what the other side put into an exception is not among the error's own properties", () => {
  const error = decodeFailure(JSON.stringify({ class: 'X', module: 'nova.exception', message: 'no', args: ['hunter2'], kwargs: { password: 'hunter2' } }));
  expect(error).toMatchObject({ args: ['hunter2'], kwargs: { password: 'hunter2' } });
  expect(inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error)).not.toContain('hunter2');
});

test.each(['oslo_db.exception', 'sqlalchemy.exc', 'pymysql.err'])('of an exception of %s only the class is kept, whoever raised it', (module) => {
  const error = decodeFailure(JSON.stringify({ class: 'DBError', module, message: "(1048) [SQL: INSERT] [parameters: 'hunter2']", args: ['hunter2'], kwargs: { params: 'hunter2' } }));
  expect(error).toMatchObject({ className: 'DBError', module, args: [], kwargs: {} });
  expect(`${error.message} ${encodeFailure(error, 'm')}`).not.toContain('hunter2');
});
