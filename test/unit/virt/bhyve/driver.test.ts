import { beforeEach, expect, test } from 'vitest';
import { createBhyveDriver, powerStates, type GuestEvent, type HypervisorDriver } from '../../../../src/virt/index.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { guestDefinition, instanceA, instanceB } from '../../../fakes/guest-definition.js';
import { noMetrics, recordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const statePath = '/var/db/nova-bhyve';
const folder = `${statePath}/instances/${instanceA}`;
const graceful = { graceMs: 60_000, retryMs: 10_000 };
let clock: VirtualClock;
let host: BhyveHost;
let driver: HypervisorDriver;

const newDriver = (): HypervisorDriver => createBhyveDriver({
  host, statePath, firmwareDirs: ['/usr/local/share/edk2-bhyve'], clock, log: recordingLog().log, metrics: noMetrics,
  vnc: { address: '127.0.0.1', portRange: { first: 5900, last: 5902 } },
});

beforeEach(async () => {
  clock = createVirtualClock();
  host = createBhyveHost(clock);
  driver = newDriver();
  await driver.prepare();
});

/** Another agent on the same host, as after a restart. */
async function restartAgent(): Promise<GuestEvent[]> {
  await driver.close();
  driver = newDriver();
  await driver.prepare();
  const events: GuestEvent[] = [];
  driver.onEvent((event) => events.push(event));
  await driver.adopt();
  await driver.close();
  return events;
}

test('a guest that was never defined is absent, a defined one is off', async () => {
  expect(await driver.state(instanceA)).toEqual({ kind: 'absent' });
  expect(await driver.powerState(instanceA)).toBe(powerStates.noState);
  await driver.define(guestDefinition());
  expect(await driver.state(instanceA)).toEqual({ kind: 'stopped', verdict: null });
  expect(await driver.powerState(instanceA)).toBe(powerStates.shutdown);
  expect(await driver.list()).toEqual([instanceA]);
  expect(await driver.definition(instanceA)).toEqual(guestDefinition());
});

test('defining writes what only root may read, and copies the variable store once, until it is to be forgotten', async () => {
  await driver.define(guestDefinition());
  expect(host.outside.modes.get(`${folder}/bhyve.conf`)).toBe(0o600);
  expect(host.outside.modes.get(`${folder}/supervisor.sh`)).toBe(0o500);
  host.outside.put(`${folder}/nvram.fd`, 'written by the guest');
  await driver.define(guestDefinition({ memoryMiB: 1024 }));
  expect(host.outside.text(`${folder}/nvram.fd`)).toBe('written by the guest');
  await driver.forgetVariables(instanceA);
  await driver.define(guestDefinition({ memoryMiB: 1024 }));
  expect(host.outside.text(`${folder}/nvram.fd`)).not.toBe('written by the guest');
  expect(host.outside.text(`${folder}/bhyve.conf`)).toContain('memory.size=1024M\n');
});

test('starting resolves when bhyve has its title; starting again changes nothing', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  const state = await driver.state(instanceA);
  expect(state).toMatchObject({ kind: 'running', isPaused: false });
  const before = host.calls.filter((call) => call.startsWith('daemon')).length;
  await driver.start(instanceA);
  expect(host.calls.filter((call) => call.startsWith('daemon'))).toHaveLength(before);
  expect(await driver.state(instanceA)).toEqual(state);
});

test('a guest that bhyve refuses fails with bhyve’s last words and leaves nothing in /dev/vmm', async () => {
  await driver.define(guestDefinition());
  host.failNextStart = { exit: 4, says: 'open of tap device /dev/tap0 failed' };
  await expect(driver.start(instanceA)).rejects.toMatchObject({ code: 'guest-start-failed', message: expect.stringContaining('open of tap device /dev/tap0 failed') as string });
  expect(await driver.powerState(instanceA)).toBe(powerStates.crashed);
  expect(await host.files.list('/dev/vmm')).toEqual([]);
});

test('stopping presses the power button and waits; the guest is then off, not crashed', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  expect(await driver.stop(instanceA, graceful)).toMatchObject({ kind: 'powered-off' });
  expect(host.calls).toContain(`kill SIGTERM bhyve: ${instanceA}`);
  expect(host.calls.join('\n')).not.toContain('--force-poweroff');
  expect(await driver.powerState(instanceA)).toBe(powerStates.shutdown);
  expect(host.outside.text(`${folder}/stop`)).toBeUndefined();
});

