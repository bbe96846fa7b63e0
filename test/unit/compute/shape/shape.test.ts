import { describe, expect, test } from 'vitest';
import { imagePropertiesOf, machineShape, normalProperties, unsupportedMachine } from '../../../../src/compute/shape/index.js';
import { guestLimits } from '../../../../src/compute/shape/limits.js';
import { machineRules } from '../../../../src/compute/shape/rules.js';
import { createObject, profileNamed } from '../../../../src/objects/index.js';
import { capabilities } from '../../../sim/fake-node.js';

const zed = profileNamed('zed');
const models = { deviceModels: new Set(['virtio-blk', 'virtio-net', 'ahci', 'nvme', 'e1000', 'virtio-rnd']) };
const shape = (properties: Record<string, string> = {}, extraSpecs: Record<string, string> = {}, vcpus = 1): ReturnType<typeof machineShape> =>
  machineShape({ vcpus, extraSpecs, properties, capabilities: models });
const unsupported = (properties: Record<string, string>, extraSpecs: Record<string, string> = {}, hasScreens = true, host: typeof capabilities = { ...capabilities, ...models }): string | null =>
  unsupportedMachine({ flavor: createObject(zed, 'Flavor', { vcpus: 1, memory_mb: 64, root_gb: 1, ephemeral_gb: 0, swap: 0, extra_specs: extraSpecs }), properties, capabilities: host, hasScreens });

describe('the shape of a machine', () => {
  test('is plain virtio with a screen, a tablet and random numbers where nothing is said', () => {
    expect(shape()).toMatchObject({ diskBus: 'virtio', rootKind: 'disk', nicModel: 'virtio', hasScreen: true, hasTablet: true, hasRng: true, clock: 'utc' });
  });

  test('follows the image', () => {
    expect(shape({ hw_disk_bus: 'SATA', hw_vif_model: 'e1000', hw_video_model: 'none', hw_pointer_model: 'ps2mouse', os_type: 'windows', disk_format: 'iso' }))
      .toMatchObject({ diskBus: 'sata', rootKind: 'cdrom', nicModel: 'e1000', hasScreen: false, hasTablet: false, clock: 'localtime' });
  });

  test('is on NVMe by our own property, which goes before Nova’s', () => {
    expect(shape({ bhyve_disk_bus: 'nvme', hw_disk_bus: 'sata' }).diskBus).toBe('nvme');
    expect(unsupported({ bhyve_disk_bus: 'ide' })).toMatch(/bhyve_disk_bus=ide/);
  });

  test('has no random numbers where the flavor does not allow them, or the host has none', () => {
    expect(shape({}, { 'hw_rng:allowed': 'False' }).hasRng).toBe(false);
    expect(machineShape({ vcpus: 1, extraSpecs: {}, properties: {}, capabilities: { deviceModels: new Set() } }).hasRng).toBe(false);
  });

  test('is derived from what the row keeps of the image, old names included', () => {
    const instance = createObject(zed, 'Instance', { system_metadata: { image_hw_disk_bus: 'sata', image_architecture: 'x86_64', image_hw_vif_model: '', old_vm_state: 'active' } });
    expect(imagePropertiesOf(instance)).toEqual({ hw_disk_bus: 'sata', hw_architecture: 'x86_64' });
    expect(normalProperties({ hypervisor_type: 'kvm', img_hv_type: 'bhyve' })).toEqual({ img_hv_type: 'bhyve' });
  });
});

