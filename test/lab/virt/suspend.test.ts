/** The driver saves and restores guests that really boot: what a guest counts in its memory goes on, and what fails leaves it running. */
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseCheckpointId } from '../../../src/lib/ids.js';
import { powerStates, type HypervisorDriver } from '../../../src/virt/index.js';
import { renderSelfTest, selfTestPath, type SelfTestResult } from '../../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../../src/virt/bhyve/save-identity.js';
import { waitUntil } from '../../fakes/wait-until.js';
import { createLabHost, type LabGuest, type LabHost } from './lab-guest.js';

const bootMs = 180_000;
const quiet = new AbortController().signal;
const disks = { root: 'as it was' };
const models = ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci', 'fbuf', 'xhci'];

describe.each([['snapshot-13.2', 'structs'], ['snapshot-14', 'kern-structs'], ['snapshot-15', 'kern-structs'], ['upb-json', 'upb-json']] as const)('on %s', (profile, family) => {
  let lab: LabHost;
  let driver: HypervisorDriver;
  let guest: LabGuest;

  const passSelfTest = async (over: Partial<SelfTestResult> = {}): Promise<void> => {
    const path = selfTestPath(lab.node.statePath);
    await lab.host.files.makeDirectory(dirname(path));
    const result = { at: new Date().toISOString(), host: await readSaveIdentity(lab.host, driver.capabilities), family, models, isGood: true, reason: '', ...over };
    await lab.host.files.writeAtomic(path, renderSelfTest([result]));
  };
  const log = async (): Promise<string> => (await driver.consoleLog(guest.instance, null)) ?? '';
  const lastTick = async (): Promise<number> => Number([...(await log()).matchAll(/^tick (\d+)/gm)].at(-1)?.[1] ?? 0);
  const counts = async (beyond: number): Promise<void> => waitUntil(async () => (await lastTick()) > beyond, `it counts beyond ${beyond}`, 120_000);
  /** It never booted again: what it counts was in its memory. */
  const expectFirstBoot = async (): Promise<void> => {
    const text = await log();
    expect(text.match(/guest: boot \d+/g), text.slice(-2000)).toEqual(['guest: boot 1']);
  };
  const suspend = (): Promise<void> => driver.suspend(guest.instance, { holdDisks: async () => disks, signal: quiet });
  const wish = (line: string): void => writeFileSync(join(lab.node.path, 'etc/save.conf'), `${line}\n`);

  beforeAll(async () => {
    lab = await createLabHost(`susp-${profile.slice(-2).replace('.', '')}`, profile);
    ({ driver } = await lab.newDriver());
    await passSelfTest();
    guest = await lab.guest('10.20.5.40');
    const { tapName } = await lab.plugger.plug(guest.instance, guest.vif, quiet);
    await driver.define(guest.definition(tapName));
    await driver.start(guest.instance);
    await waitUntil(async () => (await log()).includes('guest: ready'), 'the guest is up', bootMs);
    await counts(1);
  });
  afterEach(() => rmSync(join(lab.node.path, 'etc/save.conf'), { force: true }));
  afterAll(async () => {
    if (guest !== undefined) {
      await driver.destroy(guest.instance);
      await lab.plugger.unplug(guest.instance, guest.vif.id);
    }
    await lab?.close();
    await lab?.node.destroy();
  });

  test('a guest that was saved is off for another agent too, and counts on when it is resumed: it never booted again', async () => {
    expect(await driver.whyNoSuspend(guest.instance)).toBeNull();
    const before = await lastTick();
    await suspend();
    expect([await driver.powerState(guest.instance), await driver.hasSave(guest.instance), await guest.pings()]).toEqual([powerStates.suspended, true, false]);
    await driver.close();
    ({ driver } = await lab.newDriver());
    expect(await driver.powerState(guest.instance)).toBe(powerStates.suspended);
    const saved = await lastTick();
    expect(saved).toBeGreaterThanOrEqual(before);
    await driver.resume(guest.instance, { disks, signal: quiet });
    await counts(saved + 1);
    await expectFirstBoot();
    await waitUntil(() => guest.pings(), 'it answers', 120_000);
    expect(await driver.hasSave(guest.instance)).toBe(false);
  });

  // What goes wrong does so alike on all of them.
  if (profile !== 'snapshot-15') return;

  test('a save that bhyve gives up lets the guest count on', async () => {
    wish('full_after="1048576"');
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed' });
    expect(await driver.powerState(guest.instance)).toBe(powerStates.running);
    await counts(await lastTick());
    await expectFirstBoot();
  });

  test('a restore that bhyve refuses leaves the guest off with its save, which is taken when bhyve takes it again', async () => {
    await suspend();
    wish('restore="refused"');
    await expect(driver.resume(guest.instance, { disks, signal: quiet })).rejects.toMatchObject({ code: 'guest-resume-failed' });
    expect([await driver.powerState(guest.instance), await driver.hasSave(guest.instance)]).toEqual([powerStates.shutdown, true]);
    rmSync(join(lab.node.path, 'etc/save.conf'));
    const saved = await lastTick();
    await driver.resume(guest.instance, { disks, signal: quiet });
    await counts(saved + 1);
    await expectFirstBoot();
  });

  test('memory that was kept for a checkpoint outlives its save, and brings the guest back to where it was then', async () => {
    const checkpoint = parseCheckpointId('cccccccc-0000-4000-8000-000000000001');
    await suspend();
    const memory = await driver.keepSave(guest.instance, checkpoint);
    const then = await lastTick();
    await driver.resume(guest.instance, { disks, signal: quiet });
    await counts(then + 3);
    expect(await driver.whyNoReturn(guest.instance, checkpoint, memory, quiet)).toBeNull();
    await driver.stop(guest.instance, { graceMs: 0, retryMs: 0 });
    const [later, said] = [await lastTick(), (await log()).length];
    await driver.putBackSave(guest.instance, checkpoint, disks);
    await driver.resume(guest.instance, { disks, signal: quiet });
    const next = async (): Promise<string | undefined> => /^tick (\d+)\r?$/m.exec((await log()).slice(said))?.[1];
    await waitUntil(async () => (await next()) !== undefined, 'it counts again', 120_000);
    expect(Number(await next())).toBeLessThan(later);
    await expectFirstBoot();
    expect([await driver.hasSave(guest.instance), await driver.kept(guest.instance)]).toEqual([false, [checkpoint]]);
  });

  test('a description that is cut short is no save: the guest has crashed, and starts cold', async () => {
    wish('meta_bytes="300"');
    await expect(suspend()).rejects.toMatchObject({ code: 'guest-suspend-failed' });
    expect([await driver.powerState(guest.instance), await driver.hasSave(guest.instance)]).toEqual([powerStates.crashed, false]);
    await driver.start(guest.instance);
    await waitUntil(async () => (await log()).includes('guest: boot 2'), 'it boots again', bootMs);
  });
});
