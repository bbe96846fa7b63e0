/** instance_usage_audit: what was there in a period is told once, and what was told is written down. */
import { beforeEach, expect, test } from 'vitest';
import type { Notifications } from '../../../src/compute/index.js';
import type { AuditPeriod } from '../../../src/lib/audit-period.js';
import { usageAudit } from '../../../src/periodic/index.js';
import { RemoteError } from '../../../src/rpc/index.js';
import { instanceWire, wireObject, type TestNode } from '../../contract/support/compute-node.js';
import { scene } from '../../contract/support/scene.js';

type Data = Record<string, unknown>;
let node: TestNode;
let row: Data;
let told: { uuid: string; period: AuditPeriod | undefined }[];
const run = (signal = new AbortController().signal): Promise<void> => usageAudit(node.deps, { isOn: true, period: 'day' }).run(signal);
const written = (method: string): Data[] => node.rpc.sentAs(`TaskLog.${method}`).map(({ args }) => (args['objinst'] as { 'nova_object.data': Data })['nova_object.data']);

beforeEach(async () => {
  const play = await scene('stop', { guest: 'running' });
  ({ node, row } = play);
  told = [];
  const notifications: Pick<Notifications, 'exists'> = { exists: async (_subject, instance, period) => told.push({ uuid: instance.get('uuid'), period }) > 1 };
  Object.assign(node.deps, { notifications });
  node.rpc.overrides.set('TaskLog.get', () => null);
  node.rpc.overrides.set('TaskLog.begin_task', () => [{ obj_what_changed: [] }, null]);
  node.rpc.overrides.set('TaskLog.end_task', () => [{ obj_what_changed: [] }, null]);
  const second = { ...row, uuid: '22222222-2222-4222-8222-222222222222', deleted: true };
  node.rpc.overrides.set('InstanceList._get_active_by_window_joined', () => wireObject('InstanceList', '2.6', { objects: [instanceWire(row), instanceWire(second)] }));
});

test('each instance of the period is told, deleted ones too, between a beginning and an end that count them and the failures', async () => {
  const today = node.clock.now().toISOString().slice(0, 10);
  const yesterday = new Date(Date.parse(`${today}T00:00:00Z`) - 86_400_000).toISOString().slice(0, 10);
  await run();
  expect(told).toEqual([row['uuid'], '22222222-2222-4222-8222-222222222222'].map((uuid) => ({ uuid, period: { begin: new Date(`${yesterday}T00:00:00Z`), end: new Date(`${today}T00:00:00Z`) } })));
  expect(node.rpc.sentAs('TaskLog.get').map(({ args }) => args['args'])).toEqual([['instance_usage_audit', `${yesterday}T00:00:00.000000`, `${today}T00:00:00.000000`, 'fakea']]);
  expect(node.rpc.sentAs('InstanceList._get_active_by_window_joined').map(({ args }) => [args['args'], (args['kwargs'] as Data)['host']])).toEqual([[[`${yesterday}T00:00:00Z`, `${today}T00:00:00Z`], 'fakea']]);
  expect(written('begin_task')).toEqual([expect.objectContaining({ task_name: 'instance_usage_audit', host: 'fakea', period_beginning: `${yesterday}T00:00:00Z`, period_ending: `${today}T00:00:00Z`, task_items: 2 })]);
  expect(written('end_task')).toEqual([expect.objectContaining({ errors: 1, message: 'Instance usage audit ran for host fakea, 2 instances.' })]);
});

test('a period that somebody has begun is left alone, also when that shows only as we begin', async () => {
  node.rpc.overrides.set('TaskLog.get', () => wireObject('TaskLog', '1.0', { state: 'RUNNING' }));
  await run();
  expect([told, written('begin_task')]).toEqual([[], []]);
  node.rpc.overrides.set('TaskLog.get', () => null);
  node.rpc.overrides.set('TaskLog.begin_task', () => { throw new RemoteError('TaskAlreadyRunning', 'nova.exception', 'running', [], {}); });
  await run();
  expect([told, written('end_task')]).toEqual([[], []]);
});

test('an agent that stops in the middle does not say that it was through', async () => {
  await run(AbortSignal.abort());
  expect([told, written('begin_task').length, written('end_task')]).toEqual([[], 1, []]);
});

test('off, it never runs', () => {
  expect(usageAudit(node.deps, { isOn: false, period: 'day' }).everySeconds).toBe(0);
});