test('a guest that ignores the power button is asked again and again, then forced off', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.guest(instanceA)!.ignoresButton = true;
  expect(await driver.stop(instanceA, graceful)).toMatchObject({ kind: 'powered-off' });
  expect(host.calls.filter((call) => call.startsWith('kill SIGTERM'))).toHaveLength(6);
  expect(host.calls).toContain(`bhyvectl --vm=${instanceA} --force-poweroff`);
  expect(clock.monotonicMs()).toBeGreaterThanOrEqual(60_000);
});

test('without grace the power button is not pressed', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  await driver.stop(instanceA, { graceMs: 0, retryMs: 10_000 });
  expect(host.calls.join('\n')).not.toContain('kill SIGTERM');
});

test('a guest that even force does not end is killed', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.answers.set(`bhyvectl --vm=${instanceA} --force-poweroff`, { code: 255, stdout: 'errno = 37\n', stderr: '' });
  expect(await driver.stop(instanceA, { graceMs: 0, retryMs: 1000 })).toMatchObject({ kind: 'powered-off' });
  expect(host.calls).toContain(`kill SIGKILL bhyve: ${instanceA}`);
});

test('stopping what does not run is fine, and what does not exist too', async () => {
  await driver.define(guestDefinition());
  expect(await driver.stop(instanceA, graceful)).toBeNull();
  expect(await driver.stop(instanceB, graceful)).toBeNull();
});

test('a soft reboot ends the guest by its power button and starts it again', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  const before = host.guest(instanceA)!.pid;
  expect(await driver.softReboot(instanceA, graceful)).toBe(true);
  expect(await driver.state(instanceA)).toMatchObject({ kind: 'running' });
  expect(host.guest(instanceA)!.pid).not.toBe(before);
});

test('a soft reboot of a guest that ignores it leaves the guest running, free to reboot by itself later', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.guest(instanceA)!.ignoresButton = true;
  expect(await driver.softReboot(instanceA, graceful)).toBe(false);
  expect(host.outside.text(`${folder}/stop`)).toBeUndefined();
  host.exit(instanceA, 0);
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
});

test('a soft reboot of a guest that is off says no', async () => {
  await driver.define(guestDefinition());
  expect(await driver.softReboot(instanceA, graceful)).toBe(false);
});

test('a running guest is neither defined anew nor removed without being ended', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  await expect(driver.define(guestDefinition({ vcpus: 1 }))).rejects.toMatchObject({ code: 'guest-running' });
  await driver.destroy(instanceA);
  expect(host.processTable.size).toBe(0);
  expect(await host.files.list('/dev/vmm')).toEqual([]);
  expect(host.outside.paths().filter((path) => path.startsWith(statePath))).toEqual([]);
  await driver.destroy(instanceA);
});

test('a guest survives the agent: adopted with the same pid, no event', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  const before = await driver.state(instanceA);
  expect(await restartAgent()).toEqual([]);
  expect(await driver.state(instanceA)).toEqual(before);
});

test('a stop marker of an agent that died does not end the guest at its next reboot', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.outside.put(`${folder}/stop`, '');
  await restartAgent();
  host.exit(instanceA, 0);
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
});

test('a guest that crashed while the agent was away is crashed, with the signal', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.exit(instanceA, 134);
  await restartAgent();
  expect(await driver.state(instanceA)).toMatchObject({ kind: 'stopped', verdict: { kind: 'crashed', signal: 'SIGABRT' } });
});

test('a crashed guest that somebody stops is off, not crashed any more', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.exit(instanceA, 134);
  expect(await driver.powerState(instanceA)).toBe(powerStates.crashed);
  await driver.stop(instanceA, graceful);
  expect(await driver.powerState(instanceA)).toBe(powerStates.shutdown);
});

test('a host that was unusable is looked at again at the next prepare', async () => {
  host.sysctls.set('hw.vmm.svm.features', '0');
  driver = newDriver();
  await expect(driver.prepare()).rejects.toMatchObject({ code: 'host-unusable' });
  expect(driver.capabilities.findings.find(({ probe }) => probe === 'virtualization')).toMatchObject({ isOk: false });
  host.sysctls.set('hw.vmm.svm.features', '1');
  await expect(driver.prepare()).resolves.toMatchObject({ canVirtualize: true });
});

test('after a reset of the host, guests are off with a verdict that says why', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.reboot();
  await restartAgent();
  expect(await driver.state(instanceA)).toMatchObject({ kind: 'stopped', verdict: { kind: 'crashed', reason: 'the host restarted while the guest ran' } });
  await driver.start(instanceA);
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
});

