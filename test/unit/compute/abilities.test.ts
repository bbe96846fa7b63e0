import { describe, expect, test } from 'vitest';
import { abilities } from '../../../src/compute/abilities.js';
import { refuseUnsupported, type SupportFacts } from '../../../src/compute/build/supported.js';
import { createObject, profileNamed } from '../../../src/objects/index.js';
import { makeObject } from '../../../src/objects/nova-object.js';

const availabilityOf = (what: string): string => {
  const found = abilities().filter((ability) => ability.what.startsWith(what));
  expect([what, found.length]).toEqual([what, 1]);
  return found[0]!.availability.status;
};

interface Asked { readonly image?: Readonly<Record<string, string>>; readonly flavor?: Readonly<Record<string, unknown>>; readonly device?: Readonly<Record<string, unknown>>; readonly accelerators?: readonly string[]; readonly hasCertificates?: true }

function isRefused({ image = {}, flavor = {}, device, accelerators = [], hasCertificates }: Asked): boolean {
  const zed = profileNamed('zed');
  const instance = createObject(zed, 'Instance', {
    uuid: '11111111-1111-4111-8111-111111111111', trusted_certs: hasCertificates === true ? makeObject('TrustedCerts', '1.0', { ids: ['c'] }) : null,
    flavor: createObject(zed, 'Flavor', { vcpus: 1, memory_mb: 512, root_gb: 1, ephemeral_gb: 0, swap: 0, extra_specs: {}, ...flavor }),
  });
  const facts = {
    args: { instance, requested_networks: null, accel_uuids: accelerators },
    blockDevices: device === undefined ? [] : [createObject(zed, 'BlockDeviceMapping', device)],
    imageProperties: image, capabilities: { architecture: 'amd64', maxVcpusPerGuest: 16, deviceModels: new Set<string>() },
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
  { what: 'disks on other buses', requests: [{ image: { hw_disk_bus: 'sata' } }] },
  { what: 'other network cards', requests: [{ image: { hw_vif_model: 'e1000' } }] },
  { what: 'secure boot, virtual TPM, memory encryption', requests: [{ image: { os_secure_boot: 'required' } }, { image: { hw_tpm_version: '2.0' } }, { image: { hw_mem_encryption: 'true' } }] },
  { what: 'device tags', requests: [{ device: { destination_type: 'local', source_type: 'image', tag: 'root' } }] },
  { what: 'image certificate validation', requests: [{ hasCertificates: true }] },
  { what: 'accelerators', requests: [{ accelerators: ['a'] }] },
];

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
