/** The files that go with a save: what the self-test found, and the manifest; and what is read out of a configuration. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { judgeSelfTest, parseSelfTest, renderSelfTest, type SelfTestResult } from '../../../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity, whyOtherHost, type SaveIdentity } from '../../../../src/virt/bhyve/save-identity.js';
import { parseManifest, renderManifest, saveFiles, type SaveManifest } from '../../../../src/virt/bhyve/save-manifest.js';
import { devicesIn } from '../../../../src/virt/bhyve/savable.js';
import { withScreenOf } from '../../../../src/virt/bhyve/resume-guest.js';
import { createBhyveHost } from '../../../fakes/bhyve-host.js';
import { instanceA, instanceB } from '../../../fakes/guest-definition.js';
import { createVirtualClock } from '../../../fakes/virtual-clock.js';

const here: SaveIdentity = { cpuModel: 'AMD EPYC', cpuVendor: 'AMD', release: '15.1-RELEASE', bhyve: 'b1', kernel: 'k1' };
const onIntel: SaveIdentity = { ...here, cpuModel: 'Intel Xeon', cpuVendor: 'Intel' };
const result = (over: Partial<SelfTestResult> = {}): SelfTestResult => ({
  at: '2026-11-23T03:00:00.000Z', host: here, family: 'kern-structs', models: ['virtio-blk'], isGood: true, reason: '', ...over,
});

describe('the self-test', () => {
  const text = fc.string({ maxLength: 20 });
  const identities = fc.record({ cpuModel: text, cpuVendor: text, release: text, bhyve: text, kernel: text });
  const dates = fc.date({ min: new Date('2000-01-01'), max: new Date('2100-01-01'), noInvalidDate: true }).map((date) => date.toISOString());
  const results = fc.array(fc.record({
    at: dates, host: identities, family: fc.constantFrom('structs' as const, 'kern-structs' as const, 'upb-json' as const), models: fc.array(text), isGood: fc.boolean(), reason: text,
  }), { maxLength: 5 });

  test('reads back as written', () => {
    fc.assert(fc.property(results, (all) => { expect(parseSelfTest(renderSelfTest(all))).toEqual(all); }));
  });

  test.each(['', '{', '[]', '{"version": 2, "results": []}', '{"version": 1}', '{"version": 1, "results": [{"isGood": true}]}'])('a file with %j is none', (content) => {
    expect(() => parseSelfTest(content)).toThrow(expect.objectContaining({ code: 'bad-selftest-file' }) as Error);
  });

  test('without one for this host nothing is known, and what differs is named', () => {
    expect(judgeSelfTest([], onIntel)).toEqual({ status: 'untested', reason: 'no self-test has restored a guest here', family: null, models: [] });
    expect(judgeSelfTest([result({ host: { ...here, kernel: 'k2' } })], here)).toMatchObject({ status: 'untested', reason: expect.stringContaining('the kernel') as unknown });
  });

  test("one on another maker's processor says nothing about this one; on AMD it stays experimental until one has passed there", () => {
    const passedOnIntel = result({ host: onIntel });
    expect(judgeSelfTest([passedOnIntel], onIntel).status).toBe('ready');
    expect(judgeSelfTest([passedOnIntel], here)).toMatchObject({ status: 'untested', reason: expect.stringMatching(/on AMD processors it is experimental.*the processor's maker \(then Intel, now AMD\)/) as unknown, models: [] });
    expect(judgeSelfTest([passedOnIntel, result()], here).status).toBe('ready');
    for (const key of ['bhyve', 'kernel'] as const) expect(judgeSelfTest([result({ host: { ...here, [key]: 'patched' } })], here).status, key).toBe('untested');
  });

  test('the latest counts, whatever stands first', () => {
    const [good, bad] = [result(), result({ at: '2026-11-24T03:00:00.000Z', isGood: false, reason: 'Failed to restore kernel structs' })];
    for (const all of [[good, bad], [bad, good]]) expect(judgeSelfTest(all, here)).toMatchObject({ status: 'impossible', reason: 'the self-test failed: Failed to restore kernel structs' });
    expect(judgeSelfTest([good], here)).toMatchObject({ status: 'ready', family: 'kern-structs', models: ['virtio-blk'] });
  });
});

test('a host is another one if any part of it is, and each is named', () => {
  expect(whyOtherHost(here, here)).toBeNull();
  expect(whyOtherHost(here, { ...here, cpuModel: 'AMD EPYC 2', bhyve: 'b2' })).toBe('the processor (then AMD EPYC, now AMD EPYC 2), the bhyve program');
  for (const key of Object.keys(here) as (keyof SaveIdentity)[]) expect(whyOtherHost(here, { ...here, [key]: 'else' })).not.toBeNull();
});

test('the kernel is its file and vmm.ko, or its version where the file cannot be read', async () => {
  const host = createBhyveHost(createVirtualClock());
  const kernel = async (): Promise<string> => (await readSaveIdentity(host, { cpuModel: 'm', cpuVendor: 'AMD', release: 'r' })).kernel;
  host.sysctls.set('kern.version', 'one');
  host.sysctls.set('kern.bootfile', '/boot/kernel/kernel');
  const byVersion = await kernel();
  host.outside.put('/boot/kernel/kernel', 'code');
  const alone = await kernel();
  host.outside.put('/boot/kernel/vmm.ko', 'module');
  const both = await kernel();
  host.sysctls.set('kern.version', 'two');
  expect(await kernel()).toBe(both);
  expect(new Set([byVersion, alone, both]).size).toBe(3);
});

describe('the manifest', () => {
  const sum = fc.record({ sha256: fc.stringMatching(/^[0-9a-f]{64}$/), bytes: fc.maxSafeNat() });
  const manifests: fc.Arbitrary<SaveManifest> = fc.record({
    version: fc.constant(1 as const), instance: fc.constant(instanceA), at: fc.constant('2026-11-23T04:00:00.000Z'), family: fc.constantFrom('structs' as const, 'kern-structs' as const, 'upb-json' as const),
    memoryMiB: fc.integer({ min: 1 }), files: fc.dictionary(fc.constantFrom(...saveFiles), sum, { noNullPrototype: true }), host: fc.constant(here), disks: fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }),
  });

  test('reads back as written', () => {
    fc.assert(fc.property(manifests.filter(({ disks }) => !('__proto__' in disks && Object.hasOwn(disks, '__proto__'))), (manifest) => { expect(parseManifest(instanceA, renderManifest(manifest))).toEqual(manifest); }));
  });

  test('cut anywhere it is damaged, and one of another instance is refused', () => {
    const [whole = ''] = fc.sample(manifests, { numRuns: 1, seed: 7 }).map(renderManifest);
    for (let end = 0; end < whole.trimEnd().length; end += 1) expect(() => parseManifest(instanceA, whole.slice(0, end))).toThrow(expect.objectContaining({ code: 'save-damaged' }) as Error);
    expect(() => parseManifest(instanceB, whole)).toThrow(expect.objectContaining({ code: 'save-damaged', message: expect.stringContaining('holds the save of') as unknown }) as Error);
  });
});

const config = 'name=x\npci.0.0.0.device=hostbridge\npci.0.31.0.device=lpc\npci.0.29.0.device=fbuf\npci.0.29.0.rfb=127.0.0.1:5900\npci.0.30.0.device=xhci\npci.0.30.0.slot.1.device=tablet\npci.0.2.0.device=virtio-blk\npci.0.2.0.path=/dev/pci.0.9.0.device=x\n';

test('the devices of a configuration are those on the bus, not what hangs on a controller or looks like one in a value', () => {
  expect(devicesIn(config).map(({ model, slot }) => `${model} ${slot}`)).toEqual(['hostbridge 0', 'lpc 31', 'fbuf 29', 'xhci 30', 'virtio-blk 2']);
});

test('of a saved configuration only the address and the password of the screen are changed, and none is added', () => {
  expect(withScreenOf(config, 'pci.0.29.0.rfb=[::1]:5999\nname=$&y\n')).toBe(config.replace('127.0.0.1:5900', '[::1]:5999'));
  const guarded = 'pci.0.29.0.rfb=127.0.0.1:5999\npci.0.29.0.password=$&geheim\n';
  expect(withScreenOf(config, `name=y\n${guarded}`)).toBe(config.replace('pci.0.29.0.rfb=127.0.0.1:5900\n', () => guarded));
  expect(withScreenOf(config.replace('pci.0.29.0.rfb=127.0.0.1:5900\n', () => guarded), 'pci.0.29.0.rfb=1.2.3.4:5900\n')).toBe(config.replace('127.0.0.1:5900', '1.2.3.4:5900'));
  expect(withScreenOf('name=x\n', 'pci.0.29.0.rfb=1.2.3.4:5\n')).toBe('name=x\n');
  expect(withScreenOf(config, 'name=x\n')).toBe(config);
});
