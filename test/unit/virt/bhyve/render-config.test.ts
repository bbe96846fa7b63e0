import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { buildMachineSpec, parseSpec, renderSpec, type MachineSpec } from '../../../../src/virt/bhyve/machine-spec.js';
import { renderConfig } from '../../../../src/virt/bhyve/render-config.js';
import { guestDefinition, instanceA } from '../../../fakes/guest-definition.js';

const samples = resolve(import.meta.dirname, '../../../samples/bhyve-config');
const paths = { deviceRoot: '/dev', firmwareCode: '/usr/local/share/edk2-bhyve/BHYVE_UEFI_CODE.fd', firmwareVars: `/var/db/nova-bhyve/instances/${instanceA}/nvram.fd` };
const armPaths = { deviceRoot: '/dev', firmwareCode: '/usr/local/share/u-boot/u-boot-bhyve-arm64/u-boot.bin', firmwareVars: null };
const amd64 = { architecture: 'amd64', bootromKey: 'lpc', hasFramebuffer: true } as const;
const chosen = { consoleUnit: 1017, vnc: { address: '127.0.0.1', port: 5917 }, createdAt: '2026-11-23T05:03:45.000Z' };
const spec = (changes: Partial<MachineSpec['definition']> = {}): MachineSpec => buildMachineSpec(guestDefinition(changes), undefined, chosen);

/** The golden file; written when it is missing, so that a new one shows up in review. */
function golden(name: string, text: string): void {
  const file = resolve(samples, name);
  if (!existsSync(file)) writeFileSync(file, text);
  expect(text).toBe(readFileSync(file, 'utf8'));
}

test.each(['13.2', '14', '15', 'main'])('an amd64 guest of FreeBSD %s gets exactly the configuration on file', (release) => {
  const bootromKey = release === '13.2' || release === '14' ? 'lpc' : 'top';
  golden(`amd64-${release}.conf`, renderConfig(spec(), { ...amd64, bootromKey }, paths));
});

const everything = (): MachineSpec => spec({
  vcpus: 8, topology: { sockets: 2, cores: 2, threads: 2 }, hasTablet: false, hasRng: true,
  disks: (['root', 'eph0', 'swap', 'rescue'] as const).map((role, at) => ({
    role, path: `/dev/zvol/tank/nova/${role}`, serial: `${role}-0f3c7d2a`, bus: (['sata', 'nvme', 'virtio', 'virtio'] as const)[at]!, kind: role === 'rescue' ? 'cdrom' : 'disk',
  })),
  nics: [{ port: '1a2b3c4d-5e6f-4a1b-8c9d-0e1f2a3b4c5d', tapName: 'tap1a2b3c4d-5e', mac: 'fa:16:3e:aa:bb:cc', mtu: 1450, model: 'e1000' }],
});

test.each(['13.2', '14', '15', 'main'])('a rescued amd64 guest of FreeBSD %s with every kind of device gets exactly the configuration on file', (release) => {
  const bootromKey = release === '13.2' || release === '14' ? 'lpc' : 'top';
  golden(`amd64-${release}-everything.conf`, renderConfig(everything(), { ...amd64, bootromKey }, paths));
});

test.each(['15', 'main'])('an arm64 guest of FreeBSD %s with every kind of device gets exactly the configuration on file', (release) => {
  golden(`arm64-${release}-everything.conf`, renderConfig(everything(), { architecture: 'arm64', bootromKey: 'top', hasFramebuffer: false }, armPaths));
});

test.each(['15', 'main'])('an arm64 guest of FreeBSD %s gets exactly the configuration on file', (release) => {
  golden(`arm64-${release}.conf`, renderConfig(spec({ hasVnc: false }), { architecture: 'arm64', bootromKey: 'top', hasFramebuffer: false }, armPaths));
});

