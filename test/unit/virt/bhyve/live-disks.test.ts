/** Checkpoints that bhyve makes of qcow2 disks, and where a guest finds its disks when it reboots by itself. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { Host } from '../../../../src/host/index.js';
import { createBhyveDriver, type HypervisorDriver } from '../../../../src/virt/index.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA } from '../../../fakes/guest-definition.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock } from '../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
const folder = `${statePath}/instances/${instanceA}`;
const name = 'cccccccc-0000-4000-8000-000000000001';
const pathOf = (role: string, file: string): string => `${statePath}/chains/instances/${instanceA}/${role}/${file}`;
let host: BhyveHost;
let driver: HypervisorDriver;
let asked: string[];
/** What bhyve leaves in its working directory when it is asked. */
let bhyve: () => void;

async function prepare(usage = '       [--checkpoint=<name>]\n       [--ext-checkpoint=<name>]\n'): Promise<void> {
  const clock = createVirtualClock();
  host = createBhyveHost(clock);
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: usage });
  asked = [];
  bhyve = () => ['', '.kern', '.meta'].forEach((end) => host.outside.put(`${folder}/${name}${end}`, 'memory'));
  const listening: Host = {
    ...host,
    run: async (tool, args, options) => {
      if (tool !== 'bhyvectl' || !args.some((arg) => arg.includes('checkpoint='))) return host.run(tool, args, options);
      asked.push(args.join(' '));
      bhyve();
      return { code: 64, stdout: '', stderr: '' }; // says nothing, as every exit of it
    },
  };
  driver = createBhyveDriver({ host: listening, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics, vnc: null });
  await driver.prepare();
  await driver.define(guestDefinition({
    disks: (['root', 'eph0'] as const).map((role) => ({ role, path: pathOf(role, 'base'), serial: role, bus: 'sata', kind: 'disk' })),
  }));
  await driver.start(instanceA);
}
beforeEach(() => prepare());

const config = (): string => host.outside.text(`${folder}/bhyve.conf`)!;

describe('a checkpoint of the disks of a running guest', () => {
  test.each([['external', 'ext-checkpoint'], ['internal', 'checkpoint']] as const)('that is %s is asked for with --%s, and the memory that comes with it is removed', async (kind, option) => {
    await driver.checkpointDisks(instanceA, name, kind);
    expect([asked, host.outside.paths().filter((path) => path.includes(name))]).toEqual([[`--vm=${instanceA} --${option}=${name}`], []]);
  });

  test.each([
    ['is paused', /paused.*unpause the server, or stop it/, () => driver.pause(instanceA)],
    ['has more memory than state_path has room', /saves the guest's 512 MiB of memory/, async () => { host.freeBytes = 100n << 20n; }],
    ['runs in a bhyve without libvdsk', /no libvdsk/, () => prepare('')],
  ])('of a guest that %s is refused, and bhyve is not asked', async (_what, words, spoil) => {
    await spoil();
    await expect(driver.checkpointDisks(instanceA, name, 'external')).rejects.toMatchObject({ code: 'guest-checkpoint-refused', message: expect.stringMatching(words) as string });
    expect(asked).toEqual([]);
  });

  test('of a guest that is off, or that ends meanwhile, is not waited for', async () => {
    bhyve = () => host.exit(instanceA, 1);
    await driver.checkpointDisks(instanceA, name, 'external');
    await expect(driver.checkpointDisks(instanceA, name, 'external')).rejects.toMatchObject({ code: 'guest-not-running' });
    expect(asked).toHaveLength(1);
  });

  test('that bhyve puts into its own folder is not taken for memory and removed', async () => {
    const usual = bhyve;
    bhyve = () => {
      usual();
      host.outside.put(`${folder}/${name}`, 'QFI');
      host.outside.put(`${folder}/${name}.meta`, '{}');
    };
    await driver.checkpointDisks(instanceA, name, 'external'); // three octets are no qcow2 file
    bhyve = () => {
      usual();
      void host.files.writeAtomic(`${folder}/${name}`, Buffer.from('QFI\xfb and so on', 'latin1'));
    };
    await expect(driver.checkpointDisks(instanceA, name, 'external')).rejects.toMatchObject({ code: 'guest-checkpoint-unfinished', message: expect.stringContaining('by hand') as string });
    expect(host.outside.paths()).toContain(`${folder}/${name}`);
  });

  test('that bhyve neither makes nor refuses is given up in the end, as nobody knows what', async () => {
    bhyve = () => undefined;
    await expect(driver.checkpointDisks(instanceA, name, 'external')).rejects.toMatchObject({ code: 'guest-checkpoint-unfinished' });
  });
});

describe('a guest whose disks have moved', () => {
  test('comes back on the new files when it reboots by itself, and is otherwise what it was', async () => {
    const before = config();
    await driver.moveDisks(instanceA, new Map([['root', pathOf('root', name)]]));
    expect(config()).toBe(before.replace(pathOf('root', 'base'), pathOf('root', name)));
    expect((await driver.definition(instanceA))!.disks.map(({ path }) => path)).toEqual([pathOf('root', name), pathOf('eph0', 'base')]);
  });

  test('and comes back on the old ones when they move back, wherever the first move was cut off', async () => {
    const before = config();
    const paths = new Map([['root', pathOf('root', name)]] as const);
    await driver.moveDisks(instanceA, paths);
    const [moved, spec] = [config(), host.outside.text(`${folder}/instance.json`)!];
    await driver.moveDisks(instanceA, new Map([['root', pathOf('root', 'base')]]));
    expect(config()).toBe(before);
    // Died between its two files.
    host.outside.put(`${folder}/instance.json`, spec);
    await driver.moveDisks(instanceA, paths);
    expect(config()).toBe(moved);
    host.outside.put(`${folder}/bhyve.conf`, before);
    await driver.moveDisks(instanceA, paths);
    expect(config()).toBe(moved);
  });
});
