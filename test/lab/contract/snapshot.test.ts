/**
 * Sessions of saving and restoring, recorded on a 13.2, against lab nodes of the profiles that are such hosts. A recording of bhyve was written when
 * it ended; here it is started where the session had started it. Lists of files are looked at, not compared: sizes of `.kern` are the lab's own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../engine.js';
import { createLabNode, type LabNode, type Profile } from '../node.js';
import { type OpenPlace, openLabNode } from './place.js';
import { type Difference, type Outcome, type Place, type Recording, argvAt, describeDifferences, differenceOf, recordings, replay } from './replay.js';

let open: OpenPlace & { readonly node: LabNode };
let place: Place;
let folder: string;
let differences: Difference[];
const started: ChildProcess[] = [];

beforeAll(async () => {
  open = await openLabNode('snapshot-13.2');
  folder = open.files[0]![1];
  place = { ...open.place, names: [...open.files, ['/root/', `${folder}/`], ['/dev/nmdm', join(open.node.deviceRoot, 'nmdm')], ...open.place.names] };
});
afterAll(async () => open.close());

/** Another bhyve on the same node, which has no guests and no files of theirs. */
async function use(profile: Profile): Promise<void> {
  await createLabNode({ name: open.node.name, profile });
  for (const name of entries()) await place.run(['bhyvectl', `--vm=${name}`, '--destroy']);
  rmSync(join(open.node.path, 'run/bhyve'), { recursive: true, force: true });
  rmSync(join(folder, 's'), { recursive: true, force: true });
  mkdirSync(join(folder, 's'));
  differences = [];
}

afterEach(async () => {
  for (const child of started.splice(0)) {
    child.kill('SIGKILL');
    await until(() => child.exitCode !== null || child.signalCode !== null, 120_000, 'a bhyve does not end');
  }
});

interface Guest { readonly recording: Recording; readonly ended: Promise<Outcome> }

