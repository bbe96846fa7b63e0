/** The image that makefs makes, read back by another program. Needs makefs and xorriso (Debian packages of these names). */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createHost } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { buildConfigDrive, writeConfigDrive, type ConfigDriveInput } from '../../../src/storage/index.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'config-drive-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const input: ConfigDriveInput = {
  uuid: '69e439e8-259a-443a-876b-62979aca17c9', name: 'web', hostname: 'web.novalocal', projectId: 'p', launchIndex: 0, availabilityZone: 'nova', reservationId: 'r-1', metadata: {},
  keyPair: null, flavorName: 'm1.nano', rootDeviceName: '/dev/vda', ephemeralDevice: null, swapDevice: null, securityGroups: [],
  ec2: { instanceId: 'i-00000001', amiId: null, kernelId: null, ramdiskId: null }, userData: Buffer.from('#cloud-config\n'), injectedFiles: [['../../../../tmp/x', Buffer.from('injected')]],
  adminPassword: 's3cret', networkInfo: [], vendorData: {}, dynamicVendorData: {}, randomSeed: new Uint8Array(512), devices: [],
};
const host = (searchPath?: string): ReturnType<typeof createHost> =>
  createHost({ path: searchPath ?? '/usr/sbin:/usr/bin:/sbin:/bin', deviceRoot: '/dev', clock: systemClock, log: recordingLog().log, metrics: noMetrics });

test('the image has the exact label, every file of the tree, and nobody else may read it', async () => {
  const path = join(folder, 'config.iso');
  await writeConfigDrive(host(), { instanceFolder: folder, path, input });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(['config.iso']);
  expect(readFileSync(path).toString('latin1', 16 * 2048 + 40, 16 * 2048 + 72)).toBe('config-2'.padEnd(32));
  const out = join(folder, 'out');
  execFileSync('xorriso', ['-osirrox', 'on', '-indev', path, '-extract', '/', out], { stdio: 'pipe' });
  execFileSync('chmod', ['-R', 'u+rwX', out]);
  const found = (readdirSync(out, { recursive: true }) as string[]).filter((name) => statSync(join(out, name)).isFile()).sort();
  const wanted = buildConfigDrive(input);
  expect(found).toEqual([...wanted.keys()].sort());
  for (const [name, content] of wanted) expect([name, readFileSync(join(out, name)).equals(Buffer.from(content))]).toEqual([name, true]);
});

test('writing again replaces the image', async () => {
  const path = join(folder, 'config.iso');
  await writeConfigDrive(host(), { instanceFolder: folder, path, input });
  const before = readFileSync(path);
  await writeConfigDrive(host(), { instanceFolder: folder, path, input: { ...input, hostname: 'other.novalocal' } });
  expect(readFileSync(path).equals(before)).toBe(false);
  expect(readdirSync(folder)).toEqual(['config.iso']);
});

test('without makefs nothing stays behind, least of all the password', async () => {
  const bare = host(folder);
  await expect(writeConfigDrive(bare, { instanceFolder: folder, path: join(folder, 'config.iso'), input })).rejects.toMatchObject({ code: 'command-missing' });
  expect(readdirSync(folder)).toEqual([]);
});
