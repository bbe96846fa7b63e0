import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCli, type CliHandlers, type NodeView } from '../../../src/cli/index.js';
import type { JournalledOperation } from '../../../src/journal/index.js';
import { AgentError } from '../../../src/lib/errors.js';
import { parseCheckpointId, parseInstanceUuid, parseOperationId, parsePortId } from '../../../src/lib/ids.js';
import type { CheckpointNode, DiskInfo } from '../../../src/storage/index.js';
import { noLimits, type GuestDefinition, type GuestState, type HostCapabilities } from '../../../src/virt/index.js';
import { recordedSave } from '../../fakes/recorded-saves.js';
import { wikiMeta } from '../../fakes/upb-state.js';

const running = parseInstanceUuid('11111111-1111-4111-8111-111111111111');
const crashed = parseInstanceUuid('22222222-2222-4222-8222-222222222222');
const leftOver = parseInstanceUuid('22222222-2222-4222-8222-333333333333');
const port = parsePortId('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa');
const GiB = 1024n ** 3n;

const definition = (instance: typeof running, name: string): GuestDefinition => ({
  instance, name, vcpus: 2, topology: { sockets: 2, cores: 1, threads: 1 }, memoryMiB: 512, disks: [{ role: 'root', path: `/dev/zvol/p/${instance}`, serial: 's', bus: 'virtio', kind: 'disk' }], configDrive: null,
  nics: instance === running ? [{ port, tapName: 'tapaaaaaaaa-aa', mac: 'fa:16:3e:00:00:01', mtu: 1500, model: 'virtio' }] : [], hasVnc: true, hasTablet: true, hasRng: false, clock: 'utc', limits: noLimits,
});
const states: Record<string, GuestState> = {
  [running]: { kind: 'running', pid: 4242, startedAtSeconds: 1_790_000_000, isPaused: false },
  [crashed]: { kind: 'stopped', verdict: { kind: 'crashed', at: '2026-11-01T00:00:00Z', exitCode: 139, signal: null, reason: 'segmentation fault' } },
};
const disk = (instance: string): DiskInfo => ({ role: 'root', bus: null, form: 'raw', dataset: `p/instances/${instance}/root`, devicePath: `/dev/zvol/p/${instance}`, bytes: 10n * GiB, madeFor: null });
const node = (digit: number, parent: number | null, over: Partial<CheckpointNode> = {}): CheckpointNode => {
  const id = (at: number): CheckpointNode['id'] => parseCheckpointId(`cccccccc-0000-4000-8000-00000000000${at}`);
  const at = new Date(Date.now() - (10 - digit) * 86_400_000);
  return { id: id(digit), parent: parent === null ? null : id(parent), at, guest: 'running', memory: null, roles: ['root'], bytes: 10n * GiB, usedBytes: 3n << 20n, image: null, keeper: 'nova', name: null, kind: null, isCurrent: false, ...over };
};
const tree = [node(1, null), node(2, 1, { keeper: 'operator', name: 'before upgrade' }), node(3, 1, { isCurrent: true, guest: 'off' }), node(4, 2)];
const operation: JournalledOperation = {
  id: parseOperationId('99999999-9999-4999-8999-999999999999'), messageId: 'm', rpc: 'reboot_instance', instance: running, requestId: 'req-7', payload: { auth: 'hush-hush' },
  acceptedAt: '2026-11-02T00:00:00Z', hasBegun: true, steps: new Map([['end-guest', 'done'], ['start-guest', 'begun']]), notes: { k: 'v' }, outcome: null, endedAt: null,
};
const capabilities = {
  architecture: 'amd64', canVirtualize: true, firmware: { code: '/f/CODE.fd', vars: '/f/VARS.fd' }, hasFramebuffer: true, hasSnapshot: false,
  saveRestore: { status: 'impossible', reason: 'this FreeBSD is built without BHYVE_SNAPSHOT', family: null, models: [] },
  findings: [
    { probe: 'vmm', answer: 'loaded', isOk: true, advice: null },
    { probe: 'save and restore', answer: 'not built in', isOk: false, advice: 'suspend needs a FreeBSD built with BHYVE_SNAPSHOT' },
  ],
} as unknown as HostCapabilities;

