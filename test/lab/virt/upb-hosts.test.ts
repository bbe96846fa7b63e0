/** Hosts of the FreeBSD-UPB branches and of their kin: what is particular to each, with guests that really boot. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/lib/clock.js';
import { parseCheckpointId } from '../../../src/lib/ids.js';
import { createStorage } from '../../../src/storage/index.js';
import { powerStates, type GuestDefinition, type HypervisorDriver } from '../../../src/virt/index.js';
import { renderSelfTest, selfTestPath, type SelfTestResult } from '../../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../../src/virt/bhyve/save-identity.js';
import { noMetrics } from '../../fakes/recording-log.js';
import { waitUntil } from '../../fakes/wait-until.js';
import type { Profile } from '../node.js';
import { createLabHost, type LabGuest, type LabHost } from './lab-guest.js';

const quiet = new AbortController().signal;
const still = { root: 'as it was' };
const waitMs = 180_000;
const testMs = 600_000;

/** A host with one guest, which counts. */
class Scene {
  private constructor(readonly lab: LabHost, readonly driver: HypervisorDriver, public guest: LabGuest, readonly tools: Set<string>) {}

  static async open(name: string, profile: Profile, family: SelfTestResult['family'], models: readonly string[]): Promise<Scene> {
    const lab = await createLabHost(name, profile);
    const tools = new Set<string>();
    const { host } = lab;
    const run = host.run.bind(host);
    Object.assign(host, { run: async (...[tool, args, options]: Parameters<typeof run>) => { tools.add(tool); return run(tool, args, options); } });
    const { driver } = await lab.newDriver();
    const path = selfTestPath(lab.node.statePath);
    await host.files.makeDirectory(dirname(path));
    const result = { at: new Date().toISOString(), host: await readSaveIdentity(host, driver.capabilities), family, models: [...models], isGood: true, reason: '' };
    await host.files.writeAtomic(path, renderSelfTest([result]));
    return new Scene(lab, driver, await lab.guest('10.20.5.50'), tools);
  }

  async boot(changes: (disk: GuestDefinition['disks'][number]) => GuestDefinition['disks'][number] = (disk) => disk): Promise<void> {
    const { tapName } = await this.lab.plugger.plug(this.guest.instance, this.guest.vif, quiet);
    const definition = this.guest.definition(tapName);
    await this.driver.define({ ...definition, disks: definition.disks.map(changes) });
    await this.driver.start(this.guest.instance);
    await waitUntil(async () => (await this.log()).includes('guest: ready'), 'the guest is up', waitMs);
    await this.counts(1);
  }

  log = async (): Promise<string> => (await this.driver.consoleLog(this.guest.instance, null)) ?? '';
  lastTick = async (): Promise<number> => Number([...(await this.log()).matchAll(/^tick (\d+)/gm)].at(-1)?.[1] ?? 0);
  counts = async (beyond: number): Promise<void> => waitUntil(async () => (await this.lastTick()) > beyond, `it counts beyond ${beyond}`, waitMs);
  wish = (line: string): void => writeFileSync(join(this.lab.node.path, 'etc/save.conf'), `${line}\n`);

  /** It counts on in the memory that it had. */
  async expectGoesOn(): Promise<void> {
    await this.counts(await this.lastTick());
    const text = await this.log();
    expect(text.match(/guest: boot \d+/g), text.slice(-2000)).toEqual(['guest: boot 1']);
  }

  /** Another guest in the place of this one. */
  async change(address: string): Promise<void> {
    await this.remove();
    this.guest = await this.lab.guest(address);
  }

  private async remove(): Promise<void> {
    await this.driver.destroy(this.guest.instance);
    await this.lab.plugger.unplug(this.guest.instance, this.guest.vif.id);
  }

  async close(): Promise<void> {
    await this.remove();
    await this.lab.close();
    await this.lab.node.destroy();
  }
}

const base = ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci', 'fbuf', 'xhci'];
let scene: Scene | undefined;
afterEach(async () => {
  await scene?.close();
  scene = undefined;
});