test('a guest whose supervisor was killed is adopted; when it dies, its vmm entry is cleaned', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.killSupervisor(instanceA);
  await restartAgent();
  expect(await driver.powerState(instanceA)).toBe(powerStates.running);
  host.exit(instanceA, 1);
  expect(await host.files.list('/dev/vmm')).toEqual([instanceA]);
  await restartAgent();
  expect(await host.files.list('/dev/vmm')).toEqual([]);
  expect(await driver.powerState(instanceA)).toBe(powerStates.crashed);
});

test('a stranger that runs under our guest’s name is neither signalled nor started over nor destroyed', async () => {
  await driver.define(guestDefinition());
  host.addProcess(`bhyve: ${instanceA}`);
  host.outside.put(`/dev/vmm/${instanceA}`, '');
  const before = host.calls.length;
  for (const attempt of [driver.start(instanceA), driver.stop(instanceA, graceful), driver.destroy(instanceA)]) {
    await expect(attempt).rejects.toMatchObject({ code: 'guest-unproven' });
  }
  expect(host.calls.slice(before).filter((call) => /^(kill|bhyvectl|daemon)/.test(call))).toEqual([]);
  expect(await host.files.exists(`${folder}/instance.json`)).toBe(true);
});

test('a reused pid proves nothing', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  const { pid } = host.guest(instanceA)!;
  host.reboot();
  host.processTable.set(pid, { ...host.addProcess('bhyve: other'), pid });
  expect(await driver.state(instanceA)).toMatchObject({ kind: 'stopped' });
});

test('machines of others under /dev/vmm are left alone', async () => {
  host.outside.put('/dev/vmm/operators-own', '');
  await driver.define(guestDefinition());
  await restartAgent();
  expect(await host.files.list('/dev/vmm')).toEqual(['operators-own']);
});

test("a rescued guest has variables of its own, which begin empty at each rescue; the guest's own are not touched", async () => {
  const plain = guestDefinition();
  const rescued = guestDefinition({ disks: [...plain.disks, { role: 'rescue', path: '/dev/zvol/tank/nova/rescue', serial: 'rescue', bus: 'virtio', kind: 'disk' }] });
  const folder = await driver.folder(instanceA);
  const config = async (): Promise<string> => (await host.files.readText(`${folder}/bhyve.conf`))!;
  await driver.define(plain);
  await host.files.writeAtomic(`${folder}/nvram.fd`, 'its boot entries');
  await driver.define(rescued);
  expect(await config()).toContain(`bootvars=${folder}/nvram-rescue.fd\n`);
  await host.files.writeAtomic(`${folder}/nvram-rescue.fd`, 'entries of the rescue system');
  await driver.define(rescued);
  expect(await host.files.readText(`${folder}/nvram-rescue.fd`)).toBe('entries of the rescue system');
  await driver.define(plain);
  expect(await config()).toContain(`bootvars=${folder}/nvram.fd\n`);
  expect([await host.files.readText(`${folder}/nvram.fd`), await host.files.exists(`${folder}/nvram-rescue.fd`)]).toEqual(['its boot entries', false]);
  await driver.define(rescued);
  expect(await host.files.readText(`${folder}/nvram-rescue.fd`)).not.toMatch(/entries/);
});

test('slots stay when an interface goes and another comes', async () => {
  await driver.define(guestDefinition());
  const before = await driver.slots(instanceA);
  expect(before).toMatchObject({ hostbridge: '0:0:0', lpc: '0:31:0', framebuffer: '0:29:0', 'disk:root': '0:2:0', 'cdrom:config': '0:3:0' });
  const { nics } = guestDefinition();
  await driver.define(guestDefinition({ nics: [{ ...nics[0]!, port: '2a2b3c4d-5e6f-4a1b-8c9d-0e1f2a3b4c5d', tapName: 'tap2a2b3c4d-5e' }] }));
  const after = await driver.slots(instanceA);
  expect(after['disk:root']).toBe(before['disk:root']);
  expect(Object.values(after).filter((slot) => slot === before[`nic:${nics[0]!.port}`])).toEqual([]);
});