function fakeNode(over: Partial<NodeView> = {}, driver: Partial<NodeView['driver']> = {}): NodeView {
  return {
    host: {
      toolPath: (tool) => `/sbin/${tool}`,
      run: async (_tool, args) => ({ code: args[0] === 'em1' ? 1 : 0, stdout: '', stderr: '' }),
    },
    driver: {
      prepare: async () => capabilities, capabilities, list: async () => [running, crashed], state: async (uuid) => states[uuid] ?? { kind: 'absent' },
      definition: async (uuid) => (uuid === running ? definition(running, 'instance-00000001') : uuid === crashed ? definition(crashed, 'instance-00000002') : undefined),
      slots: async () => ({ hostbridge: '0:0:0', root: '0:3:0' }), vncEndpoint: async (uuid) => (uuid === running ? { host: '127.0.0.1', port: 5901 } : null), kept: async () => [], whyNoReturn: async () => null, allowSave: async () => null, ...driver,
    },
    storage: {
      usage: async () => ({ totalBytes: 100n * GiB, availableBytes: 60n * GiB, usedBytes: 40n * GiB }),
      disks: async (uuid) => (uuid === crashed ? [] : [disk(uuid)]),
      instancesWithDisks: async () => [running, leftOver],
      checkpoints: async (uuid) => (uuid === running ? tree : []),
    },
    plugger: { listOwned: async () => [{ tapName: 'tapaaaaaaaa-aa', instance: running, port }] },
    readJournal: async () => ({ unfinished: () => [operation], history: (uuid) => (uuid === running ? [operation] : []) }),
    selfTest: () => Promise.reject(new Error('not asked for here')),
    screenTls: async () => null,
    reach: { broker: async () => 'RabbitMQ 3.10', keystone: () => Promise.reject(new AgentError('http-unauthorized', 'wrong password')) },
    close: async () => undefined,
    ...over,
  };
}

const folder = mkdtempSync(join(tmpdir(), 'cli-'));
const config = join(folder, 'a.conf');
const login = 'auth_type=password\nauth_url=http://k:5000\nusername=u\npassword=hush-hush\n';
beforeAll(() => {
  writeFileSync(config, `[DEFAULT]\nhost=h\ntransport_url=rabbit://a:hush-hush@c/\ncompute_driver=x\n[placement]\n${login}[neutron]\n${login}[l2_agent]\nenabled=true\nbridge_mappings=physnet1:bridge0\ninterface_mappings=physnet1:em1\n`);
  writeFileSync(join(folder, 'bad.conf'), '[bhyve]\nvnc_port_mni=1\n');
});
afterAll(() => rmSync(folder, { recursive: true }));

async function run(argv: string[], node: NodeView = fakeNode(), handlers: Partial<CliHandlers> = {}) {
  let out = '';
  let err = '';
  let closed = 0;
  const cli = createCli({
    version: '1.2.3', run: async () => 0, open: async () => ({ ...node, close: async () => { closed += 1; } }), ...handlers,
  }, { out: (text) => { out += text; }, err: (text) => { err += text; } });
  const code = await cli.main(argv);
  return { code, out, err, closed };
}
const withConfig = (...argv: string[]): string[] => [...argv, '--config-file', config];

describe('methods', () => {
  test('tells programs each method with its status, without any configuration', async () => {
    const { code, out } = await run(['methods', '--json']);
    const all = JSON.parse(out) as { method: string; status: string; reason: string | null }[];
    expect(code).toBe(0);
    expect(all).toContainEqual({ method: 'start_instance', status: 'works', reason: null });
    expect(all).toContainEqual({ method: 'host_power_action', status: 'refused', reason: expect.stringContaining('not supported') as string });
  });

  test('tells people also what users can ask for', async () => {
    const { out } = await run(['methods']);
    expect(out).toMatch(/^METHOD +STATUS +REASON\n/);
    expect(out).toMatch(/^start, stop, reboot \(soft and hard\) +works$/m);
    expect(out).toMatch(/^live migration +refused +live migration is not supported by this host yet$/m);
  });
});