test('an arm64 guest has no LPC bridge, framebuffer, tablet, ACPI or x86 option', () => {
  const text = renderConfig(spec(), { architecture: 'arm64', bootromKey: 'top', hasFramebuffer: false }, armPaths);
  expect(text).not.toMatch(/lpc|fbuf|xhci|acpi|x86|bootvars/);
  expect(text).toContain('console=/dev/nmdm1017A\n');
});

test('a guest without network, config drive and screen has none of their devices', () => {
  const bare = { ...spec({ nics: [], configDrive: null, hasVnc: false }), vnc: null };
  expect(renderConfig(bare, amd64, paths)).not.toMatch(/virtio-net|ahci|fbuf|xhci/);
});

test('values that bhyve would expand, split or reject are escaped or refused', () => {
  const withDisk = (path: string): string => renderConfig(spec({ disks: [{ role: 'root', path, serial: 's', bus: 'virtio', kind: 'disk' }] }), amd64, paths);
  expect(withDisk('/dev/zvol/tank/100%/%(name)')).toContain('.path=/dev/zvol/tank/100%%/%%(name)\n');
  expect(() => withDisk('/dev/x\npci.0.5.0.device=passthru')).toThrow(/control character/);
  expect(() => withDisk('')).toThrow(/empty/);
});

test('every line is one name and one non-empty value, whatever the text', () => {
  fc.assert(fc.property(fc.string(), fc.string(), (path, serial) => {
    let text: string;
    try {
      text = renderConfig(spec({ disks: [{ role: 'root', path, serial, bus: 'virtio', kind: 'disk' }] }), amd64, paths);
    } catch {
      return;
    }
    const lines = text.split('\n').slice(0, -1);
    for (const line of lines) expect(line).toMatch(/^[A-Za-z0-9_.]+=[^\n]+$/);
    expect(lines).toHaveLength(renderConfig(spec(), amd64, paths).split('\n').length - 1);
    expect(text).toContain(`.path=${path.replaceAll('%', '%%')}\n`);
  }));
});

test('the disk serial is cut to the 20 characters that virtio-blk keeps', () => {
  expect(renderConfig(spec(), amd64, paths)).toContain(`.ser=${instanceA.slice(0, 20)}\n`);
});

test('an IPv6 screen address is put in brackets', () => {
  expect(renderConfig({ ...spec(), vnc: { address: '::1', port: 5900 } }, amd64, paths)).toContain('.rfb=[::1]:5900\n');
});

test('instance.json reads back as written', () => {
  expect(parseSpec(instanceA, renderSpec(spec()))).toEqual(spec());
});

test('an older agent refuses a newer layout politely', () => {
  const newer = JSON.stringify({ ...spec(), layout: 3, somethingNew: true });
  expect(() => parseSpec(instanceA, newer)).toThrow(/newer agent \(layout 3, this agent reads up to 2\): upgrade/);
});

test('a file of the first layout reads as the machine that it described: plain disks, a socket for each vCPU, a tablet with the screen', () => {
  const { topology: _topology, hasTablet: _hasTablet, hasRng: _hasRng, ...definition } = spec().definition;
  const old = { ...spec(), layout: 1, definition: { ...definition, disks: definition.disks.map(({ kind: _kind, ...disk }) => disk) } };
  expect(parseSpec(instanceA, JSON.stringify(old))).toEqual(spec());
});

test('a topology that does not make the number of vCPUs is refused before bhyve would', () => {
  expect(() => spec({ vcpus: 4, topology: { sockets: 1, cores: 2, threads: 1 } })).toThrow(/do not make the number of vCPUs/);
});

test('a damaged instance.json and one of another instance are refused', () => {
  expect(() => parseSpec(instanceA, '{')).toThrow(/not JSON/);
  expect(() => parseSpec(instanceA, '{"layout":1}')).toThrow(/damaged/);
  const other = spec({ instance: '7a1c9a52-0000-4000-8000-000000000009' as MachineSpec['definition']['instance'] });
  expect(() => parseSpec(instanceA, renderSpec(other))).toThrow(/holds the file of/);
});
