/** The bhyve driver and the plugger on lab nodes: guests that really boot. */
import { createConnection } from 'node:net';
import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { InstanceUuid } from '../../../src/lib/ids.js';
import { powerStates, type GuestEvent, type HypervisorDriver } from '../../../src/virt/index.js';
import { waitUntil } from '../../fakes/wait-until.js';
import { waitClean } from '../leaks.js';
import { createLabHost, type LabGuest, type LabHost } from './lab-guest.js';

const bootMs = 180_000;
const never = new AbortController().signal;

describe.each(['stock-13.2', 'stock-15'] as const)('on %s', (profile) => {
  let lab: LabHost;
  let driver: HypervisorDriver;
  let events: GuestEvent[];
  const guests: LabGuest[] = [];

  beforeAll(async () => {
    lab = await createLabHost(`virt-${profile === 'stock-15' ? 'b' : 'a'}`, profile);
    ({ driver, events } = await lab.newDriver());
  });
  afterEach(async () => {
    for (const { instance, vif } of guests.splice(0)) {
      await driver.destroy(instance);
      await lab.plugger.unplug(instance, vif.id);
      await lab.host.run('zfs', ['destroy', `${lab.node.zfsRoot}/${instance}`]);
    }
    await waitClean(lab.node);
    events.length = 0;
  });
  afterAll(async () => {
    await lab?.close();
    await lab?.node.destroy();
  });

  const logOf = async (instance: InstanceUuid): Promise<string> => (await driver.consoleLog(instance, null)) ?? '';
  /** The guest's own words on com1. */
  const says = (instance: InstanceUuid, words: string | RegExp) => async (): Promise<boolean> => new RegExp(words).test(await logOf(instance));
  const pidOf = async (instance: InstanceUuid): Promise<number> => {
    const state = await driver.state(instance);
    return state.kind === 'running' ? state.pid : -1;
  };
  const lastTick = async (instance: InstanceUuid): Promise<number> => Number([...(await logOf(instance)).matchAll(/^tick (\d+)/gm)].at(-1)?.[1] ?? 0);

  async function boot(address: string, userData?: string): Promise<LabGuest> {
    const guest = await lab.guest(address, userData);
    guests.push(guest);
    const { tapName } = await lab.plugger.plug(guest.instance, guest.vif, never);
    await driver.define(guest.definition(tapName));
    await driver.start(guest.instance);
    await waitUntil(says(guest.instance, 'guest: ready'), 'the guest is up', bootMs);
    return guest;
  }

  test('a guest boots, sees what it was given, answers pings, shows a screen, and goes without a trace', async () => {
    const guest = await boot('10.20.5.1');
    const { instance, vif } = guest;
    const log = await logOf(instance);
    expect(log).toContain(`guest: uuid ${instance}`);
    expect(log).toContain('guest: product OpenStack Foundation/OpenStack Nova');
    expect(log).toContain(`guest: serial ${instance}`);
    expect(log).toMatch(new RegExp(`guest: disk vda ${instance.slice(0, 20)} ${256 * 1024 * 1024}`));
    expect(log).toMatch(/guest: config-drive \/dev\/sr0/);
    expect(log).toContain(`${vif.address} 10.20.5.1/20 mtu 1500`);
    await waitUntil(() => guest.pings(), 'it answers', 120_000);
    expect(lab.told).toContain(`up ${vif.id}`);
    const endpoint = await driver.vncEndpoint(instance);
    expect(await banner(endpoint!)).toMatch(/^RFB 003\./);
    expect(await driver.diagnostics(instance)).toMatchObject({ state: 'running', memoryMaximumMiB: 256 });
    expect((await driver.diagnostics(instance)).nics[0]!.rxPackets).toBeGreaterThan(0);
    expect(events).toEqual([]);
  });

  // The rest does not depend on the release.
  if (profile === 'stock-13.2') {
    test('the power button ends the guest by itself; it boots again with the same disk and slots', async () => {
      const { instance } = await boot('10.20.5.2');
      const before = await driver.slots(instance);
      expect(await driver.stop(instance, { graceMs: 30_000, retryMs: 10_000 })).toMatchObject({ kind: 'powered-off' });
      expect(await logOf(instance)).toContain('guest: power button');
      expect(await driver.powerState(instance)).toBe(powerStates.shutdown);
      await driver.start(instance);
      await waitUntil(says(instance, 'guest: boot 2'), 'it boots again', bootMs);
      expect(await driver.slots(instance)).toEqual(before);
      expect(await driver.softReboot(instance, { graceMs: 30_000, retryMs: 10_000 })).toBe(true);
      await waitUntil(says(instance, 'guest: boot 3'), 'it boots a third time', bootMs);
      expect(events).toEqual([]);
    });

    test('a guest that ignores the button is forced off after its grace', async () => {
      const { instance } = await boot('10.20.5.3', 'guest-action=ignore-power-button\n');
      expect(await driver.softReboot(instance, { graceMs: 3000, retryMs: 1000 })).toBe(false);
      expect(await driver.powerState(instance)).toBe(powerStates.running);
      expect(await driver.stop(instance, { graceMs: 3000, retryMs: 1000 })).toMatchObject({ kind: 'powered-off' });
    });

    test('a guest that reboots itself comes back with the same taps and is reported as rebooted', async () => {
      const guest = await boot('10.20.5.4', 'guest-action=reboot-after=1\n');
      await waitUntil(says(guest.instance, 'guest: boot 2'), 'it boots again', bootMs);
      expect(events).toMatchObject([{ instance: guest.instance, kind: 'rebooted' }]);
      await waitUntil(() => guest.pings(), 'it answers', bootMs);
    });

    test('a guest that powers itself off is seen', async () => {
      const { instance } = await boot('10.20.5.5', 'guest-action=poweroff-after=1\n');
      await waitUntil(() => events.length > 0, 'the end is seen', 120_000);
      expect(events).toMatchObject([{ instance, kind: 'stopped', verdict: { kind: 'powered-off' } }]);
    });

    test('a crash of bhyve is seen, cleaned up, and the guest can be started again', async () => {
      const { instance } = await boot('10.20.5.6');
      process.kill(await pidOf(instance), 'SIGKILL');
      await waitUntil(() => events.length > 0, 'the crash is seen');
      expect(events).toMatchObject([{ instance, kind: 'stopped', verdict: { kind: 'crashed', signal: 'SIGKILL' } }]);
      await driver.start(instance);
      await waitUntil(says(instance, 'guest: boot 2'), 'it boots again', bootMs);
    });

    test('a guest counts on while the agent is away, and is adopted with the same pid', async () => {
      const { instance } = await boot('10.20.5.7');
      const pid = await pidOf(instance);
      const before = await lastTick(instance);
      await driver.close();
      ({ driver, events } = await lab.newDriver());
      expect(await pidOf(instance)).toBe(pid);
      await waitUntil(async () => (await lastTick(instance)) > before + 1, 'it counts on', 120_000);
      expect(await logOf(instance)).not.toContain('guest: boot 2');
      expect(events).toEqual([]);
      process.kill(pid, 'SIGKILL');
      await waitUntil(() => events.length > 0, 'the new agent sees the crash');
    });

    test('after a power cut of the host the guest is off with a reason, and starts again', async () => {
      const guest = await boot('10.20.5.8');
      await driver.close();
      await lab.node.rebootHost();
      ({ driver, events } = await lab.newDriver());
      expect(await driver.state(guest.instance)).toMatchObject({ kind: 'stopped', verdict: { kind: 'crashed', reason: 'the host restarted while the guest ran' } });
      await lab.plugger.plug(guest.instance, guest.vif, never);
      await driver.start(guest.instance);
      await waitUntil(says(guest.instance, 'guest: boot 2'), 'it boots again', bootMs);
    });

    test('a disk that is not there fails the start with bhyve’s words', async () => {
      const guest = await lab.guest('10.20.5.9');
      guests.push(guest);
      const definition = guest.definition((await lab.plugger.plug(guest.instance, guest.vif, never)).tapName);
      await driver.define({ ...definition, disks: [{ ...definition.disks[0]!, path: '/nonexistent/disk' }] });
      await expect(driver.start(guest.instance)).rejects.toThrow(/No such file or directory/);
    });

    test('a VLAN port reaches its segment, and the vlan goes with the last guest', async () => {
      const guest = await lab.guest('10.21.0.9');
      guests.push(guest);
      lab.segments.set(guest.vif.id, { networkType: 'vlan', segmentationId: 120 });
      const { tapName } = await lab.plugger.plug(guest.instance, guest.vif, never);
      await driver.define(guest.definition(tapName));
      await driver.start(guest.instance);
      await waitUntil(() => guest.pings(), 'it answers on VLAN 120', bootMs);
      await driver.destroy(guest.instance);
      await lab.plugger.unplug(guest.instance, guest.vif.id);
      expect(execFileSync('ip', ['-n', lab.node.netns, '-br', 'link'], { encoding: 'utf8' })).not.toMatch(/uplink0\.120|br-physnet1\.120/);
    });
  }

  test('the probes find this release’s way to name the boot ROM, and its CPU', () => {
    expect(driver.capabilities).toMatchObject({ architecture: 'amd64', bootromKey: profile === 'stock-15' ? 'top' : 'lpc', canVirtualize: true, hasSnapshot: false, hasFramebuffer: true });
    expect(driver.capabilities.cpuFeatures).toContain('SSE4.2');
  });
});

/** First bytes of an RFB server. */
function banner({ host, port }: { host: string; port: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port }, () => undefined);
    socket.setTimeout(10_000, () => socket.destroy(new Error('the RFB server says nothing')));
    socket.once('data', (bytes) => {
      socket.destroy();
      resolve(bytes.toString('latin1'));
    });
    socket.once('error', reject);
  });
}
