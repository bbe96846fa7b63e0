/** Suspend and resume as a user of the cloud sees them, on a node of its own whose bhyve saves guests, with its agent. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createHost, type Host } from '../../src/host/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { renderSelfTest, selfTestPath } from '../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../src/virt/bhyve/save-identity.js';
import { noMetrics, recordingLog } from '../fakes/recording-log.js';
import { until } from './control-plane/index.js';
import { guestPids } from './support/guest-process.js';
import { bringUpLab, forgetHost, quietly, type LabSession } from './support/lab-session.js';
import { askGuest, pings, waitPing } from './support/node-network.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();
const name = 'saver3';
let saver: LabSession;
let host: Host;

beforeAll(async () => {
  saver = await bringUpLab(quietly, { name, profile: 'snapshot-15' });
  host = createHost({ deviceRoot: saver.node.deviceRoot, path: saver.node.env['PATH'] ?? '', clock: systemClock, log: recordingLog().log, metrics: noMetrics });
});
afterAll(async () => {
  if (saver === undefined) return;
  await saver.agent.stop();
  await saver.node.destroy();
  await forgetHost(saver.cloud, name, () => undefined);
});

/** What nova-bhyve selftest save-restore writes when it has passed. */
async function passSelfTest(): Promise<void> {
  const path = selfTestPath(saver.node.statePath);
  const cpuModel = (await host.sysctl('hw.model')) ?? '';
  const release = (await host.run('freebsd-version', ['-u'])).stdout.trim();
  const identity = await readSaveIdentity(host, { cpuModel, cpuVendor: /intel/i.test(cpuModel) ? 'Intel' : 'AMD', release });
  await host.files.makeDirectory(dirname(path));
  await host.files.writeAtomic(path, renderSelfTest([{
    at: new Date().toISOString(), host: identity, family: 'kern-structs', models: ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci', 'fbuf', 'xhci'], isGood: true, reason: '',
  }]));
}

const act = (id: string, action: 'suspend' | 'resume'): Promise<unknown> => saver.cloud.servers.action(id, { [action]: null }, saver.cloud.admin);
const saveOf = (id: string): string => join(saver.node.statePath, 'instances', id, 'suspended');

test('a server is not suspended before the host has shown that it can; then it is, outlives agent and host, and goes on counting', async () => {
  const { cloud, node, agent } = saver;
  const { id, address } = await lab().boot({ host: name });
  await waitPing(node, address);
  await act(id, 'suspend');
  await until(30_000, () => 'the refusal does not show', async () => (await cloud.servers.lastAction(id, 'suspend')).events.includes('compute_suspend_instance: Error'), 500);
  expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });

  await passSelfTest();
  const before = await askGuest(node, address);
  await act(id, 'suspend');
  expect(await cloud.servers.waitStatus(id, 'SUSPENDED')).toMatchObject({ 'OS-EXT-STS:power_state': 7 });
  expect([(await guestPids(node)).size, await pings(node, address)]).toEqual([0, false]);
  await agent.kill();
  await node.rebootHost();
  agent.start();
  await agent.waitUp(cloud);
  expect(await cloud.servers.show(id)).toMatchObject({ status: 'SUSPENDED', 'OS-EXT-STS:power_state': 7, 'OS-EXT-STS:task_state': null });

  await act(id, 'resume');
  expect(await cloud.servers.waitStatus(id, 'ACTIVE')).toMatchObject({ 'OS-EXT-STS:power_state': 1 });
  await waitPing(node, address);
  const after = await askGuest(node, address);
  expect(after.boot).toBe(before.boot);
  expect(after.tick).toBeGreaterThanOrEqual(before.tick);
  expect(existsSync(saveOf(id))).toBe(false);
}, 400_000);

test('a suspended server that is rebooted hard starts cold and gives its save up; one that is deleted leaves nothing', async () => {
  const { cloud, node } = saver;
  await passSelfTest();
  const { id, address } = await lab().boot({ host: name });
  await waitPing(node, address);
  await act(id, 'suspend');
  await cloud.servers.waitStatus(id, 'SUSPENDED');
  expect(existsSync(join(saveOf(id), 'manifest.json'))).toBe(true);
  await cloud.servers.action(id, { reboot: { type: 'HARD' } }, cloud.admin);
  await cloud.servers.waitStatus(id, 'ACTIVE');
  await waitPing(node, address);
  expect((await askGuest(node, address)).boot).toBe(2);
  expect(existsSync(saveOf(id))).toBe(false);

  await act(id, 'suspend');
  await cloud.servers.waitStatus(id, 'SUSPENDED');
  await cloud.servers.remove(id, cloud.admin);
  await cloud.servers.waitGone(id);
  await until(20_000, () => 'something is left', async () => (await node.leaks()).length === 0, 500);
}, 400_000);
