import { existsSync, lstatSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { localPlace, type Place } from './contract/replay.js';
import { createLabNode, type LabNode } from './node.js';

const options = { name: 'node-test', profile: 'stock-13.2', poolGiB: 2 } as const;
let node: LabNode;
let place: Place;

const ok = async (...argv: string[]): Promise<string> => {
  const { code, stdout, stderr } = await place.run(argv);
  expect({ argv, code, stderr }).toEqual({ argv, code: 0, stderr: '' });
  return stdout;
};

beforeAll(async () => {
  await (await createLabNode(options)).destroy();
  node = await createLabNode(options);
  place = localPlace(node.env, []);
});
afterAll(async () => node.destroy());

it('a second call finds the node as it was', async () => {
  await ok('zfs', 'create', node.zfsRoot);
  await ok('zfs', 'create', '-V', '8M', `${node.zfsRoot}/kept`);
  await ok('ifconfig', 'tap', 'create', 'name', 'tap-kept');
  const boot = await ok('sysctl', '-n', 'kern.boottime');
  await createLabNode(options);
  expect(await ok('sysctl', '-n', 'kern.boottime')).toBe(boot);
  expect(lstatSync(join(node.deviceRoot, 'zvol', node.zfsRoot, 'kept')).isSymbolicLink()).toBe(true);
  await ok('ifconfig', 'tap-kept');
});

it('a host that lost its power has its disks and nothing of its kernel', async () => {
  await ok('kldload', '-n', 'vmm');
  await ok('bhyvectl', '--vm=left', '--create');
  await ok('daemon', '-f', 'sleep', '600');
  const boot = await ok('sysctl', '-n', 'kern.boottime');
  await node.rebootHost();
  expect(await ok('sysctl', '-n', 'kern.boottime')).not.toBe(boot);
  expect((await place.run(['kldstat', '-q', '-m', 'vmm'])).code).toBe(1);
  expect((await place.run(['ifconfig', 'tap-kept'])).code).toBe(1);
  expect(existsSync(join(node.deviceRoot, 'vmm'))).toBe(false);
  expect(await ok('ps', '-axww', '-o', 'command')).not.toContain('sleep 600');
  expect((await ok('zfs', 'list', '-H', '-o', 'name', '-r', node.zfsRoot)).trim().split('\n')).toEqual([node.zfsRoot, `${node.zfsRoot}/kept`]);
  await ok('dd', 'if=/dev/zero', `of=${join(node.deviceRoot, 'zvol', node.zfsRoot, 'kept')}`, 'bs=1M', 'count=1', 'conv=notrunc', 'status=none');
});

it('a volume that a tool cut has its size again in the next snapshot', async () => {
  const path = join(node.deviceRoot, 'zvol', node.zfsRoot, 'kept');
  await ok('dd', 'if=/dev/zero', `of=${path}`, 'bs=1M', 'count=1', 'status=none');
  await ok('zfs', 'snapshot', `${node.zfsRoot}/kept@cut`);
  await ok('zfs', 'clone', `${node.zfsRoot}/kept@cut`, `${node.zfsRoot}/copy`);
  expect(lstatSync(await ok('readlink', '-f', join(node.deviceRoot, 'zvol', node.zfsRoot, 'copy')).then((text) => text.trim())).size).toBe(8 << 20);
});

it('volumes keep what they hold through snapshot, clone, rename, promote and rollback', async () => {
  const device = (name: string): string => join(node.deviceRoot, 'zvol', node.zfsRoot, name);
  const write = async (name: string, text: string): Promise<string> => ok('sh', '-c', 'printf %s "$1" | dd of="$2" conv=notrunc status=none', 'sh', text, device(name));
  const read = async (name: string): Promise<string> => ok('dd', `if=${device(name)}`, 'bs=3', 'count=1', 'status=none');
  await ok('zfs', 'create', '-s', '-V', '16M', `${node.zfsRoot}/base`);
  await write('base', 'one');
  await ok('zfs', 'snapshot', `${node.zfsRoot}/base@a`);
  await write('base', 'two');
  await ok('zfs', 'clone', `${node.zfsRoot}/base@a`, `${node.zfsRoot}/clone`);
  await ok('zfs', 'rename', `${node.zfsRoot}/clone`, `${node.zfsRoot}/moved`);
  expect([await read('base'), await read('moved'), existsSync(device('clone'))]).toEqual(['two', 'one', false]);
  await ok('zfs', 'promote', `${node.zfsRoot}/moved`);
  await write('moved', 'six');
  await ok('zfs', 'rollback', `${node.zfsRoot}/moved@a`);
  expect([await read('base'), await read('moved')]).toEqual(['two', 'one']);
  expect((await place.run(['zfs', 'destroy', '-r', `${node.zfsRoot}/moved`])).stderr).toContain('has dependent clones');
});

it('what the lab sends into a vlan arrives on its vlan interface and not on the uplink', async () => {
  await ok('ifconfig', 'vlan', 'create', 'vlan', '120', 'vlandev', node.uplink, 'name', 'uplink0.120');
  await ok('ifconfig', 'uplink0.120', 'up');
  const received = async (name: string): Promise<number> => {
    const { statistics } = JSON.parse(await ok('netstat', '--libxo', 'json', '-ibn', '-I', name)) as { statistics: { interface: { 'received-packets': number }[] } };
    return statistics.interface[0]!['received-packets'];
  };
  const before = [await received('uplink0.120'), await received('uplink0')] as const;
  // Nobody answers; the questions of ARP are what counts.
  await place.run(['ip', 'netns', 'exec', node.netns, 'ping', '-c', '1', '-W', '1', '-I', 'fabric0.120', '10.21.0.77']);
  expect(await received('uplink0.120')).toBeGreaterThan(before[0]);
  expect(await received('uplink0')).toBe(before[1]);
  await ok('ifconfig', 'uplink0.120', 'destroy');
});

it("a host is AMD's unless it is to be Intel's", async () => {
  await ok('kldload', '-n', 'vmm');
  const identity = async (): Promise<string[]> => (await ok('sysctl', '-n', 'hw.model', 'hw.vmm.vmx.initialized', 'hw.vmm.svm.features')).trim().split('\n');
  expect([...(await identity()), readFileSync(node.bootMessagesPath, 'utf8').includes('AuthenticAMD')]).toEqual(['AMD EPYC Processor', '0', '1', true]);
  await createLabNode({ ...options, processor: 'intel' });
  expect([...(await identity()), readFileSync(node.bootMessagesPath, 'utf8').includes('GenuineIntel')]).toEqual(['Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz', '1', '0', true]);
});

it('a destroyed node leaves nothing behind', async () => {
  await node.destroy();
  expect(existsSync(node.path)).toBe(false);
  expect(readdirSync('/run/netns')).not.toContain(node.netns);
});
