/** What an operator adds to a node: provider.yaml, vendor data in config drives, notifications; all in one configuration, seen on the real services. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type ChannelModel } from 'amqplib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { unwrap } from '../../src/rpc/envelope.js';
import { layoutOf, secretsOf, transportUrl, until } from './control-plane/index.js';
import { agentProcess } from './support/agent.js';
import { useLab } from './support/use-lab.js';

const lab = useLab();
const topics = { old: 'lab-notifications', versioned: 'lab-versioned' };
const queues = [`${topics.old}.info`, `${topics.old}.error`, `${topics.versioned}.info`, `${topics.versioned}.error`];
const added = { resource: 'CUSTOM_LAB_SLOT', trait: 'CUSTOM_LAB_FAST' };
let folder: string;
let bus: ChannelModel;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'node-extras-'));
  mkdirSync(join(folder, 'providers'));
  writeFileSync(join(folder, 'providers/lab.yaml'), `meta:\n  schema_version: '1.0'\nproviders:\n  - identification:\n      uuid: $COMPUTE_NODE\n    inventories:\n      additional:\n        - ${added.resource}:\n            total: 3\n    traits:\n      additional:\n        - ${added.trait}\n`);
  writeFileSync(join(folder, 'vendor.json'), JSON.stringify({ cloud: 'lab' }));
  bus = await connect(transportUrl(secretsOf(layoutOf())).replace('rabbit://', 'amqp://').replace(/\/+$/, ''));
  const { node, cloud } = lab();
  await agentProcess(node, {
    DEFAULT: { instance_usage_audit: true },
    compute: { provider_config_location: join(folder, 'providers') }, api: { vendordata_jsonfile_path: join(folder, 'vendor.json') },
    oslo_messaging_notifications: { driver: 'messagingv2', topics: topics.old }, notifications: { notification_format: 'both', versioned_notifications_topics: topics.versioned },
  }).restart(cloud);
});

afterAll(async () => {
  const { node, cloud } = lab();
  await agentProcess(node).restart(cloud);
  await cloud.placement.takeOff(node.name, added);
  const channel = await bus.createChannel();
  for (const queue of queues) await channel.deleteQueue(queue);
  await bus.close();
  rmSync(folder, { recursive: true });
});

interface Heard { readonly queue: string; readonly event_type: string; readonly publisher_id: string; readonly payload: Record<string, unknown> }

/** Everything that waits in the queues now. */
async function heard(): Promise<Heard[]> {
  const found: Heard[] = [];
  for (const queue of queues) {
    const channel = await bus.createChannel();
    channel.on('error', () => undefined); // no queue: nothing was sent to it
    try {
      for (let message = await channel.get(queue, { noAck: true }); message !== false; message = await channel.get(queue, { noAck: true })) {
        found.push({ queue, ...unwrap(message.content) } as unknown as Heard);
      }
      await channel.close();
    } catch (error) {
      if (!String(error).includes('404')) throw error;
    }
  }
  return found;
}

test('Placement has the class and the trait that the operator added, beside our own', async () => {
  const { cloud, node } = lab();
  const { uuid } = (await cloud.placement.provider(node.name))!;
  expect(await cloud.placement.inventories(uuid)).toMatchObject({ [added.resource]: { total: 3, reserved: 0, max_unit: 2147483647, allocation_ratio: 1 }, VCPU: {} });
  expect(await cloud.placement.traits(uuid)).toEqual(expect.arrayContaining(['COMPUTE_NODE', added.trait]));
});

test('the operator reads that the usage of last month was told on this host', async () => {
  const { cloud, node } = lab();
  const log = await until(120_000, () => 'the audit does not end', async () => {
    const found = (await cloud.compute.usageAuditLog()).log[node.name];
    return found?.state === 'DONE' ? found : null;
  });
  expect(log).toMatchObject({ errors: 0, message: expect.stringMatching(/^Instance usage audit ran for host/) as unknown });
});

test("a server's life is told in both forms, and its config drive has the vendor data", async () => {
  const { cloud, node, boot, remove } = lab();
  await heard();
  const { id, address } = await boot({ configDrive: true, metadata: { role: 'db' } });
  const drive = mkdtempSync(join(tmpdir(), 'drive-'));
  try {
    execFileSync('xorriso', ['-osirrox', 'on', '-indev', join(node.statePath, 'instances', id, 'config.iso'), '-extract', '/openstack/latest', join(drive, 'latest')], { stdio: 'ignore' });
    expect(JSON.parse(readFileSync(join(drive, 'latest/vendor_data2.json'), 'utf8'))).toEqual({ static: { cloud: 'lab' } });
  } finally {
    execFileSync('chmod', ['-R', 'u+w', drive]);
    rmSync(drive, { recursive: true });
  }
  await cloud.servers.action(id, { 'os-stop': null });
  await cloud.servers.waitStatus(id, 'SHUTOFF');
  await remove(id);

  const all: Heard[] = [];
  const names = (topic: string): string[] => all.filter(({ queue }) => queue === `${topic}.info`).map(({ event_type: type }) => type);
  const wanted = ['create.start', 'create.end', 'power_off.start', 'power_off.end', 'delete.start', 'shutdown.start', 'shutdown.end', 'delete.end'];
  await until(120_000, () => `heard ${names(topics.old).join(', ')}`, async () => {
    all.push(...await heard());
    return names(topics.old).includes('compute.instance.delete.end') && names(topics.versioned).includes('instance.delete.end') ? true : null;
  });
  expect(names(topics.old)).toEqual(wanted.map((name) => `compute.instance.${name}`));
  expect(names(topics.versioned)).toEqual(wanted.map((name) => `instance.${name}`));
  expect(all.filter(({ queue }) => queue.endsWith('.error'))).toEqual([]);
  const created = all.find(({ event_type: type }) => type === 'compute.instance.create.end')!;
  expect(created).toMatchObject({ publisher_id: `compute.${node.name}`, payload: { instance_id: id, state: 'active', host: node.name, metadata: { role: 'db' }, message: 'Success' } });
  expect((created.payload['fixed_ips'] as { address: string }[]).map((ip) => ip.address)).toEqual([address]);
  expect(String(created.payload['image_ref_url'])).toMatch(/^http:\/\/[^/]+\/images\/[0-9a-f-]{36}$/);
  expect(all.find(({ event_type: type }) => type === 'instance.delete.end')?.payload).toMatchObject({
    'nova_object.name': 'InstanceActionPayload', 'nova_object.version': '1.8', 'nova_object.data': { uuid: id, state: 'deleted', power_state: 'pending', host: node.name },
  });
  expect(JSON.stringify(all)).not.toMatch(/auth_token|gAAAA/);
});
