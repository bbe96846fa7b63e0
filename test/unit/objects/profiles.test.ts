import { describe, expect, test } from 'vitest';
import { chooseProfile, manifestOf, profileNamed } from '../../../src/objects/index.js';

test.each([
  [64, 'zed', null], [65, 'zed', null], [66, '2023.1', '2023.2'], [67, '2024.1', null], [68, '2025.1', null], [69, '2025.1', null],
  [70, '2025.2', null], [71, '2025.2', null], [72, '2026.1', null], [73, '2026.2', null],
])('a conductor that says %i gets the profile %s (rival %s)', (number, name, rival) => {
  const choice = chooseProfile(number);
  expect([choice.profile.name, choice.rival?.name ?? null, choice.isBeyondTable]).toEqual([name, rival, false]);
});

test('a conductor newer than our table gets the newest profile, and we know that it is beyond', () => {
  expect(chooseProfile(99)).toMatchObject({ profile: { name: '2026.2', serviceVersion: 73 }, isBeyondTable: true });
});

test.each([0, 61, 63])('a conductor older than Zed (%i) is refused', (number) => {
  expect(() => chooseProfile(number)).toThrowError(expect.objectContaining({ code: 'release-unsupported' }));
});

describe('the table of nova-contract 7.2', () => {
  const moved = ['Instance', 'Migration', 'RequestSpec', 'ImageMetaProps', 'ConsoleAuthToken', 'LibvirtLiveMigrateData', 'HyperVLiveMigrateData', 'ShareMapping'];
  test.each([
    ['zed', ['2.7', '1.7', '1.14', '1.34', '1.1', '1.10', '1.4', undefined]],
    ['2023.1', ['2.7', '1.7', '1.14', '1.34', '1.1', '1.10', '1.4', undefined]],
    ['2023.2', ['2.8', '1.8', '1.14', '1.34', '1.1', '1.10', '1.4', undefined]],
    ['2024.1', ['2.8', '1.8', '1.15', '1.37', '1.2', '1.11', '1.4', '1.0']],
    ['2025.1', ['2.8', '1.8', '1.15', '1.39', '1.3', '1.13', '1.5', '1.2']],
    ['2025.2', ['2.8', '1.8', '1.15', '1.42', '1.3', '1.13', '1.5', '1.2']],
    ['2026.1', ['2.8', '1.8', '1.15', '1.42', '1.3', '1.14', '1.5', '1.2']],
    ['2026.2', ['2.8', '1.8', '1.15', '1.43', '1.3', '1.14', '1.5', '1.2']],
  ])('%s', (name, versions) => {
    expect(moved.map((object) => profileNamed(name).objectVersions[object])).toEqual(versions);
  });

  test.each([['zed', 16, 1.5], ['2023.1', 4, 1], ['2026.2', 4, 1]])('%s starts providers with cpu ratio %d and ram ratio %d', (name, cpu, ram) => {
    expect(profileNamed(name)).toMatchObject({ initialCpuRatio: cpu, initialRamRatio: ram });
  });
});

test('a manifest names the object asked for and all that it can hold, and nothing else', () => {
  expect(manifestOf(profileNamed('2025.1').objectVersions, 'ComputeNodeList')).toEqual({
    ComputeNodeList: '1.17', ComputeNode: '1.19', HVSpec: '1.2', PciDevicePoolList: '1.1', PciDevicePool: '1.1',
  });
  expect(() => manifestOf({}, 'Instance')).toThrow();
});