test('save allow says what the next resume overrides, once the host was looked at', async () => {
  const asked: string[] = [];
  const node = fakeNode({}, {
    prepare: async () => { asked.push('prepared'); return capabilities; },
    allowSave: async (uuid) => { asked.push(uuid); return 'the kernel'; },
  });
  const { code, out } = await run(withConfig('save', 'allow', '1111'), node);
  expect([code, asked]).toEqual([0, ['prepared', running]]);
  expect(out).toMatch(/next resume of 11111111-.* differs from when it was saved: the kernel\./);
  expect(JSON.parse((await run(withConfig('save', 'allow', '1111', '--json'), node)).out)).toEqual({ uuid: running, overridden: 'the kernel' });
  expect((await run(withConfig('save', 'allow', '1111'))).out).toMatch(/Nothing needs to be allowed/);
  expect((await run(withConfig('save', 'allow', '9999'))).code).toBe(1);
  const refused = await run(withConfig('save', 'allow', '1111'), fakeNode({}, { allowSave: () => Promise.reject(new AgentError('save-mismatch', 'another maker')) }));
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('another maker')]);
});

describe('checkpoints of an instance', () => {
  test('are drawn as a tree with where the disks are, who keeps them, their ages and what they hold alone', async () => {
    const { code, out, closed } = await run(['checkpoint', 'tree', '1111', '--config-file', config]);
    const lines = out.split('\n').map((line) => line.replace(/ {2,}/g, ' | '));
    expect([code, closed]).toEqual([0, 1]);
    expect(lines).toEqual([
      'CHECKPOINT | NAME | KEEPER | AGE | CONTENT | STATE | ONLY HERE | DISKS',
      '└─ cccccccc-0000-4000-8000-000000000001 | - | nova | 9 d | disk | crash-consistent | 3 MiB | 10 GiB',
      ' | ├─ cccccccc-0000-4000-8000-000000000002 | before upgrade | operator | 8 d | disk | crash-consistent | 3 MiB | 10 GiB',
      ' | │ | └─ cccccccc-0000-4000-8000-000000000004 | - | nova | 6 d | disk | crash-consistent | 3 MiB | 10 GiB',
      ' | └─ cccccccc-0000-4000-8000-000000000003 | - | nova | 7 d | disk | guest was off | 3 MiB | 10 GiB',
      ' | └─ (the disks as they are now)', '',
    ]);
  });

  test('are listed with parents and the current one, for programs too; none, and no such instance, are said in words', async () => {
    const { out } = await run(['checkpoint', 'list', running, '--config-file', config]);
    expect(out.split('\n')[3]).toMatch(/^cccccccc-0000-4000-8000-000000000003 +cccccccc-0000-4000-8000-000000000001 +- +nova +7 d .* current$/);
    const nodes = JSON.parse((await run(['checkpoint', 'list', running, '--json', '--config-file', config])).out) as unknown[];
    expect(nodes[3]).toMatchObject({ parent: 'cccccccc-0000-4000-8000-000000000002', isCurrent: false, usedBytes: 3 << 20 });
    const [top] = JSON.parse((await run(['checkpoint', 'tree', running, '--json', '--config-file', config])).out) as { children: { children: unknown[] }[] }[];
    expect(top!.children.map(({ children }) => children.length)).toEqual([1, 0]);
    expect((await run(['checkpoint', 'tree', leftOver, '--config-file', config])).out).toBe('No checkpoints of this instance.\n');
    expect(await run(['checkpoint', 'list', '2222', '--config-file', config])).toMatchObject({ code: 1, err: `2222 could be: ${crashed}, ${leftOver}\n` });
    expect(await run(['checkpoint', 'list', 'abc', '--config-file', config])).toMatchObject({ code: 1, out: '' });
  });
});

/** With memory. */
const full = (digit: number): CheckpointNode => node(digit, null, { memory: { sum: 'f'.repeat(64), bytes: 65n << 20n } });

