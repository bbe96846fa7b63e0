import fc from 'fast-check';
import { pino } from 'pino';
import { beforeEach, describe, expect, test } from 'vitest';
import { sameInventories, wantedInventories, type InventoryWish } from '../../../../src/compute/resources/inventories.js';
import { createProviderReport, type ProviderReport } from '../../../../src/compute/resources/provider-report.js';
import { ownTraits, wantedTraits, type TraitWish } from '../../../../src/compute/resources/traits.js';
import { FakePlacement } from '../../../fakes/placement.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';

const uuid = '39d89b30-c0da-4c84-af73-c87eff3724c3';
const inventory: InventoryWish = {
  totals: { vcpus: 8, memoryMiB: 16384, diskGiB: 100 }, reserved: { vcpus: 1, memoryMiB: 512, diskMiB: 1500 }, ratios: { cpu: null, ram: null, disk: null },
  initialRatios: { cpu: 4, ram: 1, disk: 1 }, maxVcpusPerGuest: 16,
};
const traits: TraitWish = { host: ['HW_ARCH_X86_64', 'CUSTOM_BHYVE_SNAPSHOT'], excludedImageTypes: [], needsOwnerNova: false, isDisabled: false };
let placement: FakePlacement;
let clock: VirtualClock;
let report: ProviderReport;
const make = (refreshMs = 300_000): ProviderReport => createProviderReport({ placement, clock, log: pino({ level: 'silent' }), uuid, name: 'node1', refreshMs });
const provider = () => placement.providers.get(uuid)!;

beforeEach(() => {
  placement = new FakePlacement();
  for (const trait of ['COMPUTE_NODE', 'COMPUTE_STATUS_DISABLED', 'HW_ARCH_X86_64', 'COMPUTE_IMAGE_TYPE_RAW', 'COMPUTE_IMAGE_TYPE_QCOW2', 'OWNER_NOVA', 'COMPUTE_TRUSTED_CERTS',
    'HW_CPU_X86_VMX', 'CUSTOM_OPERATOR']) placement.knownTraitNames.add(trait);
  clock = createVirtualClock();
  report = make();
});

describe('a new node', () => {
  test('gets a provider, inventories and the traits that this Placement knows', async () => {
    await report.report({ inventory, traits });
    expect(provider().name).toBe('node1');
    expect(provider().inventories).toEqual({
      VCPU: { total: 8, reserved: 1, min_unit: 1, max_unit: 8, step_size: 1, allocation_ratio: 4 },
      MEMORY_MB: { total: 16384, reserved: 512, min_unit: 1, max_unit: 16384, step_size: 1, allocation_ratio: 1 },
      DISK_GB: { total: 100, reserved: 2, min_unit: 1, max_unit: 100, step_size: 1, allocation_ratio: 1 },
    });
    expect([...provider().traits].sort()).toEqual(['COMPUTE_IMAGE_TYPE_QCOW2', 'COMPUTE_IMAGE_TYPE_RAW', 'COMPUTE_NODE', 'CUSTOM_BHYVE_SNAPSHOT', 'HW_ARCH_X86_64']);
  });

  test("gets the operator's own classes and traits too, and makes the class in Placement first", async () => {
    const slot = { total: 4, reserved: 0, min_unit: 1, max_unit: 4, step_size: 1, allocation_ratio: 1 };
    const wish = { inventory: { ...inventory, additional: { CUSTOM_SLOT: slot } }, traits: { ...traits, additional: ['CUSTOM_FAST'] } };
    await report.report(wish);
    expect(provider().inventories['CUSTOM_SLOT']).toEqual(slot);
    expect(provider().traits).toContain('CUSTOM_FAST');
    const requests = placement.requests.map((request) => request.split(' ')[0]);
    expect(requests.indexOf('createResourceClass')).toBeLessThan(requests.indexOf('putInventories'));
    placement.requests.length = 0;
    await report.report(wish);
    expect(placement.requests).toEqual([]);
    await report.report({ ...wish, inventory: { ...inventory, additional: { CUSTOM_SLOT: { ...slot, total: 2 } } } });
    expect(provider().inventories['CUSTOM_SLOT']?.total).toBe(2);
    expect(placement.requests.some((request) => request.startsWith('createResourceClass'))).toBe(false);
  });

  test('whose name another provider has is refused: only an operator can tell who is right', async () => {
    await placement.createProvider('11111111-1111-1111-1111-111111111111', 'node1');
    await expect(report.report({ inventory, traits })).rejects.toMatchObject({ code: 'placement-name-clash' });
  });

  test('that was renamed is refused', async () => {
    await placement.createProvider(uuid, 'old-name');
    await expect(report.report({ inventory, traits })).rejects.toMatchObject({ code: 'placement-name-clash' });
  });
});

