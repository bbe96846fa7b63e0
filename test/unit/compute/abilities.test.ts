import { describe, expect, test } from 'vitest';
import { abilities } from '../../../src/compute/abilities.js';
import { refuseUnsupported, type SupportFacts } from '../../../src/compute/build/supported.js';
import { localDisks } from '../../../src/compute/local-disks.js';
import { createObject, profileNamed } from '../../../src/objects/index.js';
import { makeObject } from '../../../src/objects/nova-object.js';

const availabilityOf = (what: string): string => {
  const found = abilities().filter((ability) => ability.what.startsWith(what));
  expect([what, found.length]).toEqual([what, 1]);
  return found[0]!.availability.status;
};

interface Asked { readonly image?: Readonly<Record<string, string>>; readonly flavor?: Readonly<Record<string, unknown>>; readonly device?: Readonly<Record<string, unknown>>; readonly accelerators?: readonly string[]; readonly hasCertificates?: true; readonly hasLimits?: true }

function isRefused({ image = {}, flavor = {}, device, accelerators = [], hasCertificates, hasLimits = undefined }: Asked): boolean {
  const zed = profileNamed('zed');
  const instance = createObject(zed, 'Instance', {
    uuid: '11111111-1111-4111-8111-111111111111', trusted_certs: hasCertificates === true ? makeObject('TrustedCerts', '1.0', { ids: ['c'] }) : null,
    flavor: createObject(zed, 'Flavor', { vcpus: 1, memory_mb: 512, root_gb: 1, ephemeral_gb: 0, swap: 0, extra_specs: {}, ...flavor }),
  });
  const mappings = device === undefined ? [] : [createObject(zed, 'BlockDeviceMapping', device)];
  const facts = {
    args: { instance, requested_networks: null, accel_uuids: accelerators },
    blockDevices: mappings,
    disks: localDisks(mappings, instance.get('flavor'), null), properties: image, hasScreens: true, formats: new Set(['swap']),
    capabilities: {
      architecture: 'amd64', maxVcpusPerGuest: 16, deviceModels: new Set(['virtio-blk', 'virtio-net', 'ahci', 'nvme', 'e1000', 'virtio-rnd', 'fbuf']), hasFramebuffer: true,
      hasResourceLimits: hasLimits === true,
    },
  } as unknown as SupportFacts;
  try {
    refuseUnsupported(facts);
    return false;
  } catch {
    return true;
  }
}

/** What a build asks for, by the ability that it belongs to. */
const asked: readonly { readonly what: string; readonly requests: readonly Asked[] }[] = [
  { what: 'UEFI guests with virtio disks and network cards', requests: [{}, { image: { hw_firmware_type: 'uefi', hw_disk_bus: 'virtio', hw_vif_model: 'virtio' } }] },
  { what: 'ephemeral and swap disks', requests: [{ flavor: { ephemeral_gb: 1 } }, { flavor: { swap: 64 } }] },
  { what: 'boot from volume', requests: [{ device: { destination_type: 'volume', source_type: 'volume', tag: null } }] },
  { what: 'BIOS guests', requests: [{ image: { hw_firmware_type: 'bios' } }] },
  { what: 'SATA and NVMe disks', requests: [{ image: { hw_disk_bus: 'sata' } }, { image: { bhyve_disk_bus: 'nvme' } }, { device: { destination_type: 'local', source_type: 'blank', disk_bus: 'nvme', boot_index: -1 } }] },
  { what: 'e1000 network cards', requests: [{ image: { hw_vif_model: 'e1000' } }] },
  { what: 'sockets, cores and threads', requests: [{ flavor: { vcpus: 2, extra_specs: { 'hw:cpu_cores': '2' } } }, { image: { hw_rng_model: 'virtio' } }, { image: { hw_video_model: 'none' } }, { image: { hw_pointer_model: 'ps2mouse' } }] },
  { what: 'boot from an ISO image', requests: [{ image: { disk_format: 'iso', hw_cdrom_bus: 'sata' } }] },
  { what: 'other quotas', requests: [{ flavor: { extra_specs: { 'quota:cpu_shares': '512' } }, hasLimits: true }, { flavor: { extra_specs: { 'quota:vif_inbound_average': '9' } }, hasLimits: true }, { flavor: { extra_specs: { 'quota:disk_total_iops_sec': '9' } }, hasLimits: true }] },
  { what: 'IDE, SCSI, USB', requests: [{ image: { hw_disk_bus: 'ide' } }, { image: { hw_vif_model: 'rtl8139' } }, { image: { hw_video_model: 'qxl' } }, { image: { hw_of_tomorrow: 'x' } }, { image: { hw_rng_model: 'virtio-2' } }] },
  { what: 'secure boot, virtual TPM, memory encryption', requests: [{ image: { os_secure_boot: 'required' } }, { image: { hw_tpm_version: '2.0' } }, { image: { hw_mem_encryption: 'true' } }] },
  { what: 'device tags', requests: [{ device: { destination_type: 'local', source_type: 'image', tag: 'root', boot_index: 0 } }] },
  { what: 'image certificate validation', requests: [{ hasCertificates: true }] },
  { what: 'accelerators', requests: [{ accelerators: ['a'] }] },
];

test('quotas work with resource accounting and are refused without', () => {
  const flavor = { extra_specs: { 'quota:cpu_quota': '50000' } };
  expect([isRefused({ flavor }), isRefused({ flavor, hasLimits: true })]).toEqual([true, false]);
});

describe('what the README says of builds is what the rules of builds do', () => {
  test.each(asked)('$what', ({ what, requests }) => {
    const isWorking = availabilityOf(what) === 'works';
    for (const request of requests) expect([request, isRefused(request) ? 'refused' : 'works']).toEqual([request, isWorking ? 'works' : 'refused']);
  });
});

test('every ability has a sentence of its own, and every refusal a reason', () => {
  const all = abilities();
  expect(new Set(all.map(({ what }) => what)).size).toBe(all.length);
  for (const { what, availability: { status, reason } } of all) if (status !== 'works') expect([what, reason]).toEqual([what, expect.stringMatching(/^\S.{5,}/)]);
});