describe('checkpoints with memory', () => {
  const view = (): NodeView => {
    const plain = fakeNode({}, { kept: async () => [full(1).id] });
    return { ...plain, storage: { ...plain.storage, checkpoints: async () => [full(1), full(2), node(3, null)] } };
  };

  test('show how large it is, and whether it is still there', async () => {
    const { out } = await run(['checkpoint', 'list', running, '--config-file', config], view());
    expect(out.split('\n').map((line) => line.replace(/ {2,}/g, ' | ').split(' | ').slice(5, 7))).toEqual([
      ['CONTENT', 'STATE'], ['full (65 MiB)', 'the guest goes on'], ['full (65 MiB)', 'crash-consistent: its memory is lost'], ['disk', 'crash-consistent'], [],
    ]);
    expect(JSON.parse((await run(['checkpoint', 'list', running, '--json', '--config-file', config], view())).out)).toMatchObject([{ hasFiles: true, memory: { bytes: 65 << 20 } }, { hasFiles: false }, { memory: null }]);
  });

  test('can be looked into by the name of the checkpoint; those without memory have nothing to show', async () => {
    const state = join(folder, 'state');
    const save = join(state, 'instances', running, 'checkpoints', full(1).id);
    mkdirSync(save, { recursive: true });
    writeFileSync(join(save, 'ram.meta'), recordedSave('stock', 'twoblk').text);
    const own = join(folder, 'own.conf');
    writeFileSync(own, readFileSync(config, 'utf8').replace('[DEFAULT]\n', `[DEFAULT]\nstate_path=${state}\n`));
    const show = (id: string) => run(['checkpoint', 'show', running, id, '--config-file', own], view());
    expect(await show(full(1).id)).toMatchObject({ code: 0, closed: 1, out: expect.stringMatching(/^checkpoint +-\nkeeper +nova\n\nguest +vm1\nvCPUs +1\n/) as string });
    expect(await show(full(2).id)).toMatchObject({ code: 1, out: '', err: `The checkpoint ${full(2).id} has no memory any more.\n` });
    expect(await show(node(3, null).id)).toMatchObject({ code: 1, err: `The checkpoint ${node(3, null).id} has no memory.\n` });
    expect(await show('x')).toMatchObject({ code: 1, err: `This node has no checkpoint x of ${running}.\n` });
  });
});

describe('checkpoint fsck', () => {
  const view = (nodes: readonly CheckpointNode[], driver: Partial<NodeView['driver']>): NodeView => {
    const plain = fakeNode({}, driver);
    return { ...plain, storage: { ...plain.storage, checkpoints: async (uuid) => (uuid === running ? nodes : []) } };
  };

  test('finds memory that no guest can go on from, and files of checkpoints that are gone, and asks the host first', async () => {
    let isPrepared = false;
    const driver: Partial<NodeView['driver']> = {
      prepare: async () => {
        isPrepared = true;
        return capabilities;
      },
      kept: async (uuid) => (uuid === running ? [full(1).id, full(2).id, full(7).id] : uuid === crashed ? [full(8).id] : []),
      whyNoReturn: async (_uuid, id) => (id === full(2).id && isPrepared ? 'its memory is damaged: ram is not the file that was saved' : null),
    };
    const { code, out, err, closed } = await run(['checkpoint', 'fsck', '--config-file', config], view([full(1), full(2), node(3, null)], driver));
    expect([code, closed]).toEqual([1, 1]);
    expect(out.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['INSTANCE', 'CHECKPOINT', 'NAME', 'KEEPER', 'FOUND'],
      [running, full(2).id, '-', 'nova', 'the guest could not go on from it: its memory is damaged: ram is not the file that was saved'],
      [running, full(7).id, '-', '-', 'files of a checkpoint that is gone; the agent removes them'],
      [crashed, full(8).id, '-', '-', 'files of a checkpoint of a server whose disks are not here; nothing removes them'],
      [''],
    ]);
    expect(err.split('\n').filter((line) => line.includes('reading the memory'))).toHaveLength(2);
    const { out: json } = await run(['checkpoint', 'fsck', running, '--json', '--config-file', config], view([full(1), full(2), node(3, null)], driver));
    expect(JSON.parse(json)).toMatchObject({ checked: 3, findings: [{ kind: 'no-return', checkpoint: full(2).id }, { kind: 'orphan' }] });
  });

  test('is content with checkpoints that are whole, and knows which instance is meant', async () => {
    expect(await run(['checkpoint', 'fsck', '1111', '--config-file', config], view([node(3, null)], {}))).toMatchObject({ code: 0, out: '1 checkpoint is what the pool says.\n' });
    expect(await run(['checkpoint', 'fsck', 'abc', '--config-file', config])).toMatchObject({ code: 1, out: '' });
  });
});