describe('a node that is there', () => {
  beforeEach(async () => {
    await report.report({ inventory, traits });
    placement.requests.length = 0;
  });

  test('causes no request at all while nothing changes', async () => {
    for (let audit = 0; audit < 4; audit += 1) {
      clock.advance(60_000);
      await report.report({ inventory, traits });
    }
    expect(placement.requests).toEqual([]);
  });

  test('is read again after the association refresh time, and what others set is then seen', async () => {
    placement.touch(uuid, { traits: [...provider().traits, 'CUSTOM_OPERATOR'] });
    clock.advance(301_000);
    await report.report({ inventory, traits });
    expect(placement.writes()).toEqual([]);
    expect(provider().traits).toContain('CUSTOM_OPERATOR');
  });

  test('keeps the traits and ratios that operators set, also in the moment of a change of ours', async () => {
    placement.touch(uuid, {
      traits: [...provider().traits, 'CUSTOM_OPERATOR', 'HW_CPU_X86_VMX'],
      inventories: { ...provider().inventories, VCPU: { ...provider().inventories['VCPU']!, allocation_ratio: 2.5 } },
    });
    await report.report({ inventory: { ...inventory, totals: { ...inventory.totals, vcpus: 16 } }, traits: { ...traits, isDisabled: true } });
    expect(provider().inventories['VCPU']).toMatchObject({ total: 16, allocation_ratio: 2.5 });
    expect(provider().traits).toEqual(expect.arrayContaining(['CUSTOM_OPERATOR', 'HW_CPU_X86_VMX', 'COMPUTE_STATUS_DISABLED']));
  });

  test('loses a trait of ours that somebody else set wrongly', async () => {
    placement.touch(uuid, { traits: [...provider().traits, 'COMPUTE_TRUSTED_CERTS'] });
    clock.advance(301_000);
    await report.report({ inventory, traits });
    expect(provider().traits).not.toContain('COMPUTE_TRUSTED_CERTS');
  });

  test('is written again when somebody else writes at the same time, four times in all', async () => {
    let left = 3;
    placement.before = (request) => {
      if (request.startsWith('putTraits') && left-- > 0) placement.touch(uuid);
    };
    await report.report({ inventory, traits: { ...traits, isDisabled: true } });
    expect(provider().traits).toContain('COMPUTE_STATUS_DISABLED');
    left = 4;
    await expect(report.report({ inventory, traits })).rejects.toMatchObject({ code: 'placement-generation-conflict' });
    left = 0;
    await report.report({ inventory, traits });
    expect(provider().traits).not.toContain('COMPUTE_STATUS_DISABLED');
  });

  test('is read again when somebody wrote between our two readings, so that their write survives', async () => {
    const extra = { total: 5, reserved: 0, min_unit: 1, max_unit: 5, step_size: 1, allocation_ratio: 1 };
    let left = 1;
    placement.before = (request) => {
      if (request.startsWith('traits') && left-- > 0) placement.touch(uuid, { inventories: { ...provider().inventories, CUSTOM_LICENSES: extra } });
    };
    clock.advance(301_000);
    await report.report({ inventory: { ...inventory, totals: { ...inventory.totals, vcpus: 4 } }, traits });
    expect(provider().inventories).toMatchObject({ CUSTOM_LICENSES: extra, VCPU: { total: 4 } });
  });

  test('is made again when its provider was deleted', async () => {
    placement.providers.delete(uuid);
    await report.report({ inventory: { ...inventory, totals: { ...inventory.totals, vcpus: 4 } }, traits });
    expect(provider().inventories['VCPU']!.total).toBe(4);
    expect(provider().traits).toContain('COMPUTE_NODE');
  });

  test('a class that vanished but is in use stays, and the rest is reported', async () => {
    placement.allocate('c1', { [uuid]: { resources: { DISK_GB: 1 } } });
    await report.report({ inventory: { ...inventory, totals: { vcpus: 4, memoryMiB: 16384, diskGiB: 0 } }, traits });
    expect(provider().inventories).toMatchObject({ VCPU: { total: 4 }, DISK_GB: { total: 100 } });
  });

  test('classes of operators stay, those of somebody else go', async () => {
    const extra = { total: 5, reserved: 0, min_unit: 1, max_unit: 5, step_size: 1, allocation_ratio: 1 };
    placement.touch(uuid, { inventories: { ...provider().inventories, CUSTOM_LICENSES: extra, VGPU: extra } });
    clock.advance(301_000);
    await report.report({ inventory, traits });
    expect(Object.keys(provider().inventories).sort()).toEqual(['CUSTOM_LICENSES', 'DISK_GB', 'MEMORY_MB', 'VCPU']);
  });

  test('with refresh time 0 nothing is read again without a reason', async () => {
    report = make(0);
    await report.report({ inventory, traits });
    placement.requests.length = 0;
    clock.advance(10_000_000);
    await report.report({ inventory, traits });
    expect(placement.requests).toEqual([]);
  });
});

