import { expect, test } from 'vitest';
import { classifyBuildFailure, networkAbortText } from '../../../src/compute/build/outcome.js';
import { AgentError } from '../../../src/lib/errors.js';
import { novaFaults } from '../../../src/lib/nova-faults.js';
import { deletedMeanwhile, shuttingDown } from '../../../src/instances/index.js';
import { RemoteError } from '../../../src/rpc/index.js';

const remote = (name: string): RemoteError => new RemoteError(name, 'nova.exception', name, [], {});
const withWire = (fault: ReturnType<typeof novaFaults.portInUse>): AgentError => new AgentError('x', 'x', { wire: fault });

test.each([
  ['the row is gone', remote('InstanceNotFound'), 'deleted'],
  ['the row is being deleted', remote('UnexpectedDeletingTaskStateError'), 'deleted'],
  ['somebody else has the task', remote('UnexpectedTaskStateError'), 'deleted'],
  ['the gate says deleted', deletedMeanwhile(), 'deleted'],
  ['the agent stops', shuttingDown(), 'interrupted'],
  ['claim refused', withWire(novaFaults.computeResourcesUnavailable('numa')), 'reschedule'],
  ['anything unexpected', new Error('boom'), 'reschedule'],
  ['a full pool', new AgentError('zfs-out-of-space', 'full'), 'reschedule'],
  ['binding failed here', withWire(novaFaults.portBindingFailed('p')), 'reschedule'],
  ['hostile image', withWire(novaFaults.imageUnacceptable('i', 'backing file')), 'abort'],
  ['image too big', withWire(novaFaults.flavorDiskSmallerThanImage(1n, 2n)), 'abort'],
  ['port in use', withWire(novaFaults.portInUse('p')), 'abort'],
  ['no plug event', withWire(novaFaults.virtualInterfaceCreateException()), 'abort'],
])('%s', (_name, error, kind) => {
  expect(classifyBuildFailure(error).kind).toBe(kind);
});

test('a violated group policy is a reschedule that does not count against the host', () => {
  expect(classifyBuildFailure(new AgentError('group-policy-violated', 'x'))).toEqual({ kind: 'reschedule', byPolicy: true });
});

test('a network failure is told to the user as Nova tells it', () => {
  expect(classifyBuildFailure(withWire(novaFaults.portInUse('p')))).toEqual({ kind: 'abort', reason: networkAbortText });
});

test('the fault is found under the context that inner folders added', () => {
  const outer = new AgentError('image-cache', 'while caching', { cause: withWire(novaFaults.imageUnacceptable('i', 'x')) });
  expect(classifyBuildFailure(outer).kind).toBe('abort');
});