/** Starts the bhyve of a recording and returns when it takes requests. */
async function start(recording: Recording, name = 'vm1'): Promise<Guest> {
  const [command, ...args] = argvAt(place, recording);
  const child = spawn(command!, args, { env: open.node.env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  started.push(child);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  let isOver = false;
  const ended = new Promise<Outcome>((resolve) => {
    child.once('close', (code, signal) => {
      isOver = true;
      resolve({ code: code ?? (signal === 'SIGSEGV' ? 139 : 134), stdout, stderr });
    });
  });
  await until(async () => isOver || (await isTitled(name)), 120_000, `bhyve does not run: ${stderr}`);
  return { recording, ended };
}

const isTitled = async (name: string): Promise<boolean> => (await place.run(['ps', '-axww', '-o', 'command'])).stdout.includes(`bhyve: ${name} (bhyve)`);

const note = (difference: Difference | null): void => {
  if (difference !== null) differences.push(difference);
};
const compare = async (...all: readonly Recording[]): Promise<void> => {
  for (const recording of all) note(await replay(place, recording));
};
const compareEnd = async (guest: Guest): Promise<void> => note(differenceOf(place, guest.recording, await guest.ended));
const forceOff = async (name: string): Promise<void> => {
  expect((await place.run(['bhyvectl', `--vm=${name}`, '--force-poweroff'])).code).toBe(0);
};
const sizeOf = (name: string): number => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? -1;
const written = async (name: string): Promise<void> => until(() => sizeOf(`${name}.meta`) > 0, 120_000, `${name}.meta stays empty`);
const entries = (): string[] => (existsSync(join(open.node.deviceRoot, 'vmm')) ? readdirSync(join(open.node.deviceRoot, 'vmm')) : []);

/** A guest that was not recorded. */
const rom = (...devices: readonly string[]): Recording =>
  ({ argv: ['bhyve', '-c', '1', '-m', '64M', '-H', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'bootrom,/vms/rom.fd', ...devices.flatMap((device) => ['-s', device]), 'vm1'], code: 0, stdout: '', stderr: '' });
const restoreOf = (recording: Recording, file = '/vms/s/su'): Recording => ({ ...recording, argv: ['bhyve', '-r', file, ...recording.argv.slice(1)] });

describe('a bhyve of 13.2 that restores', () => {
  beforeEach(async () => use('snapshot-13.2'));

  it('saves and restores as recorded, under another name too', async () => {
    const session = recordings('guest-snapshot-resume');
    const first = await start(session[12]!);
    await compare(session[0]!);
    await written('s/ck');
    await compare(session[4]!, session[5]!, session[7]!, session[9]!, session[11]!);
    await compareEnd(first);
    expect([sizeOf('rel'), statSync(join(folder, 'rel')).mode & 0o777, statSync(join(folder, 'rel.kern')).mode & 0o777, entries()]).toEqual([64 << 20, 0o700, 0o700, []]);

    const second = await start(session[21]!);
    await compare(session[20]!);
    await compareEnd(second);
    const other = await start(session[33]!, 'other');
    const again = await start(session[34]!);
    await compare(session[32]!);
    for (const name of ['other', 'vm1']) await forceOff(name);
    await compareEnd(other);
    await compareEnd(again);
    await compare(session[35]!, session[36]!);
    writeFileSync(join(folder, 's/g.meta'), readFileSync(join(folder, 's/su.meta'), 'utf8').replace('vm1', 'renamed'));
    for (const end of ['', '.kern']) copyFileSync(join(folder, `s/su${end}`), join(folder, `s/g${end}`));
    const renamed = await start(session[72]!, 'renamed');
    await forceOff('renamed');
    await compareEnd(renamed);
    const larger = await start(session[37]!);
    await forceOff('vm1');
    await compareEnd(larger);
    expect(describeDifferences(differences)).toBe('');
    expect(readdirSync(join(open.node.path, 'run/bhyve')).sort()).toEqual(['other', 'renamed', 'vm1']);
  });

  it('refuses damaged files and other machines as recorded', async () => {
    const session = recordings('guest-snapshot-resume');
    const guest = await start(session[12]!);
    await place.run(['bhyvectl', '--vm=vm1', `--suspend=${folder}/s/su`]);
    await guest.ended;
    damage();
    // 41 has its disk in another slot: the guest of a real host goes on and fails later, the engine of the lab notices.
    const ends = [39, 43, 47, 49, 51, 53, 55, 57, 59, 61, 63, 65, 67];
    for (const index of ends) await compare(session[index]!, session[index + (index === 43 ? 3 : 1)]!);
    expect(describeDifferences(differences)).toBe('');
  });

  it('refuses names that are too long for it', async () => {
    const [long, base] = [join(folder, 's', 'n'.repeat(200)), 'm'.repeat(60)];
    mkdirSync(long);
    writeFileSync(join(long, base), 'memory');
    const complaint = 'Filename exceeds maximum length.\nFailed to construct kernel data filename.\n';
    expect(await place.run(argvAt(place, restoreOf(rom(), join(long, base))))).toEqual({ code: 1, stdout: '', stderr: `${complaint}Failed to read checkpoint info from file: '${join(long, base)}'.\n` });
    const guest = await start(rom());
    await place.run(['bhyvectl', '--vm=vm1', `--checkpoint=${join(long, base)}`]);
    await place.run(['bhyvectl', '--vm=vm1', `--suspend=${folder}/s/su`]);
    expect(await guest.ended).toMatchObject({ code: 0, stderr: expect.stringContaining(complaint) as string });
    expect(readFileSync(join(long, base), 'utf8')).toBe('memory');
  });

  it('lists types and not devices, and loses an NVMe controller without a word', async () => {
    const session = recordings('guest-snapshot-devices');
    for (const [name, checkpoint, suspend, bhyve] of [['twoblk', 11, 15, 16], ['nvme', 49, 53, 54]] as const) {
      const guest = await start(session[bhyve]!);
      await compare(session[checkpoint]!);
      await written(`s/${name}`);
      await compare(session[checkpoint + 2]!, session[suspend]!);
      await compareEnd(guest);
      const restored = await start(session[bhyve + 4]!);
      await forceOff('vm1');
      await compareEnd(restored);
      await compare(session[bhyve + 5]!);
    }
    expect(describeDifferences(differences)).toBe('');
  });

  it('cannot save an AHCI controller that no driver has set up, and goes on', async () => {
    const session = recordings('guest-snapshot-devices');
    const guest = await start({ argv: [...session[5]!.argv.slice(0, -1), '-s', '2,ahci-hd,/vms/d0.img', 'vm1'], code: 134, stdout: '', stderr: '' });
    await compare(session[22]!);
    await written('s/ahcihd');
    await compare(session[24]!, session[26]!);
    await written('s/ahcihd2');
    expect([entries(), await isTitled('vm1'), sizeOf('s/ahcihd2')]).toEqual([['vm1'], true, 64 << 20]);
    await compare(session[30]!);
    expect((await guest.ended).stderr).toContain('Failed to snapshot ahci; ret=14\r\nFailed to snapshot device state.\npci_resume: no such name: virtio-net\n');
    expect(describeDifferences(differences)).toBe('');
  });

  it('finds nobody at a socket that was left behind', async () => {
    const session = recordings('guest-snapshot-stock');
    const guest = await start(session[33]!);
    await forceOff('vm1');
    await guest.ended;
    await compare(session[38]!, ...session.slice(81, 83), session[84]!);
    expect(await place.run(['bhyvectl', '--vm=fresh', '--create'])).toMatchObject({ code: 0 });
    const made = recordings('bhyvectl').find(({ argv }) => argv.join(' ') === 'bhyvectl --vm=made --checkpoint=/tmp/x')!;
    await compare({ ...made, argv: ['bhyvectl', '--vm=fresh', '--checkpoint=/tmp/x'] });
    expect(describeDifferences(differences)).toBe('');
  });
});

/** Copies of a good save, each broken in one way, under the names that the session used. */
function damage(): void {
  const of = (name: string): string => join(folder, 's', name);
  for (const letter of 'abcdef') for (const end of ['', '.kern', '.meta']) if (letter !== 'a' || end === '') copyFileSync(of(`su${end}`), of(`${letter}${end}`));
  writeFileSync(of('b.meta'), 'no JSON');
  truncateSync(of('c'), 0);
  truncateSync(of('d.kern'), 100);
  truncateSync(of('e.meta'), 500);
  truncateSync(of('f'), 1 << 20);
}

describe('the bhyve of the release 13.2', () => {
  beforeEach(async () => use('snapshot-13.2-stock'));

  it('saves and then refuses to restore, as recorded', async () => {
    const session = recordings('guest-snapshot-stock');
    const first = await start(session[12]!);
    await compare(session[0]!);
    await written('s/ck');
    await compare(session[4]!, session[11]!);
    // The session had asked for three saves before the last one: one good, two into a folder that is not there.
    const { code, stdout } = await first.ended;
    expect({ code, stdout }).toEqual({ code: 0, stdout: '\r\n\r\n' });
    await compare(session[21]!, session[20]!);
    expect(entries()).toEqual(['vm1']);
    await compare(session[27]!);
    expect(describeDifferences(differences)).toBe('');
  });
});

describe('the bhyve of 15', () => {
  beforeEach(async () => use('snapshot-15'));

  it('refuses to save an NVMe controller, lets the guest go on and leaves what it has written', async () => {
    const guest = await start(rom('4,nvme,/vms/d0.img'));
    expect(await place.run(['bhyvectl', '--vm=vm1', `--suspend=${folder}/s/su`])).toEqual({ code: 0, stdout: '', stderr: '' });
    await written('s/su');
    expect([sizeOf('s/su'), entries(), statSync(join(folder, 's/su.meta')).mode & 0o777]).toEqual([64 << 20, ['vm1'], 0o700]);
    expect(() => JSON.parse(readFileSync(join(folder, 's/su.meta'), 'utf8')) as unknown).toThrow();
    await forceOff('vm1');
    expect(await guest.ended).toMatchObject({ code: 1, stderr: 'Failed to snapshot nvme@pci.0.4.0; ret=45\nFailed to snapshot device state.\n' });
  });

  it('saves an NVMe controller with all that it has where there is code for it, and restores it', async () => {
    await use('snapshot-15-nvme');
    const machine = rom('4,nvme,/vms/d0.img');
    const guest = await start(machine);
    await place.run(['bhyvectl', '--vm=vm1', `--suspend=${folder}/s/su`]);
    expect(await guest.ended).toMatchObject({ code: 5, stderr: '' });
    expect(readFileSync(join(folder, 's/su.meta'), 'utf8')).toMatch(/"device": "nvme@pci\.0\.4\.0",\s+"size": 3964,/);
    const restored = await start(restoreOf(machine));
    await forceOff('vm1');
    expect((await restored.ended).stdout).toContain('Resuming pci devs...\n');
  });

  it('ends with 5, restores by address and refuses a machine with another device', async () => {
    const guest = await start(rom('2,virtio-blk,/vms/d0.img'));
    expect(await place.run(['bhyvectl', '--vm=vm1', '--suspend=/nosuch/su'])).toEqual({ code: 2, stdout: '', stderr: '' });
    await place.run(['bhyvectl', '--vm=vm1', `--suspend=${folder}/s/su`]);
    expect(await guest.ended).toMatchObject({ code: 5, stderr: '' });
    expect(await place.run(argvAt(place, restoreOf(rom('3,virtio-blk,/vms/d0.img'))))).toMatchObject({ code: 1, stderr: 'Failed to lookup dev: virtio-blk@pci.0.3.0\nFailed to restore PCI device state.\n' });
    const restored = await start(restoreOf(rom('2,virtio-blk,/vms/d0.img')));
    await forceOff('vm1');
    expect(await restored.ended).toMatchObject({ code: 1, stdout: 'Pausing pci devs...\nRestoring vm mem...\n\r\nRestoring pci devs...\nRestoring kernel structs...\nResuming pci devs...\n' });
  });
});

describe('the bhyve of upb-capsicum', () => {
  beforeEach(async () => use('upb-capsicum'));

  it('writes beside the first disk and nowhere else', async () => {
    const machine = rom('2,virtio-blk,/vms/d0.img');
    const guest = await start(machine);
    const outside = mkdtempSync(join(tmpdir(), 'lab-outside-'));
    await place.run(['bhyvectl', '--vm=vm1', `--suspend=${outside}/su`]);
    await place.run(['bhyvectl', '--vm=vm1', `--suspend=${folder}/s/su`]);
    expect(await guest.ended).toMatchObject({ code: 0, stderr: expect.stringContaining('Failed to create checkpoint file: Not permitted in capability mode\n') as string });
    expect([readdirSync(outside), readdirSync(join(folder, 's'))]).toEqual([[], ['su', 'su.kern', 'su.meta']]);
    rmSync(outside, { recursive: true });
  });
});

describe.each([
  ['snapshot-14', ['su', 'su.kern', 'su.meta'], 'kern_structs'], ['upb-zfs', ['su', 'su.kern', 'su.meta'], '"debug_name"'], ['upb-json', ['su', 'su.meta'], '"version": 2'],
] as const)('the bhyve of %s', (profile, files, word) => {
  beforeEach(async () => use(profile));

  it('ends with 0, and restores what it has written', async () => {
    const machine = rom('2,virtio-blk,/vms/d0.img', '3,virtio-rnd');
    const guest = await start(machine);
    expect((await place.run(['bhyvectl', '--vm=vm1', `--suspend=${folder}/s/su`])).code).toBe(0);
    expect(await guest.ended).toMatchObject({ code: 0 });
    expect(readdirSync(join(folder, 's'))).toEqual(files);
    expect(readFileSync(join(folder, 's/su.meta'), 'utf8')).toContain(word);
    const restored = await start(restoreOf(machine));
    await forceOff('vm1');
    expect((await restored.ended).stdout).toContain('Resuming pci devs...\r\n');
  });
});