describe('what this host cannot give is named', () => {
  test.each([
    [{ hw_disk_bus: 'scsi' }, 'image property hw_disk_bus=scsi is not supported by this host (it has: virtio, sata, nvme)'],
    [{ hw_video_model: 'vga' }, 'image property hw_video_model=vga is not supported by this host (it has: none, gop)'],
    [{ hw_architecture: 'aarch64' }, 'image property hw_architecture=aarch64 is not supported by this host (it has: x86_64)'],
    [{ hw_of_tomorrow: '1' }, 'image property hw_of_tomorrow=1 is not supported by this host'],
    [{ img_hv_type: 'kvm' }, 'image property img_hv_type=kvm is not supported by this host (it has: bhyve)'],
  ])('%j', (properties, sentence) => {
    expect(unsupported(properties)).toBe(sentence);
  });

  test('of a flavor as of an image', () => {
    expect(unsupported({}, { 'hw:cpu_policy': 'dedicated' })).toBe('flavor extra spec hw:cpu_policy=dedicated is not supported by this host');
    expect(unsupported({}, { 'hw:mem_page_size': 'large' })).toMatch(/hw:mem_page_size=large/);
    expect(unsupported({}, { 'pci_passthrough:alias': 'gpu:1' })).toMatch(/pci_passthrough:alias/);
  });

  test('and what is not the machine’s business is let be', () => {
    expect(unsupported({ os_distro: 'debian', my_own: 'x', hw_qemu_guest_agent: 'yes', hw_boot_menu: 'false', base_image_ref: 'i', min_disk: '0' },
      { 'trait:CUSTOM_X': 'required', 'resources:VCPU': '2', 'hw:cpu_policy': 'shared', 'aggregate_instance_extra_specs:ssd': 'true', colour: 'green' })).toBeNull();
  });

  test('a flavor that wants servers which can be suspended does not get NVMe where that is not saved', () => {
    const wish = { 'trait:CUSTOM_BHYVE_SAVE_RESTORE': 'required' };
    const on = (models: readonly string[]): typeof capabilities => ({ ...capabilities, deviceModels: new Set(['virtio-blk', 'nvme']), saveRestore: { status: 'ready', reason: '', family: 'kern-structs', models } });
    const [without, having] = [on(['virtio-blk']), on(['virtio-blk', 'nvme'])];
    for (const image of [{ hw_disk_bus: 'nvme' }, { bhyve_disk_bus: 'NVMe' }]) {
      expect(unsupported(image, wish, true, without)).toMatch(/wants a server that can be suspended .*does not save NVMe disks: use virtio or sata disks/);
      expect(unsupported(image, wish, true, having)).toBeNull();
      expect(unsupported(image, {}, true, without)).toBeNull();
      expect(unsupported(image, { 'trait:CUSTOM_BHYVE_SAVE_RESTORE': 'forbidden' }, true, without)).toBeNull();
    }
    expect(unsupported({ bhyve_disk_bus: 'virtio', hw_disk_bus: 'nvme' }, wish, true, without)).toBeNull();
    expect(unsupported({}, wish, true, without)).toBeNull();
  });

  test('a bus, a card or a screen that this very host does not have is refused, and one that it has is not', () => {
    const plain = { ...capabilities, deviceModels: new Set(['virtio-blk', 'virtio-net']), hasFramebuffer: false };
    expect(unsupported({ hw_disk_bus: 'nvme' }, {}, true, plain)).toMatch(/it has: virtio\)/);
    expect(unsupported({ hw_rng_model: 'virtio' }, {}, true, plain)).not.toBeNull();
    expect(unsupported({ hw_video_model: 'gop' }, {}, true, plain)).toMatch(/it has: none\)/);
    expect(unsupported({ hw_video_model: 'gop' }, {}, false)).toMatch(/it has: none\)/);
    expect(unsupported({ hw_disk_bus: 'nvme', hw_rng_model: 'virtio', hw_video_model: 'gop' })).toBeNull();
  });

  test('every rule is about a name of Nova’s, and one of our own', () => {
    for (const name of Object.keys(machineRules)) expect(name).toMatch(/^(hw|img|os)_[a-z_]+$|^kernel_id$|^bhyve_disk_bus$/);
  });
});

describe('quotas', () => {
  test('of CPU time are the whole guest’s share', () => {
    expect(guestLimits({ 'quota:cpu_quota': '50000', 'quota:cpu_period': '100000' }, 4)).toMatchObject({ cpuPercent: 200 });
    expect(guestLimits({ 'quota:cpu_quota': '10000' }, 1)).toMatchObject({ cpuPercent: 10 });
    expect(guestLimits({ 'quota:cpu_quota': '-1' }, 1)).toMatchObject({ cpuPercent: null });
  });

  test('of disks are taken as they are', () => {
    expect(guestLimits({ 'quota:disk_read_bytes_sec': '1048576', 'quota:disk_write_iops_sec': '100' }, 1)).toMatchObject({ readBytesPerSecond: 1_048_576, writesPerSecond: 100 });
  });

  test.each(['quota:cpu_shares', 'quota:disk_total_bytes_sec', 'quota:disk_read_bytes_sec_max', 'quota:vif_outbound_average', 'quota:memory_limit'])('%s is refused', (name) => {
    expect(guestLimits({ [name]: '10' }, 1)).toMatch(new RegExp(`${name} is not supported by this host`));
  });

  test('that are no numbers are refused', () => {
    expect(guestLimits({ 'quota:cpu_quota': 'much' }, 1)).toMatch(/is not a number/);
  });

  test('are refused where the host does not account, with the remedy', () => {
    const without = { ...capabilities, ...models, hasResourceLimits: false };
    expect(unsupported({}, { 'quota:cpu_quota': '5000' }, true, without)).toMatch(/kern.racct.enable=1/);
    expect(unsupported({}, { 'quota:cpu_quota': '-1' }, true, without)).toBeNull();
  });
});
