import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { factsOf } from '../../lab/stand-ins/lib/profiles.js';
import { type PciDevice, absentTypes, deviceEntries, kernelEntries, lostDevices } from '../../lab/stand-ins/lib/save-layout.js';
import { metaText } from '../../lab/stand-ins/lib/save-meta.js';

interface Recording { readonly argv: readonly string[]; readonly stdout: string; readonly stderr: string; readonly code: number }
const recorded = (file: string): Recording[] =>
  (JSON.parse(readFileSync(new URL(`../../samples/freebsd-13.2/commands/guest-snapshot-${file}.json`, import.meta.url), 'utf8')) as { recordings: Recording[] }).recordings;
const printed = (file: string, command: string): string => recorded(file).find(({ argv }) => argv.join(' ').endsWith(command))!.stdout;

const device = (model: string, slot: number): PciDevice => ({ model, bus: 0, slot, func: 0 });
const [bridge, lpc] = [device('hostbridge', 0), device('lpc', 31)];
const ready = { hasAhciPorts: true };
const guest = { name: 'vm1', cpus: 1, bytes: 64 << 20, flags: 0 };
const save = (profile: Parameters<typeof factsOf>[0]) => factsOf(profile).save!;
const text = (profile: Parameters<typeof factsOf>[0], devices: readonly PciDevice[], moment: Parameters<typeof deviceEntries>[2] = ready): string =>
  metaText(save(profile), guest, kernelEntries(save(profile), 1), deviceEntries(save(profile), devices, moment));
/** What `grep -A2 snapshot_req` shows of it. */
const grepped = (meta: string): string => {
  const lines = meta.split('\n');
  return `${lines.flatMap((line, at) => (line.includes('snapshot_req') ? [lines.slice(at, at + 3).join('\n')] : [])).join('\n--\n')}\n`;
};
/** Sizes of the three files as `ls -l` shows them. */
const sizes = (file: string, name: string): number[] => [...printed(file, `/vms/s/${name} /vms/s/${name}.kern /vms/s/${name}.meta`).matchAll(/wheel +(\d+) /g)].map((match) => Number(match[1]));

describe('.meta of a 13.2', () => {
  it('is the recorded text, with and without the empty struct', () => {
    const devices = [bridge, device('virtio-blk', 2), lpc];
    expect(text('snapshot-13.2', devices)).toBe(printed('resume', 'cat /vms/s/ck.meta'));
    expect(text('snapshot-13.2-stock', devices)).toBe(printed('stock', 'cat /vms/s/ck.meta'));
  });

  it.each([
    ['twoblk', [device('virtio-blk', 2), device('virtio-blk', 3)]], ['twonet', [device('virtio-net', 3), device('virtio-net', 4)]], ['blknet', [device('virtio-blk', 2), device('virtio-net', 3)]],
    ['nvme', [device('nvme', 2)]], ['e1000', [device('e1000', 3)]], ['rnd', [device('virtio-rnd', 2)]], ['fbuf', [device('fbuf', 9), device('xhci', 10)]],
  ] as const)('lists the devices of the recorded %s', (name, devices) => {
    const meta = text('snapshot-13.2', [bridge, ...devices, lpc]);
    expect(grepped(meta)).toBe(printed('devices', `/vms/s/${name}.meta`));
    const entries = [...kernelEntries(save('snapshot-13.2'), 1), ...deviceEntries(save('snapshot-13.2'), [bridge, ...devices, lpc], ready)];
    expect([guest.bytes, entries.reduce((sum, { bytes }) => sum + bytes, 0), meta.length]).toEqual(sizes('devices', name));
  });

  it('ends where an AHCI controller without ports could not be saved', () => {
    const meta = text('snapshot-13.2', [bridge, device('ahci', 2), lpc], { hasAhciPorts: false });
    expect(meta.length).toBe(sizes('devices', 'ahcihd')[2]);
    expect(meta.trimEnd().endsWith('}')).toBe(true);
    expect(() => JSON.parse(meta) as unknown).toThrow();
    expect(grepped(meta)).toBe(printed('devices', '/vms/s/ahcihd.meta'));
  });
});

