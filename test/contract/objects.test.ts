import { describe, expect, test } from 'vitest';
import { manifestOf, parseArgument, parseArgumentList, parseObject, profileNamed, releaseProfiles, type ObjectName } from '../../src/objects/index.js';
import { objectsIn, recordedMessages, recordedOperations } from '../fakes/wire-samples.js';

const operations = recordedOperations();
const messages = operations.flatMap((operation) => recordedMessages(operation).map((recorded) => ({ operation, ...recorded })));
const zed = profileNamed('zed');

test('the recordings hold enough objects to prove anything', () => {
  expect(operations.length).toBeGreaterThan(40);
  expect(messages.flatMap(({ message }) => objectsIn(message)).length).toBeGreaterThan(700);
});

test.each(operations)('every object in %s is written as it was read, byte for byte', (operation) => {
  for (const { message } of recordedMessages(operation)) {
    for (const wire of objectsIn(message)) expect(JSON.stringify(parseObject(wire).toWire())).toBe(JSON.stringify(wire));
  }
});

test('every recorded object has the version that the Zed profile gives it, or is not one of ours', () => {
  const wrong = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const { 'nova_object.name': name, 'nova_object.version': version } = value as Record<string, unknown>;
    if (typeof name === 'string' && name in zed.objectVersions && zed.objectVersions[name] !== version) wrong.add(`${name} ${String(version)}`);
    Object.values(value).forEach(visit);
  };
  messages.forEach(({ message }) => visit(message));
  expect([...wrong]).toEqual([]);
});

test('the manifest of each recorded class call is the one that we would send', () => {
  const seen = new Map<string, unknown>();
  for (const { message } of messages) {
    if (message['method'] !== 'object_class_action_versions') continue;
    const args = message['args'] as { objname: string; object_versions: unknown };
    seen.set(args.objname, args.object_versions);
  }
  expect(seen.size).toBeGreaterThan(15);
  for (const [name, manifest] of seen) expect(manifestOf(zed.objectVersions, name), name).toEqual(manifest);
});

describe('objects in requests to a compute', () => {
  const single: Record<string, ObjectName> = {
    instance: 'Instance', bdms: 'BlockDeviceMappingList', block_device_mapping: 'BlockDeviceMappingList', requested_networks: 'NetworkRequestList',
    request_spec: 'RequestSpec', migration: 'Migration', flavor: 'Flavor',
  };
  const requests = messages.filter(({ message }) => typeof message['method'] === 'string' && typeof message['args'] === 'object');

  test('all pass their schema', () => {
    let count = 0;
    for (const { message } of requests) {
      const args = message['args'] as Record<string, unknown>;
      for (const [key, name] of Object.entries(single)) {
        if (args[key] === undefined || args[key] === null) continue;
        expect(parseArgument(name, args[key]).objectName).toBe(name);
        count += 1;
      }
      if (message['method'] === 'external_instance_event') {
        count += parseArgumentList('InstanceExternalEvent', args['events']).length + parseArgumentList('Instance', args['instances']).length;
      }
      for (const selections of Array.isArray(args['host_list']) && Array.isArray((args['host_list'] as unknown[])[0]) ? (args['host_list'] as unknown[]) : []) {
        count += parseArgumentList('Selection', selections).length;
      }
    }
    expect(count).toBeGreaterThan(150);
  });

  test('an instance of 2025.1 (2.8, with compute_id) is taken with its unknown fields and given back at its version', () => {
    const args = messages.find(({ message }) => message['method'] === 'stop_instance')?.message['args'] as { instance: Record<string, unknown> };
    const data = args.instance['nova_object.data'] as object;
    const newer = { ...args.instance, 'nova_object.version': '2.8', 'nova_object.data': { ...data, compute_id: 4, shiny: { deep: [1] } } };
    const instance = parseArgument('Instance', newer);
    expect(instance.get('compute_id')).toBe(4);
    expect(instance.toWire()).toEqual(newer);
  });
});

test('a later profile never asks for an older version than an earlier one', () => {
  const key = (version: string): number => version.split('.').reduce((sum, part) => sum * 1000 + Number(part), 0);
  releaseProfiles.slice(1).forEach((profile, index) => {
    const before = releaseProfiles[index]!;
    expect(profile.serviceVersion).toBeGreaterThanOrEqual(before.serviceVersion);
    for (const [name, version] of Object.entries(before.objectVersions)) expect(key(profile.objectVersions[name]!)).toBeGreaterThanOrEqual(key(version));
  });
});