describe('disabling the host', () => {
  test('sets and removes the trait at once and touches no other', async () => {
    await report.report({ inventory, traits });
    placement.touch(uuid, { traits: [...provider().traits, 'CUSTOM_OPERATOR'] });
    const before = [...provider().traits].sort();
    await report.setEnabled(false);
    expect([...provider().traits].sort()).toEqual([...before, 'COMPUTE_STATUS_DISABLED'].sort());
    await report.setEnabled(true);
    expect([...provider().traits].sort()).toEqual(before);
    placement.requests.length = 0;
    await report.setEnabled(true);
    expect(placement.writes()).toEqual([]);
  });

  test('an audit that cannot know whether the service is disabled leaves the trait', async () => {
    await report.report({ inventory, traits: { ...traits, isDisabled: true } });
    await report.report({ inventory, traits: { ...traits, isDisabled: null } });
    expect(provider().traits).toContain('COMPUTE_STATUS_DISABLED');
  });
});

describe('traits', () => {
  test('OWNER_NOVA is there from the release on that asks for it, and excluded image types are not', () => {
    expect(ownTraits({ ...traits, needsOwnerNova: true })).toContain('OWNER_NOVA');
    expect(ownTraits(traits)).not.toContain('OWNER_NOVA');
    expect(ownTraits({ ...traits, excludedImageTypes: ['qcow2', 'ISO'] })).not.toEqual(expect.arrayContaining(['COMPUTE_IMAGE_TYPE_QCOW2']));
    expect(ownTraits(traits)).not.toContain('COMPUTE_SAME_HOST_COLD_MIGRATE');
  });

  const anyTrait = fc.oneof(fc.stringMatching(/^CUSTOM_[A-Z]{1,4}$/), fc.constantFrom('HW_CPU_X86_VMX', 'STORAGE_DISK_SSD', 'COMPUTE_NODE', 'COMPUTE_RESCUE_BFV', 'COMPUTE_STATUS_DISABLED'));
  test('whatever is stored: foreign traits stay, unusable ones of ours never appear, and a second look changes nothing', () => {
    fc.assert(fc.property(fc.uniqueArray(anyTrait), fc.uniqueArray(fc.constantFrom(...ownTraits(traits))), fc.constantFrom(true, false, null), (stored, usable, isDisabled) => {
      const wish = { ...traits, isDisabled };
      const wanted = wantedTraits(wish, stored, new Set(usable));
      for (const trait of stored.filter((name) => name.startsWith('CUSTOM_') && !name.startsWith('CUSTOM_BHYVE_'))) expect(wanted).toContain(trait);
      for (const trait of wanted) expect(stored.includes(trait) || usable.includes(trait)).toBe(true);
      expect(wantedTraits(wish, wanted, new Set(usable))).toEqual(wanted);
    }));
  });
});

describe('inventories', () => {
  test.each([
    ['the option', 3, { VCPU: 9 }, 3], ['what Placement has', null, { VCPU: 9 }, 9], ['the initial ratio', null, {}, 4],
  ])('the ratio is %s', (_what, option, stored: Record<string, number>, expected) => {
    const has = Object.fromEntries(Object.entries(stored).map(([name, ratio]) => [name, { total: 1, reserved: 0, min_unit: 1, max_unit: 1, step_size: 1, allocation_ratio: ratio }]));
    expect(wantedInventories({ ...inventory, ratios: { cpu: option, ram: null, disk: null } }, has)['VCPU']!.allocation_ratio).toBe(expected);
  });

  test('a guest cannot be promised more processors than bhyve can give it', () => {
    expect(wantedInventories({ ...inventory, totals: { ...inventory.totals, vcpus: 64 } }, {})['VCPU']).toMatchObject({ total: 64, max_unit: 16 });
  });

  test('for any host Placement accepts what we report, and the same host gives the same report', () => {
    const amount = fc.integer({ min: 0, max: 10_000 });
    fc.assert(fc.property(amount, amount, amount, amount, amount, (vcpus, memoryMiB, diskGiB, reservedMemory, reservedDisk) => {
      const wish = { ...inventory, totals: { vcpus, memoryMiB, diskGiB }, reserved: { vcpus: 3, memoryMiB: reservedMemory, diskMiB: reservedDisk } };
      const wanted = wantedInventories(wish, {});
      for (const { total, reserved, max_unit: max } of Object.values(wanted)) {
        expect(total).toBeGreaterThan(0);
        expect(reserved).toBeLessThanOrEqual(total);
        expect(max).toBeGreaterThan(0);
      }
      expect(sameInventories(wantedInventories(wish, wanted), wanted)).toBe(true);
    }));
  });
});