test('two guests never share a null modem or a screen port; a listener of others is avoided', async () => {
  host.answers.set('netstat --libxo json -an -p tcp', { code: 0, stderr: '', stdout: '{"statistics": {"socket": [{"protocol":"tcp4","local": {"address":"*","port":"5900"}, "remote": {"address":"*","port":"*"},"tcp-state":"LISTEN     "}]}}' });
  await driver.define(guestDefinition());
  await driver.define(guestDefinition({ instance: instanceB }));
  const stored = [instanceA, instanceB].map((instance) => JSON.parse(host.outside.text(`${statePath}/instances/${instance}/instance.json`)!) as { consoleUnit: number; vnc: { port: number } });
  expect(stored[0]!.consoleUnit).not.toBe(stored[1]!.consoleUnit);
  expect(stored.map(({ vnc }) => vnc.port)).toEqual([5901, 5902]);
  await expect(driver.define(guestDefinition({ instance: '7a1c9a52-0000-4000-8000-000000000009' as typeof instanceA }))).rejects.toMatchObject({ code: 'no-vnc-port', retry: 'later' });
});

test('the screen’s address is told for a running guest only', async () => {
  await driver.define(guestDefinition());
  expect(await driver.vncEndpoint(instanceA)).toBeNull();
  await driver.start(instanceA);
  expect(await driver.vncEndpoint(instanceA)).toEqual({ host: '127.0.0.1', port: 5900 });
  await driver.define(guestDefinition({ instance: instanceB, hasVnc: false }));
  await driver.start(instanceB);
  expect(await driver.vncEndpoint(instanceB)).toBeNull();
});

test('more vCPUs than the host gives one guest are refused by name', async () => {
  await expect(driver.define(guestDefinition({ vcpus: 3 }))).rejects.toMatchObject({ code: 'too-many-vcpus' });
});

test('the console log gives its last lines, also when it was just turned over, and is empty before the first word', async () => {
  expect(await driver.consoleLog(instanceA, 10)).toBeUndefined();
  await driver.define(guestDefinition());
  expect(await driver.consoleLog(instanceA, 10)).toBe('');
  host.outside.append(`${folder}/console.log`, 'one\ntwo\nthree\n');
  expect(await driver.consoleLog(instanceA, 3)).toBe('two\nthree\n');
  expect((await driver.consoleLog(instanceA, 2))?.split('\n')).toHaveLength(2);
  expect(await driver.consoleLog(instanceA, null)).toBe('one\ntwo\nthree\n');
  expect(await driver.consoleLog(instanceA, 0)).toBe('');
  host.outside.put(`${folder}/console.log.1`, 'before\n');
  host.outside.put(`${folder}/console.log`, 'after\n');
  expect(await driver.consoleLog(instanceA, 3)).toBe('before\nafter\n');
});

test('what bhyve prints is cut to a mebibyte, with the text before kept once', async () => {
  await driver.define(guestDefinition());
  host.outside.append(`${folder}/bhyve.log`, `${'x'.repeat(2 * 1024 * 1024)}\n`);
  await driver.upkeep();
  expect(host.outside.text(`${folder}/bhyve.log`)).toBe('');
  expect(host.outside.text(`${folder}/bhyve.log.1`)).toHaveLength(1024 * 1024);
});

test('diagnostics of a running guest count in Nova’s units and the guest’s directions', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  host.answers.set('netstat --libxo json -ibn -I tap1a2b3c4d-5e', { code: 0, stderr: '', stdout: '{"statistics": {"interface": [{"name":"tap1a2b3c4d-5e","flags":"0x8863","mtu":1500,"network":"<Link#1>","address":"52:54:00:12:34:56","received-packets":44510,"received-errors":0,"dropped-packets":3,"received-bytes":20977312,"sent-packets":35155,"send-errors":1,"sent-bytes":4294018,"collisions":0}]}}' });
  clock.advance(90_000);
  const figures = await driver.diagnostics(instanceA);
  expect(figures).toMatchObject({ state: 'running', uptimeSeconds: 90, memoryMaximumMiB: 512, memoryUsedMiB: 40 });
  expect(figures.cpus).toEqual([0, 1].map((id) => ({ id, timeNs: ((8_469_476_573n + 90_000_000n) * 1_000_000_000n) / 2_596_100_250n })));
  expect(figures.nics[0]).toMatchObject({ mac: 'fa:16:3e:aa:bb:cc', rxOctets: 4_294_018, txOctets: 20_977_312, txDrop: 3, rxErrors: 1 });
  await driver.stop(instanceA, { graceMs: 0, retryMs: 1 });
  expect(await driver.diagnostics(instanceA)).toMatchObject({ state: 'shutdown', memoryUsedMiB: null });
});

test('an instance of a newer agent is listed, refused and left as it is', async () => {
  host.outside.put(`${folder}/instance.json`, '{"layout":7}');
  expect(await driver.list()).toEqual([instanceA]);
  await expect(driver.start(instanceA)).rejects.toMatchObject({ code: 'layout-too-new' });
  await expect(driver.destroy(instanceA)).rejects.toMatchObject({ code: 'layout-too-new' });
  expect(host.outside.text(`${folder}/instance.json`)).toBe('{"layout":7}');
});

