/**
 * The agent as a whole (its real start, parts and journal, on a real broker, with a null node for a host) and the operator's real commands beside it: a checkpoint of a stopped
 * server is made, gone back to and deleted, over the socket that the start has made and that the end takes away.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCli } from '../../../src/cli/index.js';
import { loadConfig } from '../../../src/config/index.js';
import { socketPathOf } from '../../../src/control/index.js';
import { openNodeView } from '../../../src/node-view.js';
import { startAgent, type AgentRun } from '../../../src/run-agent.js';
import { createNullNode, type NullNode } from '../../bench/null-node.js';
import { startStandInCloud, type StandInCloud } from '../../bench/stand-in-cloud.js';
import { startRabbit, type Rabbit } from '../../fakes/rabbitmq.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { wireObject } from '../support/compute-node.js';

let folder = '';
let rabbit: Rabbit;
let cloud: StandInCloud;
let node: NullNode;
let agent: AgentRun | null = null;
const log = recordingLog();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'whole-agent-'));
  rabbit = await startRabbit();
  cloud = await startStandInCloud(rabbit.transportUrl);
  node = createNullNode('whole', folder);
  const login = `auth_type=password\nauth_url=${cloud.keystone}\nusername=u\npassword=${cloud.password}\nproject_name=service\nuser_domain_name=Default\nproject_domain_name=Default\nregion_name=RegionOne\nvalid_interfaces=internal\n`;
  writeFileSync(join(folder, 'a.conf'), [
    `[DEFAULT]\nhost=${node.name}\nmy_ip=127.0.0.1\nstate_path=${node.statePath}\ntransport_url=${rabbit.transportUrl}\ncontrol_exchange=${cloud.exchange}`,
    `[agent]\ndevice_root=${node.deviceRoot}\nboot_messages=${node.bootMessagesPath}\npath=${join(node.path, 'bin')},/usr/sbin,/usr/bin,/sbin,/bin`,
    `[bhyve]\nfirmware_dirs=${node.firmwareDir}`, `[zfs]\nroot=${node.zfsRoot}`, '[l2_agent]\nenabled=false', `[placement]\n${login}`, `[neutron]\n${login}`, `[glance]\n${login}`, '',
  ].join('\n'));
  const files = [join(folder, 'a.conf')];
  agent = await startAgent({ config: loadConfig({ files, dirs: [] }).config, configFiles: files, log: log.log, metrics: noMetrics, signal: new AbortController().signal });
});
afterAll(async () => {
  await agent?.stop();
  node.destroy();
  await cloud.close();
  await rabbit.destroy();
  rmSync(folder, { recursive: true });
});

async function type(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const cli = createCli({ version: '1', run: async () => 0, open: openNodeView }, { out: (text) => { out += text; }, err: (text) => { err += text; } });
  const code = await cli.main(['checkpoint', ...argv, '--config-file', join(folder, 'a.conf')]);
  return { code, out, err };
}

/** A stopped server of Nova's whose root disk is here. */
async function putServer(): Promise<string> {
  const flavor = wireObject('Flavor', '1.2', { id: 1, name: 'm1', flavorid: '1', memory_mb: 64, vcpus: 1, root_gb: 1, ephemeral_gb: 0, swap: 0, extra_specs: {} });
  const row = cloud.conductor.addInstance({ host: node.name, node: node.name, vm_state: 'stopped', power_state: 4, image_ref: cloud.image, user_id: 'u1', flavor });
  const uuid = String(row['uuid']);
  cloud.conductor.infoCaches.push({ instance_uuid: uuid, network_info: '[]' });
  const mark = (...marks: string[]): string[] => [...marks, `instance=${uuid}`].flatMap((one) => ['-o', `org.nova-bhyve:${one}`]);
  const zfs = (...args: string[]) => promisify(execFile)(join(node.path, 'bin/zfs'), args);
  await zfs('create', ...mark('kind=instance'), `${node.zfsRoot}/instances/${uuid}`);
  await zfs('create', '-s', '-V', String(1 << 30), ...mark('kind=disk', 'role=root'), `${node.zfsRoot}/instances/${uuid}/root`);
  return uuid;
}

test('a checkpoint is made, gone back to and deleted while the agent runs, and Nova has the server stopped as before', async () => {
  expect((statSync(socketPathOf(node.statePath)).mode & 0o777).toString(8)).toBe('600');
  const uuid = await putServer();
  const made = JSON.parse((await type('create', uuid, '--name', 'mine', '--json')).out) as { checkpoint: string };
  expect(made).toMatchObject({ instance: uuid, name: 'mine', content: 'disk', guest: 'off' });
  expect((await type('tree', uuid)).out).toContain(`${made.checkpoint}`);
  expect(await type('restore', uuid, 'mine')).toEqual({ code: 0, out: `Back at checkpoint ${made.checkpoint} (mine): the server is stopped.\n`, err: 'putting the disks in their place\n' });
  expect(cloud.conductor.instances.find((row) => row['uuid'] === uuid)).toMatchObject({ vm_state: 'stopped', task_state: null });
  expect(await type('restore', uuid.replace(/^./, 'z'), 'mine')).toMatchObject({ code: 1, out: '' });
  expect((await type('delete', uuid, 'mine')).code).toBe(0);
  expect(JSON.parse((await type('list', uuid, '--json')).out)).toEqual([]);
  expect(log.lines().filter(({ msg }) => msg === 'operator answered').map(({ request, outcome }) => [request, outcome])).toEqual([
    ['create-checkpoint', 'succeeded'], ['restore-checkpoint', 'succeeded'], ['delete-checkpoint', 'succeeded'],
  ]);
  await agent!.stop();
  agent = null;
  expect(existsSync(socketPathOf(node.statePath))).toBe(false);
  expect(await type('create', uuid)).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/^nova-bhyve: the agent of .* does not run/) as string });
});
