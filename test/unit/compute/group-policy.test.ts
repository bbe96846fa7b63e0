import { beforeEach, describe, expect, test } from 'vitest';
import { createGroupPolicy } from '../../../src/compute/build/group-policy.js';
import { parseArgument } from '../../../src/objects/index.js';
import { createTestNode, instanceWire, type TestNode } from '../../contract/support/compute-node.js';

const group = 'eeeeeeee-0000-4000-8000-00000000000e';
const ours = '11111111-0000-4000-8000-000000000001';
const other = '22222222-0000-4000-8000-000000000002';
const third = '33333333-0000-4000-8000-000000000003';
let node: TestNode;

beforeEach(async () => {
  node = await createTestNode();
  node.rpc.addInstance({ uuid: ours, host: 'fakea', node: 'fakea' });
});

function check(policy: string, rules: Record<string, string> = {}, hint: string | null = group): Promise<void> {
  node.rpc.groups.push({ id: 1, uuid: group, name: 'g', policy, policies: [policy], _rules: rules, rules, members: [ours, other, third] });
  return createGroupPolicy().check(node.deps, node.deps.ownContext(), parseArgument('Instance', instanceWire(node.rpc.instances[0]!)), hint);
}
const violated = { code: 'group-policy-violated' };
const migration = (status: string) => ({ id: 3, uuid: '44444444-0000-4000-8000-000000000004', status, migration_type: 'migration', instance_uuid: other, source_compute: 'fakeb', source_node: 'fakeb', dest_compute: 'fakea', dest_node: 'fakea' });

describe('anti-affinity', () => {
  test('is violated by another member here, and not by the server itself or by a stranger', async () => {
    node.rpc.addInstance({ host: 'fakea', node: 'fakea' });
    await expect(check('anti-affinity')).resolves.toBeUndefined();
    node.rpc.addInstance({ uuid: other, host: 'fakea', node: 'fakea' });
    await expect(check('anti-affinity')).rejects.toMatchObject(violated);
  });

  test('lets as many members be here as its rule says', async () => {
    node.rpc.addInstance({ uuid: other, host: 'fakea', node: 'fakea' });
    await expect(check('anti-affinity', { max_server_per_host: '2' })).resolves.toBeUndefined();
    node.rpc.groups.length = 0;
    node.rpc.addInstance({ uuid: third, host: 'fakea', node: 'fakea' });
    await expect(check('anti-affinity', { max_server_per_host: '2' })).rejects.toMatchObject(violated);
  });

  test.each([['pre-migrating', true], ['migrating', true], ['accepted', false], ['error', false], ['confirmed', false]])('counts a member that moves here (%s): %s', async (status, isCounted) => {
    node.rpc.addInstance({ uuid: other, host: 'fakeb', node: 'fakeb' });
    node.rpc.migrations.push(migration(status));
    const checked = check('anti-affinity');
    await (isCounted ? expect(checked).rejects.toMatchObject(violated) : expect(checked).resolves.toBeUndefined());
  });
});

describe('affinity', () => {
  test('is violated when all other members are elsewhere, and not when one is here or none is anywhere yet', async () => {
    await expect(check('affinity')).resolves.toBeUndefined();
    node.rpc.addInstance({ uuid: other, host: 'fakeb', node: 'fakeb' });
    await expect(check('affinity')).rejects.toMatchObject(violated);
    node.rpc.addInstance({ uuid: third, host: 'fakea', node: 'fakea' });
    await expect(check('affinity')).resolves.toBeUndefined();
  });
});

test.each([['soft-affinity'], ['soft-anti-affinity']])('%s is a wish for the scheduler only', async (policy) => {
  node.rpc.addInstance({ uuid: other, host: 'fakea', node: 'fakea' });
  await expect(check(policy)).resolves.toBeUndefined();
});

test('a server without a group, or of one that is gone, is not checked; nor is any when the upcall is off', async () => {
  node.rpc.addInstance({ uuid: other, host: 'fakea', node: 'fakea' });
  await expect(check('anti-affinity', {}, null)).resolves.toBeUndefined();
  await expect(check('anti-affinity', {}, '99999999-0000-4000-8000-000000000009')).resolves.toBeUndefined();
  (node.deps.options as { isGroupPolicyUpcallDisabled: boolean }).isGroupPolicyUpcallDisabled = true;
  await expect(check('anti-affinity')).resolves.toBeUndefined();
});