describe('checkpoint', () => {
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };

  test('shows a save without any configuration: guest, parts, and what a lost device looks like', async () => {
    const { code, out, closed } = await run(['checkpoint', 'show', file('stock.meta', recordedSave('stock', 'twoblk').text)]);
    expect([code, closed]).toEqual([0, 0]);
    expect(out).toMatch(/^guest +vm1\nvCPUs +1\nmemory +67108864 bytes\nfamily +structs \(as FreeBSD 13 writes it\)\n\nKernel\nPART +STATE\nvhpet +284 bytes\n/);
    expect(out).toMatch(/^vmx +-$/m);
    expect(out).toMatch(/^virtio-blk +619 bytes$/m);
    expect(out).not.toContain('State\n');
  });

  test('shows readable state with types, registers in hex, buffers by their length', async () => {
    const path = file('upb.meta', wikiMeta);
    const { out } = await run(['checkpoint', 'show', path]);
    expect(out).toMatch(/^virtio-net +below$/m);
    expect(out).toMatch(/^kernel\.vm\.vcpus\.vcpus@0\.nextrip +uint64 +0xffffffff81085d96$/m);
    expect(out).toMatch(/^kernel\.vm\.vcpus\.vcpus@0\.exitinfo +b64 +136 bytes$/m);
    expect(out).not.toContain('FQAAAA');
    const { members, ...rest } = JSON.parse((await run(['checkpoint', 'show', path, '--json'])).out) as { members: unknown[] };
    expect(rest).toMatchObject({ family: 'upb-json', guestName: 'vm1', vcpus: 2, memoryBytes: 1073741824, kernel: [{ name: 'vm', bytes: null }] });
    expect(members).toContainEqual({ path: 'kernel.vm.vcpus.vcpus@0.nextrip', type: 'uint64', value: String(0xffffffff81085d96n) });
    expect(members).toContainEqual({ path: 'kernel.vm.vcpus.vcpus@0.exitinfo', type: 'b64', bytes: 136 });
  });

  test('tells in what two saves differ: 1 if they do, 0 if not', async () => {
    const path = file('a.meta', wikiMeta);
    const other = file('b.meta', wikiMeta.replace('ffffffff81085d96', 'ffffffff81085d97').replace('CWXQiB', 'CXXQiB'));
    const { code, out } = await run(['checkpoint', 'diff', path, other]);
    expect(code).toBe(1);
    expect(out).toMatch(/^WHAT +BEFORE +AFTER\nkernel\.vm\.vcpus\.vcpus@0\.exitinfo +136 bytes +136 bytes +from byte 8 on\nkernel\.vm\.vcpus\.vcpus@0\.nextrip +0xffffffff81085d96 +0xffffffff81085d97\n$/);
    expect(JSON.parse((await run(['checkpoint', 'diff', path, other, '--json'])).out)).toMatchObject([{ type: 'b64', firstByte: 8 }, { after: String(0xffffffff81085d97n) }]);
    expect(await run(['checkpoint', 'diff', path, path])).toMatchObject({ code: 0, out: 'The descriptions do not differ.\n' });
    const stock = file('s.meta', recordedSave('stock', 'nvme').text);
    expect((await run(['checkpoint', 'diff', stock, stock])).out).toBe('The descriptions do not differ.\n\nOf memory and binary state only the sizes are compared.\n');
  });

  test('says which file cannot be read and where it is damaged', async () => {
    const cut = file('cut.meta', recordedSave('stock', 'ahcihd').text);
    expect(await run(['checkpoint', 'diff', file('a.meta', wikiMeta), cut])).toMatchObject({ code: 1, out: '', err: `nova-bhyve: ${cut}: the description of the save is damaged: devices is cut short\n` });
    const none = join(folder, 'none.meta');
    expect(await run(['checkpoint', 'show', none])).toMatchObject({ code: 1, out: '', err: `nova-bhyve: ${none}: there is no such file\n` });
    expect((await run(['checkpoint', 'show', folder])).err).toMatch(new RegExp(`^nova-bhyve: ${folder}: could not read a file: EISDIR`));
    for (const wrong of [['checkpoint'], ['checkpoint', 'show'], ['checkpoint', 'diff', cut], ['checkpoint', 'drop']]) expect((await run(wrong)).code, wrong.join(' ')).toBe(2);
  });
});

