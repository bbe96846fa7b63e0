/** `nova-bhyve checkpoint create|restore|delete|flatten` as typed, over a real socket, to an agent's compute part with a conductor and a machine in memory. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCli, type NodeView } from '../../../src/cli/index.js';
import { requestsOf, serveControl, type ControlServer } from '../../../src/control/index.js';
import { parseCheckpointId } from '../../../src/lib/ids.js';
import { noMetrics } from '../../fakes/recording-log.js';
import { image, rowOf, scene, type Scene } from '../support/checkpoint-scene.js';

let folder = '';
let one: Scene;
let agent: ControlServer | null = null;
const login = 'auth_type=password\nauth_url=http://k:5000\nusername=u\npassword=x\n';

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'operator-'));
  writeFileSync(join(folder, 'a.conf'), `[DEFAULT]\nhost=h\nstate_path=${folder}\ntransport_url=rabbit://a:b@c/\n[placement]\n${login}[neutron]\n${login}`);
  one = await scene();
  agent = await serveControl({ statePath: folder, requests: requestsOf(one.node.deps), clock: one.node.clock, log: one.node.log.log, metrics: noMetrics });
});
afterEach(async () => {
  await agent?.close();
  agent = null;
  rmSync(folder, { recursive: true });
});

async function type(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const { driver, storage, plugger } = one.node.deps;
  const view = { driver, storage, plugger, close: async () => undefined } as unknown as NodeView;
  const cli = createCli({ version: '1', run: async () => 0, open: async () => view }, { out: (text) => { out += text; }, err: (text) => { err += text; } });
  const code = await cli.main(['checkpoint', ...argv, '--config-file', join(folder, 'a.conf')]);
  return { code, out, err };
}

test('a checkpoint is made, gone back to and deleted by its name; what is done goes to stderr, what came of it to stdout', async () => {
  const made = await type('create', one.uuid.slice(0, 8), '--name', 'before upgrade', '--kind', 'full');
  const id = [...one.node.world.nodes.keys()][0]!;
  expect(made).toEqual({
    code: 0, out: `Checkpoint ${id} (before upgrade): with memory; the guest stood still for 0.0 s.\n`, err: 'saving the guest with its memory\nkeeping the disks\nletting the guest go on\n',
  });
  expect((await type('list', one.uuid)).out).toMatch(new RegExp(`^${id} +- +before upgrade +operator +.* full \\(128 MiB\\) .* current$`, 'm'));
  expect(await type('restore', one.uuid, 'before upgrade')).toEqual({
    code: 0, out: `Back at checkpoint ${id} (before upgrade): the guest goes on from its memory.\n`, err: 'reading the memory of the checkpoint\nending the guest\nputting the disks in their place\nletting the guest go on\n',
  });
  expect(await type('restore', one.uuid, id.slice(0, 13), '--kind', 'disk')).toMatchObject({ code: 0, out: expect.stringContaining('the guest was started') as string });
  expect(rowOf(one.node)).toMatchObject({ vm_state: 'active', task_state: null, power_state: 1 });
  expect(await type('delete', one.uuid, 'before upgrade')).toEqual({ code: 0, out: `Checkpoint ${id} is deleted.\n`, err: '' });
  expect(one.node.world.nodes.size).toBe(0);
});

test('programs get one JSON value on stdout', async () => {
  const made = JSON.parse((await type('create', one.uuid, '--json')).out) as { checkpoint: string };
  expect(made).toEqual({ instance: one.uuid, checkpoint: expect.any(String) as string, name: null, content: 'disk', guest: 'running', chainKind: null, stopMs: null });
  expect(JSON.parse((await type('restore', one.uuid, made.checkpoint, '--json')).out)).toEqual({ instance: one.uuid, checkpoint: made.checkpoint, name: null, content: 'disk', isRunning: true });
  expect(JSON.parse((await type('delete', one.uuid, made.checkpoint, '--json')).out)).toEqual({ instance: one.uuid, checkpoint: made.checkpoint });
});

test('qcow2 disks: a checkpoint of a kind, and disks that rest on their image alone', async () => {
  const asked: unknown[] = [];
  const { storage } = one.node.deps;
  const create = storage.createCheckpoint.bind(storage);
  Object.assign(storage, {
    formOf: async () => 'qcow2', flattenDisks: async (uuid: string) => void asked.push(uuid),
    createCheckpoint: async (...args: Parameters<typeof create>) => { asked.push(args[5]); await create(...args); },
  });
  expect(await type('create', one.uuid, '--kind', 'internal')).toMatchObject({ code: 0, out: expect.stringMatching(/: of the disks, as after a power cut\.\n$/) as string });
  expect(await type('flatten', one.uuid)).toEqual({ code: 1, out: '', err: 'nova-bhyve: the server is active, and its disks are copied while it is off: stop it first\n' });
  Object.assign(rowOf(one.node), { vm_state: 'stopped', power_state: 4 });
  expect(await type('flatten', one.uuid)).toEqual({ code: 0, out: `The disks of ${one.uuid} rest on their image alone.\n`, err: 'copying what the disks have of older files into their own\n' });
  expect(JSON.parse((await type('flatten', one.uuid, '--json')).out)).toEqual({ instance: one.uuid });
  expect([asked, one.node.deps.journal.history(one.uuid).at(-1)?.outcome]).toEqual([['internal', one.uuid, one.uuid], 'succeeded']);
  Object.assign(storage, { formOf: async () => 'raw' });
  expect(await type('flatten', one.uuid)).toMatchObject({ code: 1, err: 'nova-bhyve: the server has ZFS volumes, which are in no chain of files\n' });
  expect(await type('create', one.uuid, '--kind', 'external')).toMatchObject({ code: 1, err: 'nova-bhyve: --kind external is for servers on qcow2 disks, and this one has ZFS volumes: --kind disk\n' });
});

test('a refusal is one sentence with the way out, and exit code 1', async () => {
  await one.node.deps.storage.createCheckpoint(one.uuid, parseCheckpointId(image), 'off');
  expect(await type('delete', one.uuid, image)).toEqual({ code: 1, out: '', err: expect.stringMatching(/^nova-bhyve: the image .* stands for this checkpoint: .* deletes both\. With --force .*\n$/) as string });
  expect(await type('delete', one.uuid, image, '--force')).toMatchObject({ code: 0 });
  Object.assign(rowOf(one.node), { vm_state: 'paused' });
  expect(await type('create', one.uuid)).toEqual({ code: 1, out: '', err: 'nova-bhyve: the server is paused, and this takes one that is active or stopped: unpause it first\n' });
  expect(await type('create', one.uuid, '--name', '-')).toMatchObject({ code: 1, err: 'nova-bhyve: name: a name is neither an id nor "-"\n' });
});

test('what is not there, not clear or not a kind is said before the agent is asked', async () => {
  for (const digit of [1, 2]) await one.node.deps.storage.createCheckpoint(one.uuid, parseCheckpointId(`dddddddd-0000-4000-8000-00000000000${digit}`), 'off');
  expect(await type('create', 'abc')).toMatchObject({ code: 1, out: '', err: expect.stringContaining('has nothing of an instance abc') as string });
  expect(await type('restore', one.uuid, 'x')).toMatchObject({ code: 1, out: '', err: `This node has no checkpoint x of ${one.uuid}.\n` });
  expect(await type('delete', one.uuid, 'dddd')).toMatchObject({ code: 1, err: expect.stringMatching(/^dddd could be: dddddddd-.*1, dddddddd-.*2\n$/) as string });
  expect(await type('delete', one.uuid, '')).toMatchObject({ code: 1 });
  expect(await type('create', one.uuid, '--kind', 'most')).toMatchObject({ code: 2 });
  expect(one.node.world.nodes.size).toBe(2);
});

test('without an agent there is one sentence that says so, and exit code 1', async () => {
  await agent!.close();
  agent = null;
  expect(await type('create', one.uuid)).toEqual({ code: 1, out: '', err: `nova-bhyve: the agent of ${folder} does not run, or is not ready yet: start it with "service nova_bhyve start"\n` });
});
