/** Where the recordings are replayed: a lab node of the profile that was recorded, or LAB_FREEBSD=user@host. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createLabNode, type LabNode, type Profile } from '../node.js';
import { localPlace, sshPlace, type Place } from './replay.js';

const run = promisify(execFile);

/** What a bhyve built with BHYVE_SNAPSHOT says and a stock one does not. */
const snapshotTexts = [' [-r file]', '       -r: path to checkpoint file\n', '       [--checkpoint=<filename>]\n       [--suspend=<filename>]\n'];

export interface OpenPlace {
  readonly place: Place;
  /** Stands for /vms of the recordings; a session in which `tank/vms` is a dataset must not translate it. */
  readonly files: Place['names'];
  /** Absent on a real host. */
  readonly node: LabNode | undefined;
  close(): Promise<void>;
}

/** Files that the recorded session had in /vms. */
function files(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lab-vms-'));
  const write = (name: string, text: string, bytes?: number): void => {
    writeFileSync(join(folder, name), text);
    if (bytes !== undefined) truncateSync(join(folder, name), bytes);
  };
  write('k.conf', 'name=fromfile\ncpus=2\nmemory.size=512M\n# comment\n\npci.0.0.0.device=hostbridge\npci.0.2.0.path=/x%(name)/d.img\nacpi_tables=true\n');
  write('bad.conf', 'no equals\n');
  write('bad2.conf', 'a=1\n=2\n');
  write('empty.conf', '');
  write('zero.fd', '');
  for (const disk of ['d0.img', 'd1.img']) write(disk, '', 64 << 20);
  write('rom.fd', '', 64 << 10);
  write('big.fd', '', 20 << 20);
  return folder;
}

export async function openPlace(extra: Place['names'] = []): Promise<OpenPlace> {
  const host = process.env['LAB_FREEBSD'];
  return host === undefined ? openLabNode('stock-13.2', extra) : openRealHost(host, extra);
}

/** A lab node of a profile, whatever LAB_FREEBSD says. */
export async function openLabNode(profile: Profile, extra: Place['names'] = []): Promise<OpenPlace & { readonly node: LabNode }> {
  const options = { name: 'contract', profile, poolGiB: 4 } as const;
  await (await createLabNode(options)).destroy();
  const node = await createLabNode(options);
  const folder = files();
  await run(join(node.path, 'bin/kldload'), ['-n', 'vmm', 'nmdm']);
  await run(join(node.path, 'bin/zfs'), ['set', 'compression=lz4', 'atime=off', `lab-${node.name}`]);
  return {
    place: localPlace(node.env, [['/dev/zvol', join(node.deviceRoot, 'zvol')], ['tank', `lab-${node.name}`], ['vtnet0', 'uplink0'], ...extra], profile.startsWith('stock-') ? snapshotTexts : []),
    files: [['/vms', folder]], node,
    close: async () => {
      rmSync(folder, { recursive: true });
      await node.destroy();
    },
  };
}

/** A pool in a file; everything else is the host's own. */
async function openRealHost(host: string, extra: Place['names']): Promise<OpenPlace> {
  const place = sshPlace(host, [['tank', 'labcontract'], ['vtnet0', process.env['LAB_FREEBSD_UPLINK'] ?? 'vtnet0'], ...extra]);
  await place.run(['truncate', '-s', '4g', '/var/tmp/labcontract.img']);
  await place.run(['zpool', 'create', '-O', 'compression=lz4', '-O', 'atime=off', 'labcontract', '/var/tmp/labcontract.img']);
  await place.run(['kldload', '-n', 'vmm', 'nmdm']);
  return {
    place, files: [], node: undefined,
    close: async () => {
      await place.run(['zpool', 'destroy', '-f', 'labcontract']);
      await place.run(['rm', '/var/tmp/labcontract.img']);
    },
  };
}