describe('selftest save-restore', () => {
  const host = { cpuModel: 'm', cpuVendor: 'AMD', release: '15.1', bhyve: 'b', kernel: 'k' };
  const passed: Awaited<ReturnType<NodeView['selfTest']>>['result'] = {
    at: '2026-11-26T00:00:00.000Z', host, family: 'kern-structs', models: ['hostbridge', 'lpc', 'virtio-blk'], isGood: true, reason: '',
  };

  test('tells what is tried, and what came of it', async () => {
    const selfTest: NodeView['selfTest'] = async (note) => {
      note('no device');
      return { result: passed, trials: [{ title: 'no device', outcome: 'passed', reason: '' }, { title: 'nvme', outcome: 'failed', reason: 'bhyve could not save it' }] };
    };
    const { code, out, err, closed } = await run(withConfig('selftest', 'save-restore'), fakeNode({ selfTest }));
    expect([code, closed, err]).toEqual([0, 1, 'trying: no device\n']);
    expect(out).toMatch(/nvme +failed +bhyve could not save it\n/);
    expect(out).toMatch(/suspend and resume +work on this host\n[\s\S]*hostbridge, lpc, virtio-blk\n[\s\S]*two of one model +come back/);
    expect(JSON.parse((await run(withConfig('selftest', 'save-restore', '--json'), fakeNode({ selfTest }))).out)).toMatchObject({ ...passed, trials: [{ title: 'no device' }, { outcome: 'failed' }] });
  });

  test('ends with 1 and the reason on a host where guests do not come back', async () => {
    const result = { ...passed, isGood: false, models: [], reason: 'no device: Failed to restore kernel structs.' };
    const { code, out } = await run(withConfig('selftest', 'save-restore'), fakeNode({ selfTest: async () => ({ result, trials: [] }) }));
    expect(code).toBe(1);
    expect(out).toContain('do not work on this host: no device: Failed to restore kernel structs.');
    expect(out).not.toContain('devices that come back');
  });
});

describe('instances', () => {
  test('has one line for all that is on the node, also for what has no guest, and says what is odd', async () => {
    const { code, out, closed } = await run(withConfig('instances'));
    expect([code, closed]).toEqual([0, 1]);
    const lines = out.trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    expect(lines[1]).toMatch(/^11111111\S+ +instance-00000001 +running +2 +512 MiB +10 GiB +tapaaaaaaaa-aa +reboot_instance$/);
    expect(lines[2]).toMatch(/^22222222\S+ +instance-00000002 +crashed \(exit 139\).*missing disk root$/);
    expect(lines[3]).toMatch(/no guest.*disks without a guest$/);
  });

  test('gives programs the same as JSON, without payloads', async () => {
    const { out } = await run(withConfig('instances', '--json'));
    const all = JSON.parse(out) as Record<string, unknown>[];
    expect(all).toHaveLength(3);
    expect(all[0]).toMatchObject({ uuid: running, state: { kind: 'running', pid: 4242 }, disks: [{ bytes: 10737418240 }], open: [{ rpc: 'reboot_instance', steps: { 'end-guest': 'done' } }] });
    expect(out).not.toContain('hush');
  });

  test('an empty node says so', async () => {
    const node = fakeNode({ plugger: { listOwned: async () => [] } }, { list: async () => [] });
    const { out, code } = await run(withConfig('instances'), { ...node, storage: { ...node.storage, instancesWithDisks: async () => [] } });
    expect([code, out]).toEqual([0, 'No instances on this node.\n']);
  });
});