/** How often ps was asked, for all processes and for one. */
function countLooks(): { lists: number; finds: number } {
  const looks = { lists: 0, finds: 0 };
  const real = { ...host.processes };
  host.processes.list = () => { looks.lists += 1; return real.list(); };
  host.processes.find = (pid) => { looks.finds += 1; return real.find(pid); };
  return looks;
}

test('the first start of a new guest asks for one process only, and for the listening ports once', async () => {
  const looks = countLooks();
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  expect(looks).toEqual({ lists: 0, finds: 1 });
  expect(host.calls.filter((call) => call.startsWith('netstat'))).toHaveLength(1);
});

test.each(['status', 'verdict', 'supervisor.lock', 'stop', 'bhyve.log', 'console.log'])('a guest that left %s is looked for in the process list before it is started', async (name) => {
  await driver.define(guestDefinition());
  host.outside.put(`${folder}/${name}`, '');
  const looks = countLooks();
  await driver.start(instanceA);
  expect(looks.lists).toBeGreaterThan(0);
});

test('a guest that is started again keeps the port that it was heard on itself', async () => {
  await driver.define(guestDefinition());
  await driver.start(instanceA);
  const netstat = 'netstat --libxo json -an -p tcp';
  const heard = (ports: number[]): void => void host.answers.set(netstat, { code: 0, stderr: '', stdout: JSON.stringify({ statistics: { socket: ports.map((port) => ({ local: { port: String(port) }, 'tcp-state': 'LISTEN' })) } }) });
  heard([5900]);
  clock.advance(60_000);
  await driver.define(guestDefinition({ instance: instanceB })); // the look that the next one may still use
  await driver.stop(instanceA, { graceMs: 0, retryMs: 1 });
  heard([]);
  await driver.define(guestDefinition({ memoryMiB: 1024 }));
  await driver.start(instanceA);
  expect(await driver.vncEndpoint(instanceA)).toEqual({ host: '127.0.0.1', port: 5900 });
});

test('a range that an earlier look found full is looked at once more', async () => {
  const netstat = 'netstat --libxo json -an -p tcp';
  host.answers.set(netstat, { code: 0, stderr: '', stdout: JSON.stringify({ statistics: { socket: [5900, 5901, 5902].map((port) => ({ local: { port: String(port) }, 'tcp-state': 'LISTEN' })) } }) });
  await expect(driver.define(guestDefinition())).rejects.toMatchObject({ code: 'no-vnc-port' });
  host.answers.delete(netstat);
  await driver.define(guestDefinition());
  expect((JSON.parse(host.outside.text(`${folder}/instance.json`)!) as { vnc: { port: number } }).vnc.port).toBe(5900);
});

test('the numbers of a guest are free again when its folder is gone, also if it went without us', async () => {
  const portOf = (instance: string): number => (JSON.parse(host.outside.text(`${statePath}/instances/${instance}/instance.json`)!) as { vnc: { port: number } }).vnc.port;
  await driver.define(guestDefinition());
  await driver.define(guestDefinition({ instance: instanceB }));
  expect([portOf(instanceA), portOf(instanceB)]).toEqual([5900, 5901]);
  await host.files.remove(folder, `${statePath}/instances`);
  const third = '7a1c9a52-0000-4000-8000-000000000009' as typeof instanceA;
  await driver.define(guestDefinition({ instance: third }));
  expect(portOf(third)).toBe(5900);
});

test('the power states of many guests cost one process list; one that cannot be read holds up no other', async () => {
  for (const instance of [instanceA, instanceB]) await driver.define(guestDefinition({ instance }));
  await driver.start(instanceA);
  const looks = countLooks();
  const never = '7a1c9a52-0000-4000-8000-000000000009' as typeof instanceA;
  expect(await driver.powerStates([instanceA, instanceB, never])).toEqual(new Map([[instanceA, powerStates.running], [instanceB, powerStates.shutdown], [never, powerStates.noState]]));
  const real = { ...host.files };
  host.files.readText = (path) => (path.includes(instanceB) ? Promise.reject(new Error('a bad disk')) : real.readText(path));
  expect(await driver.powerStates([instanceA, instanceB])).toEqual(new Map([[instanceA, powerStates.running]]));
  expect(looks).toEqual({ lists: 2, finds: 0 });
});