describe('a guest of several devices', () => {
  const devices = [bridge, device('virtio-blk', 3), device('virtio-blk', 4), device('nvme', 5), device('virtio-net', 6), device('virtio-net', 7), lpc];

  it('loses on 13 what is second of its type or of no type that is saved', () => {
    expect(lostDevices(save('snapshot-13.2'), devices).map(({ slot }) => slot)).toEqual([4, 5, 7]);
    expect(lostDevices(save('upb-json'), devices)).toHaveLength(3);
    expect(lostDevices(save('snapshot-15'), devices)).toEqual([]);
  });

  it('cannot be saved on 15 because of its NVMe controller', () => {
    expect(deviceEntries(save('snapshot-15'), devices, ready).at(-1)).toEqual({ name: 'nvme@pci.0.5.0', bytes: 0, errno: 45 });
    expect(() => JSON.parse(text('snapshot-15', devices)) as unknown).toThrow();
  });

  it('is listed on 15 by address, with the keyboard controller at the end', () => {
    const names = deviceEntries(save('snapshot-15'), devices.filter(({ model }) => model !== 'nvme'), ready).map(({ name }) => name);
    expect(names).toEqual(['hostbridge@pci.0.0.0', 'virtio-blk@pci.0.3.0', 'virtio-blk@pci.0.4.0', 'virtio-net@pci.0.6.0', 'virtio-net@pci.0.7.0', 'lpc@pci.0.31.0', 'atkbdc']);
  });

  it('makes 15 list kernel structs by name, one behind the other', () => {
    const meta = JSON.parse(text('snapshot-15', [bridge, lpc])) as { kern_structs: { device: string; size: number; file_offset: number }[]; devices: { size: number; file_offset: number }[] };
    expect(meta.kern_structs.map(({ device: name }) => name)).toEqual(['vhpet', 'vm', 'vioapic', 'vlapic', 'vmcx', 'vatpit', 'vatpic', 'vpmtmr', 'vrtc']);
    let end = 0;
    for (const { size, file_offset: offset } of [...meta.kern_structs, ...meta.devices]) {
      expect(offset).toBe(end);
      end += size;
    }
  });
});

describe("UPB's .meta", () => {
  it('has typed members, 64-bit values as hexadecimal text and no sizes', () => {
    const meta = JSON.parse(text('upb-json', [bridge, device('virtio-blk', 3), lpc])) as { 'basic metadata': object; structs: Record<string, unknown>[] };
    expect(meta['basic metadata']).toEqual({ ncpus: 1, vmname: 'vm1', memsize: 64 << 20, memflags: 0, version: 2 });
    const vm = meta.structs.find((part) => part['debug_name'] === 'vm')!;
    expect(vm).not.toHaveProperty('size');
    expect(JSON.stringify(vm['device_params'])).toMatch(/^\[\{"vcpus":\[\{"vcpus@0":\[\{"x2apic_state\$uint32":0,.*"nextrip\$uint64":"ffffffff81085d96"/);
  });
});

describe('what 13.2 says of types without a device', () => {
  const devices = [bridge, device('virtio-blk', 2), lpc];

  it.each([['resume', devices], ['devices', [bridge, lpc]]] as const)('is what it was heard to say during a suspend (%s)', (session, machine) => {
    const said = (['pause', 'snapshot'] as const).map((what) => absentTypes(save('snapshot-13.2'), machine, what)).join('');
    const heard = recorded(session).find(({ argv, code }) => argv[0] === 'bhyve' && argv.includes('-m') && code === 0)!.stderr;
    expect(heard.endsWith(said)).toBe(true);
    expect(heard).toContain(absentTypes(save('snapshot-13.2'), machine, 'resume'));
  });

  it('is nothing on 15', () => {
    expect(absentTypes(save('snapshot-15'), devices, 'snapshot')).toBe('');
  });
});