describe('instance', () => {
  test('shows guest, disks, taps, slots and journal, without the payload', async () => {
    const { out, code } = await run(withConfig('instance', running));
    expect(code).toBe(0);
    for (const part of ['4242, since 2026-', '2 vCPUs, 512 MiB', 'VNC 127.0.0.1:5901', `/var/db/nova-bhyve/instances/${running}`, `p/instances/${running}/root`, 'fa:16:3e:00:00:01', '0:3:0', 'req-7', 'end-guest, start-guest (begun)']) {
      expect(out).toContain(part);
    }
    expect(out).not.toContain('hush');
  });

  test('takes the beginning of a uuid, if it is clear', async () => {
    expect((await run(withConfig('instance', '1111'))).code).toBe(0);
    const several = await run(withConfig('instance', '2222'));
    expect([several.code, several.out]).toEqual([1, '']);
    expect(several.err).toContain(`could be: ${crashed}, ${leftOver}`);
    expect((await run(withConfig('instance', '7'))).err).toContain('nothing of an instance 7');
  });

  test('tells why a guest ended, also when the host is unusable now', async () => {
    const node = fakeNode({}, { prepare: () => Promise.reject(new AgentError('host-unusable', 'no vmm')), slots: () => Promise.reject(new Error('not probed')) });
    const { out, code } = await run(withConfig('instance', crashed), node);
    expect(code).toBe(0);
    expect(out).toContain('segmentation fault');
  });

  test('as JSON it has everything but payloads', async () => {
    const { out } = await run(withConfig('instance', running, '--json'));
    expect(JSON.parse(out)).toMatchObject({ uuid: running, slots: { root: '0:3:0' }, history: [{ requestId: 'req-7', outcome: null }], vnc: { port: 5901 } });
    expect(out).not.toContain('hush');
  });
});

describe('check', () => {
  test('says what the host can and cannot do, with advice, and ends with 0 if the agent can run', async () => {
    const { out, code } = await run(withConfig('check'));
    expect(code).toBe(0);
    expect(out).toMatch(/limit +host +save and restore +not built in/);
    expect(out).toContain('suspend needs a FreeBSD built with BHYVE_SNAPSHOT');
    expect(out).toMatch(/note +config +warning +.*not used by this agent: \[DEFAULT\] compute_driver/);
    expect(out).toMatch(/limit +network +physnet1 uplink +em1 is absent/);
    expect(out).toContain('This host can: run guests, keep UEFI variables per guest, VNC consoles.');
    expect(out).toContain('It cannot: suspend and resume.');
    const saving = { ...capabilities, saveRestore: { status: 'ready' as const, reason: '', family: 'kern-structs' as const, models: ['virtio-blk'] } };
    expect((await run(withConfig('check'), fakeNode({}, { prepare: async () => saving, capabilities: saving }))).out).toContain('It cannot: suspend servers with NVMe disks.');
    expect(out).toContain('The agent can run here.');
    expect(out).not.toContain('hush');
  });

  test('ends with 1 when the host cannot run guests, and still shows all probes', async () => {
    const { out, code } = await run(withConfig('check'), fakeNode({}, { prepare: () => Promise.reject(new AgentError('host-unusable', 'this host cannot run guests: vmm', { cause: new Error('kldload') })) }));
    expect(code).toBe(1);
    expect(out).toMatch(/NO +host +guests +this host cannot run guests: vmm: kldload/);
    expect(out).toContain('save and restore');
    expect(out).toContain('cannot run here');
  });

  test('a pool that is not there is a no; a root dataset that is not there yet is not', async () => {
    const missing = { usage: () => Promise.reject(new AgentError('zfs-missing', 'the root dataset is gone')) };
    const base = fakeNode();
    const noPool = await run(withConfig('check'), { ...base, storage: { ...base.storage, ...missing }, host: { ...base.host, run: async () => ({ code: 1, stdout: '', stderr: '' }) } });
    expect([noPool.code, noPool.out.includes('zpool list')]).toEqual([1, true]);
    const noRoot = await run(withConfig('check'), { ...base, storage: { ...base.storage, ...missing } });
    expect(noRoot.code).toBe(0);
    expect(noRoot.out).toContain('the agent makes it at its first start');
  });

  test('guarded screens need certificates that can be used', async () => {
    const check = (screenTls: NodeView['screenTls']) => run(withConfig('check'), { ...fakeNode(), screenTls });
    expect((await check(async () => null)).out).not.toMatch(/console +VNC/);
    const good = await check(async () => ({ validTo: new Date('2031-05-06T07:08:09Z'), isExpired: false }));
    expect([good.code, good.out]).toEqual([0, expect.stringMatching(/ok +console +VNC +TLS, certificate valid until 2031-05-06/) as string]);
    const old = await check(async () => ({ validTo: new Date('2001-05-06T07:08:09Z'), isExpired: true }));
    expect([old.code, old.out]).toEqual([0, expect.stringContaining('renew the certificate of [vnc] tls_cert_file') as string]);
    const bad = await check(() => Promise.reject(new AgentError('tls-file-invalid', '[vnc] tls_key_file: /k is not the key of tls_cert_file')));
    expect([bad.code, bad.out]).toEqual([1, expect.stringMatching(/NO +console +VNC +\[vnc\] tls_key_file: \/k is not the key/) as string]);
  });

  test('disks of qcow2 files need a bhyve that opens them', async () => {
    const own = join(folder, 'qcow2.conf');
    writeFileSync(own, `${readFileSync(config, 'utf8')}\n[bhyve]\ndisk_format = qcow2\n`);
    const check = (hasLibvdsk: boolean) => run(['check', '--config-file', own], fakeNode({}, { capabilities: { ...capabilities, hasLibvdsk } }));
    const [without, given] = [await check(false), await check(true)];
    expect([without.code, given.code]).toEqual([1, 0]);
    expect(without.out).toMatch(/NO +storage +disk_format +qcow2, and bhyve opens raw disks only/);
    expect(without.out).toContain('set [bhyve] disk_format to raw, or install a bhyve with libvdsk');
    expect(given.out).toMatch(/ok +storage +disk_format +new servers get qcow2 files in \/.*\/chains/);
  });

  test('--online asks the broker and Keystone', async () => {
    const { out, code } = await run(withConfig('check', '--online', '--json'));
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ isUsable: false, can: ['run guests', 'keep UEFI variables per guest', 'VNC consoles'], lines: expect.arrayContaining([
      expect.objectContaining({ area: 'cloud', what: 'broker', verdict: 'ok', answer: 'RabbitMQ 3.10' }),
      expect.objectContaining({ area: 'cloud', what: 'keystone', verdict: 'no', answer: 'wrong password' }),
    ]) as unknown });
  });
});

