import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { computeEndpoint, registeredMethods } from '../../../src/compute/endpoint.js';
import type { ComputeDeps } from '../../../src/compute/deps.js';
import { methodRegistry } from '../../../src/compute/method-registry.js';
import { hostRefusals, instanceRefusals } from '../../../src/compute/refusals/table.js';

/** Every method of nova-compute's RPC API 6.0 to 6.5, and what Nova wraps around it. */
const methods = readFileSync(resolve(import.meta.dirname, '../../samples/compute-rpc-methods.tsv'), 'utf8').trimEnd().split('\n')
  .filter((line) => !line.startsWith('#')).map((line) => line.split('\t') as [name: string, since: string, kind: string, wrappers: string]);

const endpoint = computeEndpoint({} as ComputeDeps);

describe('the compute endpoint', () => {
  test('serves every method, so that nothing ends in NoSuchMethod', () => {
    expect([...endpoint.methods.keys()].sort()).toEqual(methods.map(([name]) => name).sort());
    expect(endpoint.version).toBe('6.5');
    expect(methodRegistry().map(({ method }) => method)).toEqual(methods.map(([name]) => name).sort());
  });

  test('says of every refusal why, and says of nothing that is in the refusal table that it works', () => {
    for (const { method, status, reason } of methodRegistry()) {
      if (status !== 'works') expect([method, reason]).toEqual([method, expect.stringMatching(/^\S.{10,}[^.]$/)]);
    }
    const refused = methodRegistry().filter(({ status }) => status === 'refused').map(({ method }) => method);
    expect(refused).toEqual(expect.arrayContaining([...instanceRefusals, ...hostRefusals].map(({ rpc }) => rpc)));
  });

  test('serves each method once', () => {
    const names = registeredMethods().map(({ rpc }) => rpc);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  test('refuses in words for people, without kwargs where Python could not rebuild the exception', () => {
    for (const refusal of [...instanceRefusals, ...hostRefusals]) {
      const fault = refusal.fault({ instance: 'i', args: {} });
      if (fault.module === 'builtins') expect([refusal.rpc, fault.kwargs]).toEqual([refusal.rpc, {}]);
      expect(refusal.reason).toMatch(/not supported by this host yet/);
    }
  });

  test.each([
    ['reserve_block_device_name', {}, 'InvalidVolume'], ['reserve_block_device_name', { tag: 't' }, 'VolumeTaggedAttachNotSupported'],
    ['reserve_block_device_name', { multiattach: true }, 'MultiattachNotSupportedByVirtDriver'], ['attach_interface', {}, 'AttachInterfaceNotSupported'],
    ['attach_interface', { tag: 't' }, 'NetworkInterfaceTaggedAttachNotSupported'],
    ['prep_snapshot_based_resize_at_dest', {}, 'MigrationPreCheckError'], ['quiesce_instance', {}, 'InstanceQuiesceNotSupported'],
  ])('%s %j is refused as %s', (rpc, args, className) => {
    const refusal = instanceRefusals.find((one) => one.rpc === rpc);
    expect(refusal?.fault({ instance: 'i', args }).className).toBe(className);
  });

  test('whatever leaves a task behind reverts it', () => {
    const withTask = ['live_migration', 'prep_snapshot_based_resize_at_source'];
    for (const rpc of withTask) expect([rpc, instanceRefusals.find((one) => one.rpc === rpc)?.wrappers]).toEqual([rpc, 'TEF']);
  });
});
