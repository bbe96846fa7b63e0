import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { buildConfigDrive, configDriveInput, isRequired, type ConfigDriveVif } from '../../../../src/storage/index.js';
import { maskOf, networkOf } from '../../../../src/storage/config-drive/netmask.js';
import { createObject } from '../../../../src/objects/index.js';
import { fakeInstance, zed } from '../../../fakes/conductor-rows.js';

const golden = JSON.parse(readFileSync(join(import.meta.dirname, '../../../samples/config-drive/nova-26.2.json'), 'utf8')) as {
  network_info: ConfigDriveVif[]; files: Record<string, unknown>;
};
/** The instance that the sample was made from. */
const instance = fakeInstance('69e439e8-259a-443a-876b-62979aca17c9', {
  id: 7, display_name: 'web ü', hostname: 'web-1', project_id: '4f72df0075124287be2544b5127a722b', launch_index: 0, availability_zone: 'nova', reservation_id: 'r-abc',
  metadata: { role: 'web' }, key_name: 'k1', key_data: 'ssh-ed25519 AAAA k1', root_device_name: '/dev/vda', default_ephemeral_device: null, default_swap_device: null,
  user_data: 'I2Nsb3VkLWNvbmZpZwo=', config_drive: 'True', launched_at: null,
  keypairs: createObject(zed, 'KeyPairList', { objects: [createObject(zed, 'KeyPair', { name: 'k1', type: 'ssh', public_key: 'ssh-ed25519 AAAA k1' })] }),
  flavor: createObject(zed, 'Flavor', { name: 'm1.nano', extra_specs: {} }),
  security_groups: createObject(zed, 'SecurityGroupList', { objects: [createObject(zed, 'SecurityGroup', { name: 'default' })] }),
});
const text = (value: string): Uint8Array => Buffer.from(value);
const input = {
  ...configDriveInput(instance, {
    networkInfo: golden.network_info, injectedFiles: [['/etc/motd', text('hello')], ['../../etc/passwd', text('x')]], adminPassword: 's3cret', dhcpDomain: 'novalocal',
    vendorData: {}, randomSeed: new Uint8Array(512).fill(7) }),
  ec2: { instanceId: 'i-00000007', amiId: 'ami-00000003', kernelId: null, ramdiskId: null },
};
const read = (files: ReadonlyMap<string, Uint8Array>, path: string): unknown => {
  const content = Buffer.from(files.get(path) ?? []).toString('utf8');
  return path.endsWith('.json') ? JSON.parse(content) as unknown : content;
};

describe('a config drive', () => {
  const files = buildConfigDrive(input);

  test('has what Nova 26.2 puts there, file by file', () => {
    for (const [path, content] of Object.entries(golden.files)) expect([path, read(files, path)]).toEqual([path, content]);
  });

  test('has nothing beside that but the version that came later', () => {
    const more = [...files.keys()].filter((path) => !(path in golden.files));
    expect(more.sort()).toEqual(['meta_data.json', 'network_data.json', 'user_data', 'vendor_data.json', 'vendor_data2.json'].map((name) => `openstack/2025-04-04/${name}`));
  });

  test('uses no path of the user as a path', () => {
    for (const path of files.keys()) expect(path).toMatch(/^(ec2|openstack)\/[0-9a-z-]+\/[0-9a-z_.-]+$/);
    expect(read(files, 'openstack/content/0001')).toBe('x');
  });

  test('has no password, key, user data or files where there are none', () => {
    const bare = buildConfigDrive({ ...input, adminPassword: null, keyPair: null, userData: null, injectedFiles: [], metadata: {}, networkInfo: [] });
    expect([...bare.keys()].some((path) => /user[-_]data|content/.test(path))).toBe(false);
    const meta = read(bare, 'openstack/latest/meta_data.json') as object;
    for (const key of ['admin_pass', 'public_keys', 'keys', 'files', 'meta']) expect(meta).not.toHaveProperty(key);
    expect(read(bare, 'openstack/latest/network_data.json')).toEqual({});
  });

  test('keeps user data that is no text as it is', () => {
    const octets = Uint8Array.from({ length: 256 }, (_, index) => index);
    expect(Buffer.from(buildConfigDrive({ ...input, userData: octets }).get('openstack/latest/user_data') ?? []).equals(Buffer.from(octets))).toBe(true);
  });

  test('has no vendor data when the operator wants none', () => {
    const drive = buildConfigDrive({ ...input, vendorData: null });
    expect([...drive.keys()].filter((path) => path.endsWith('/vendor_data.json'))).toEqual([]);
    expect(read(drive, 'openstack/latest/vendor_data2.json')).toEqual({});
  });

  test('tells the vendor data of the operator in both forms', () => {
    const drive = buildConfigDrive({ ...input, vendorData: { ntp: ['192.0.2.1'] } });
    expect(read(drive, 'openstack/latest/vendor_data.json')).toEqual({ ntp: ['192.0.2.1'] });
    expect(read(drive, 'openstack/latest/vendor_data2.json')).toEqual({ static: { ntp: ['192.0.2.1'] } });
  });

  test('tells what targets say in the second form only, and none of them in the place of the static one', () => {
    const dynamic = { test: { a: 1 }, static: { b: 2 } };
    const both = buildConfigDrive({ ...input, vendorData: { ntp: [] }, dynamicVendorData: dynamic });
    expect([read(both, 'openstack/latest/vendor_data.json'), read(both, 'openstack/latest/vendor_data2.json')]).toEqual([{ ntp: [] }, { test: { a: 1 }, static: { ntp: [] } }]);
    expect(read(buildConfigDrive({ ...input, vendorData: null, dynamicVendorData: dynamic }), 'openstack/latest/vendor_data2.json')).toEqual(dynamic);
  });
});

describe('a config drive is needed', () => {
  const of = (fields: Parameters<typeof fakeInstance>[1]): ReturnType<typeof fakeInstance> => fakeInstance('69e439e8-259a-443a-876b-62979aca17c9', fields);
  test.each([
    ['the user asked for one', of({ config_drive: 'True', launched_at: null }), {}, false, true],
    ['nobody asked', of({ config_drive: '', launched_at: null }), {}, false, false],
    ['the image demands it', of({ config_drive: '', launched_at: null }), { img_config_drive: 'mandatory' }, false, true],
    ['the image is indifferent', of({ config_drive: '', launched_at: null }), { img_config_drive: 'optional' }, false, false],
    ['the host forces it on a new server', of({ config_drive: null, launched_at: null }), {}, true, true],
    ['the host forces it, but the server has run without', of({ config_drive: null, launched_at: '2026-11-23T04:00:00Z' }), {}, true, false],
  ])('or not: %s', (_name, candidate, properties, isForced, expected) => {
    expect(isRequired(candidate, properties, isForced)).toBe(expected);
  });
});

describe('a prefix', () => {
  test.each([
    ['10.20.3.37/20', '255.255.240.0', '10.20.0.0'], ['192.0.2.1/32', '255.255.255.255', '192.0.2.1'], ['0.0.0.0/0', '0.0.0.0', '0.0.0.0'],
    ['2001:db8::1/64', 'ffff:ffff:ffff:ffff::', '2001:db8::'], ['::/0', '::', '::'], ['2001:db8:0:1::9/127', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe', '2001:db8:0:1::8'],
    ['::ffff:192.0.2.1/96', 'ffff:ffff:ffff:ffff:ffff:ffff::', '::ffff:0:0'],
  ])('%s has mask %s and network %s', (cidr, mask, network) => {
    expect([maskOf(cidr), networkOf(cidr)]).toEqual([mask, network]);
  });
});