describe('the program', () => {
  test('run gets the files and folders in their order and its code is the exit code', async () => {
    const seen: unknown[] = [];
    const { code } = await run(['run', '--config-file', 'a', '--config-dir', 'd', '--config-file', 'b'], fakeNode(), { run: async (location) => { seen.push(location); return 5; } });
    expect([code, seen]).toEqual([5, [{ files: ['a', 'b'], dirs: ['d'] }]]);
  });

  test('a configuration that cannot be used is 78, with every problem and no stack', async () => {
    const { code, err } = await run(['instances', '--config-file', join(folder, 'bad.conf')]);
    expect(code).toBe(78);
    expect(err).toContain('bad.conf:2: [bhyve] vnc_port_mni: there is no such option; did you mean vnc_port_min?');
    expect(err).toContain('transport_url: is not set');
    expect(err).not.toContain('    at ');
    expect((await run(['check', '--config-file', '/nonexistent'])).code).toBe(78);
  });

  test('wrong use is 2, help and version are 0', async () => {
    expect((await run(['no-such'])).code).toBe(2);
    expect((await run(['instance'])).code).toBe(2);
    expect((await run([])).code).toBe(2);
    const help = await run(['--help']);
    expect(help.code).toBe(0);
    for (const command of ['run', 'check', 'instances', 'instance', 'selftest', 'checkpoint']) expect(help.out).toContain(`  ${command} `);
    expect(await run(['--version'])).toMatchObject({ code: 0, out: '1.2.3\n' });
  });

  test('parts are given back when a command fails, and the failure is said once with its causes', async () => {
    const node = fakeNode({ readJournal: () => Promise.reject(new AgentError('journal-corrupt', 'the journal is damaged', { cause: new Error('line 3') })) });
    const { code, err, closed } = await run(withConfig('instances'), node);
    expect([code, closed, err]).toEqual([1, 1, 'nova-bhyve: the journal is damaged: line 3\n']);
  });
});