test('upb-zfs: suspend and a checkpoint of memory and disks are as on 13, by bhyvectl and zfs alone: its daemon is not asked', async () => {
  scene = await Scene.open('upb-zfs', 'upb-zfs', 'structs', base);
  const { lab, driver, guest } = scene;
  const { instance } = guest;
  const storage = createStorage({ host: lab.host, root: `${lab.node.zfsRoot}/tree`, scratch: join(lab.node.statePath, 'scratch'), clock: systemClock, log: lab.log.log, metrics: noMetrics });
  await storage.prepare();
  const disk = await storage.createBlankDisk(instance, 'root', 256n << 20n);
  execFileSync('dd', [`if=${guest.definition('tap').disks[0]!.path}`, `of=${disk.devicePath}`, 'bs=1M', 'conv=notrunc,sparse'], { stdio: 'ignore' });
  await scene.boot((root) => ({ ...root, path: disk.devicePath }));
  const suspend = (): Promise<void> => driver.suspend(instance, { holdDisks: () => storage.holdStill(instance), signal: quiet });
  const resume = async (): Promise<void> => {
    await driver.resume(instance, { disks: await storage.stillness(instance), signal: quiet });
    await storage.letGo(instance);
  };

  await suspend();
  expect([await driver.powerState(instance), await guest.pings()]).toEqual([powerStates.suspended, false]);
  const checkpoint = parseCheckpointId('cccccccc-0000-4000-8000-000000000001');
  const memory = await driver.keepSave(instance, checkpoint);
  await storage.createCheckpoint(instance, checkpoint, 'running', memory);
  const then = await scene.lastTick();
  await resume();
  await scene.counts(then + 3);
  await scene.expectGoesOn();

  expect(await driver.whyNoReturn(instance, checkpoint, memory, quiet)).toBeNull();
  await driver.stop(instance, { graceMs: 0, retryMs: 0 });
  const [later, said] = [await scene.lastTick(), (await scene.log()).length];
  await storage.restoreCheckpoint(instance, checkpoint, 'dddddddd-0000-4000-8000-000000000001');
  await driver.putBackSave(instance, checkpoint, await storage.holdStill(instance));
  await resume();
  const next = async (): Promise<string | undefined> => /^tick (\d+)\r?$/m.exec((await scene!.log()).slice(said))?.[1];
  await waitUntil(async () => (await next()) !== undefined, 'it counts again', waitMs);
  expect(Number(await next())).toBeLessThan(later);
  await scene.expectGoesOn();
  expect((await storage.checkpoints(instance)).map(({ id, isCurrent }) => [id, isCurrent])).toEqual([[checkpoint, true]]);
  const known = ['bhyve', 'bhyvectl', 'daemon', 'ifconfig', 'kldload', 'kldstat', 'freebsd-version', 'netstat', 'ps', 'sysctl', 'zfs', 'zpool', 'sh', 'dd'];
  expect([...scene.tools].filter((tool) => !known.includes(tool))).toEqual([]);
}, testMs);

test('upb-capsicum: a guest on a volume is refused and goes on; one on a file is saved beside it, where only root may look, and counts on', async () => {
  scene = await Scene.open('upb-caps', 'upb-capsicum', 'structs', base);
  const { lab, driver } = scene;
  const refused = scene.guest.instance;
  expect(driver.capabilities.sandbox).toBe('first-disk');
  await scene.boot();
  expect(await driver.whyNoSuspend(refused)).toMatch(/root disk is a volume of ZFS/);
  // As an agent would that did not know: bhyve says why not, and lets the guest go on.
  await lab.host.run('bhyvectl', [`--vm=${refused}`, `--suspend=${lab.node.statePath}/elsewhere`], { okExits: 'any' });
  await waitUntil(async () => readFileSync(join(lab.node.statePath, 'instances', refused, 'bhyve.log'), 'utf8').includes('Not permitted in capability mode'), 'bhyve refuses', waitMs);
  expect(existsSync(`${lab.node.statePath}/elsewhere`)).toBe(false);
  await scene.expectGoesOn();

  await scene.change('10.20.5.51');
  const { instance } = scene.guest;
  const [disks, place] = [join(lab.node.path, 'disks'), join(lab.node.path, 'disks', `${instance}.saving`)];
  mkdirSync(disks);
  const { path, ...other } = scene.guest.definition('tap').disks[0]!;
  execFileSync('dd', [`if=${path}`, `of=${disks}/root.raw`, 'bs=1M', 'conv=sparse'], { stdio: 'ignore' });
  await scene.boot(() => ({ ...other, path: `${disks}/root.raw` }));
  scene.wish('bytes_per_second="100000000"');
  const saved = driver.suspend(instance, { holdDisks: async () => still, signal: quiet });
  await waitUntil(async () => existsSync(`${place}/ram`), 'bhyve writes', waitMs);
  expect([statSync(place).mode & 0o777, statSync(place).uid]).toEqual([0o700, 0]);
  await saved;
  expect([existsSync(place), await driver.powerState(instance)]).toEqual([false, powerStates.suspended]);
  await driver.resume(instance, { disks: still, signal: quiet });
  await scene.expectGoesOn();
  rmSync(disks, { recursive: true });
}, testMs);

test('snapshot-15-nvme: a guest with an NVMe disk is saved with it, where only root may look, and counts on', async () => {
  scene = await Scene.open('nvme', 'snapshot-15-nvme', 'kern-structs', [...base, 'nvme']);
  const { lab, driver, guest } = scene;
  const folder = join(lab.node.statePath, 'instances', guest.instance);
  await scene.boot((root) => ({ ...root, bus: 'nvme' }));
  scene.wish('bytes_per_second="100000000"');
  const saved = driver.suspend(guest.instance, { holdDisks: async () => still, signal: quiet });
  await waitUntil(async () => existsSync(join(folder, 'suspended.partial/ram')), 'bhyve writes', waitMs);
  const { mode, uid } = statSync(join(folder, 'suspended.partial'));
  expect([mode & 0o777, uid]).toEqual([0o700, 0]);
  await saved;
  expect(readFileSync(join(folder, 'suspended/ram.meta'), 'utf8')).toMatch(/"device": "nvme@pci\.0\.\d+\.0",\s+"size": 3964,/);
  await driver.resume(guest.instance, { disks: still, signal: quiet });
  await scene.expectGoesOn();
}, testMs);
