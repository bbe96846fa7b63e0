import { describe, expect, test } from 'vitest';
import { readProviderAdditions } from '../../../../src/compute/resources/provider-config.js';
import { recordingLog } from '../../../fakes/recording-log.js';

const uuid = '39d89b30-c0da-4c84-af73-c87eff3724c3';
const head = "meta: {schema_version: '1.0'}\nproviders:\n";
const entry = (identification: string, body: string): string => `  - identification: {${identification}}\n${body}`;
const traits = (...names: string[]): string => `    traits: {additional: [${names.join(', ')}]}\n`;

function read(files: Readonly<Record<string, string>>) {
  const log = recordingLog();
  const host = { list: async () => Object.keys(files).sort(), readText: async (path: string) => files[path.slice('/etc/nova/provider_config/'.length)] };
  return { log, additions: readProviderAdditions({ files: host, log: log.log, folder: '/etc/nova/provider_config', uuid, name: 'node1' }) };
}
const refused = (files: Readonly<Record<string, string>>, message: RegExp) =>
  expect(read(files).additions).rejects.toMatchObject({ code: 'provider-config-invalid', message: expect.stringMatching(message) as string });

describe('provider.yaml', () => {
  test('adds classes and traits, with the defaults of Placement for what is left out', async () => {
    const body = "    inventories:\n      additional:\n        - CUSTOM_SLOT: {total: 4, reserved: 1, allocation_ratio: 2.5}\n        - CUSTOM_DONGLE: {total: 1}\n";
    expect(await read({ 'a.yaml': head + entry('uuid: $COMPUTE_NODE', body + traits('CUSTOM_FAST')) }).additions).toEqual({
      inventories: {
        CUSTOM_SLOT: { total: 4, reserved: 1, min_unit: 1, max_unit: 2147483647, step_size: 1, allocation_ratio: 2.5 },
        CUSTOM_DONGLE: { total: 1, reserved: 0, min_unit: 1, max_unit: 2147483647, step_size: 1, allocation_ratio: 1 },
      },
      traits: ['CUSTOM_FAST'],
    });
  });

  test('that names this node wins over $COMPUTE_NODE; one about another node is left alone with a warning', async () => {
    const { additions, log } = read({
      'a.yaml': head + entry('uuid: $COMPUTE_NODE', traits('CUSTOM_ALL')) + entry(`uuid: ${uuid.toUpperCase()}`, traits('CUSTOM_THIS')) + entry('name: node2', traits('CUSTOM_OTHER')),
      'README': 'not read', '.hidden.yaml': 'not: [read',
    });
    expect((await additions).traits).toEqual(['CUSTOM_THIS']);
    expect(log.lines().filter(({ level }) => level === 40).map((line) => line['provider'])).toEqual(['node2']);
  });

  test('that is absent or adds nothing changes nothing', async () => {
    expect(await read({}).additions).toEqual({ inventories: {}, traits: [] });
    const { additions, log } = read({ 'a.yaml': head + entry('name: node1', '') });
    expect(await additions).toEqual({ inventories: {}, traits: [] });
    expect(log.lines().some(({ msg }) => String(msg).includes('adds nothing'))).toBe(true);
  });

  test.each([
    ['is no YAML', 'a: [', /a\.yaml is not valid YAML/], ['has no version', 'providers: []', /meta/], ['has a version that is a number', 'meta: {schema_version: 1.0}', /schema_version/],
    ['is of another major version', "meta: {schema_version: '2.0'}", /schema_version/], ['has a standard trait', head + entry('name: node1', traits('HW_CPU_X86_AVX')), /only custom traits/],
    ['has a standard class', `${head}${entry('name: node1', '    inventories: {additional: [{VCPU: {total: 4}}]}\n')}`, /only custom resource classes/],
    ['has a class without a total', `${head}${entry('name: node1', '    inventories: {additional: [{CUSTOM_A: {reserved: 4}}]}\n')}`, /total/],
    ['has an unknown property', `${head}${entry('name: node1', '    inventories: {additional: [{CUSTOM_A: {total: 4, generation: 3}}]}\n')}`, /generation/],
    ['names a provider in two ways', head + entry(`name: node1, uuid: ${uuid}`, traits('CUSTOM_A')), /identification/], ['names none', head + entry('', traits('CUSTOM_A')), /identification/],
  ])('is refused when it %s', async (_why, text, message) => {
    await refused({ 'a.yaml': text }, message);
  });

  test('is refused when it names a provider twice, in one way or in two', async () => {
    await refused({ 'a.yaml': head + entry('name: node1', traits('CUSTOM_A')), 'b.yaml': head + entry('name: node1', traits('CUSTOM_B')) }, /defined twice, in a\.yaml and in b\.yaml/);
    await refused({ 'a.yaml': head + entry('name: node1', traits('CUSTOM_A')) + entry(`uuid: ${uuid}`, traits('CUSTOM_B')) }, /named twice, by uuid and by name/);
  });

  test('of a later minor version is read, with a warning', async () => {
    const { additions, log } = read({ 'a.yaml': head.replace('1.0', '1.3') + entry('name: node1', `${traits('CUSTOM_A')}    shiny: true\n`) });
    expect((await additions).traits).toEqual(['CUSTOM_A']);
    expect(log.lines().some(({ msg }) => String(msg).includes('newer schema'))).toBe(true);
  });
});
