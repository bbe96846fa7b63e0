import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createObject, fitToVersions, parseObject, profileNamed, type NovaObjectOf } from '../../../src/objects/index.js';

const zed = profileNamed('zed');
const wireOf = (name: string, data: Record<string, unknown>, changes: string[] = [], version = '1.0'): Record<string, unknown> => ({
  'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': version, 'nova_object.data': data,
  ...(changes.length > 0 ? { 'nova_object.changes': changes } : {}),
});
const instance = (): NovaObjectOf<'Instance'> => parseObject(wireOf('Instance', {
  uuid: 'b004d3f3-a703-411e-9d0a-52251cce532b', id: 5, task_state: null, metadata: { a: '1' },
  info_cache: wireOf('InstanceInfoCache', { network_info: '[]' }, [], '1.5'),
  security_groups: wireOf('SecurityGroupList', { objects: [wireOf('SecurityGroup', { name: 'default' })] }),
  hv: [wireOf('HVSpec', { arch: 'x86_64' })],
}, [], '2.7')) as unknown as NovaObjectOf<'Instance'>;

describe('fields', () => {
  test('an unset field is not null: get refuses it and maybe gives undefined', () => {
    expect(instance().isSet('host')).toBe(false);
    expect(instance().maybe('host')).toBeUndefined();
    expect(() => instance().get('host')).toThrowError(expect.objectContaining({ code: 'object-field-unset' }));
    expect(instance().get('task_state')).toBeNull();
  });

  test('data cannot be changed in place, because that change would never be saved', () => {
    expect(() => { instance().get('metadata')['a'] = '2'; }).toThrow(TypeError);
    const own = { b: '1' };
    const object = instance();
    object.set('metadata', own);
    own.b = '2';
    expect(object.get('metadata')).toEqual({ b: '1' });
  });
});

describe('changes', () => {
  test('a field set to the value it has counts as changed, as in Nova', () => {
    const object = instance();
    object.set('task_state', null);
    expect([...object.changes]).toEqual(['task_state']);
  });

  test('a change in a nested object makes the field of its parent changed, on the wire too', () => {
    const object = instance();
    object.get('info_cache')!.set('network_info', '[{}]');
    expect([...object.changes]).toEqual(['info_cache']);
    expect(object.toWire()['nova_object.changes']).toEqual(['info_cache']);
    const nested = object.toWire()['nova_object.data']['info_cache'] as Record<string, unknown>;
    expect(nested['nova_object.changes']).toEqual(['network_info']);
  });

  test('a change in a member of a list object reaches the top; one inside a plain list does not', () => {
    const object = instance();
    object.get('security_groups').get('objects')[0]!.set('name', 'web');
    expect([...object.changes]).toEqual(['security_groups']);
    const other = instance() as unknown as { get(field: string): { set(field: string, value: string): void }[]; changes: Set<string> };
    other.get('hv')[0]!.set('arch', 'i686');
    expect([...other.changes]).toEqual([]);
  });

  test('resetChanges forgets nested changes as well', () => {
    const object = instance();
    object.get('info_cache')!.set('network_info', '[{}]');
    object.set('host', 'node1');
    object.resetChanges();
    expect([...object.changes]).toEqual([]);
    expect(object.toWire()).not.toHaveProperty(['nova_object.changes']);
  });
});

describe('what the conductor answers', () => {
  test('updates are merged, the rest stays, and only obj_what_changed is left changed', () => {
    const object = instance();
    object.set('host', 'node1');
    object.set('node', 'node1');
    object.applyUpdates({ updated_at: '2026-11-23T04:32:37Z', obj_what_changed: ['node'] });
    expect(object.get('updated_at')).toBe('2026-11-23T04:32:37Z');
    expect(object.get('host')).toBe('node1');
    expect([...object.changes]).toEqual(['node']);
    expect(object.isSet('obj_what_changed' as 'host')).toBe(false);
  });

  test('a nested object that somebody holds keeps its identity, so that a later change through it is not lost', () => {
    const object = instance();
    const held = object.get('info_cache')!;
    held.set('network_info', '[1]');
    object.applyUpdates({ info_cache: wireOf('InstanceInfoCache', { network_info: '[1]', updated_at: 'x' }, [], '1.5'), obj_what_changed: [] });
    expect([...object.changes]).toEqual([]);
    held.set('network_info', '[2]');
    expect(object.get('info_cache')!.get('network_info')).toBe('[2]');
    expect([...object.changes]).toEqual(['info_cache']);
  });

  test('nested changes end with the save even if the conductor does not send the nested object back', () => {
    const object = instance();
    object.get('info_cache')!.set('network_info', '[1]');
    object.applyUpdates({ obj_what_changed: [] });
    expect([...object.changes]).toEqual([]);
  });

  test('what was set while the save was under way stays, and stays changed', () => {
    const object = instance();
    object.set('host', 'node1');
    object.get('info_cache')!.set('network_info', '[1]');
    const since = object.revision();
    object.set('task_state', 'deleting');
    object.get('info_cache')!.set('network_info', '[2]');
    object.applyUpdates({
      task_state: 'spawning', host: 'node1', info_cache: wireOf('InstanceInfoCache', { network_info: '[1]', updated_at: 'now' }, [], '1.5'), obj_what_changed: [],
    }, since);
    expect(object.get('task_state')).toBe('deleting');
    expect(object.get('info_cache')!.toWire()['nova_object.data']).toEqual({ network_info: '[2]', updated_at: 'now' });
    expect([...object.changes].sort()).toEqual(['info_cache', 'task_state']);
  });

  test('takeFrom copies the named fields only and marks nothing', () => {
    const object = instance();
    const flavor = wireOf('Flavor', { vcpus: 1 }, ['vcpus'], '1.2');
    const fresh = parseObject(wireOf('Instance', { host: 'h', node: 'n', flavor }, ['host'], '2.7')) as unknown as NovaObjectOf<'Instance'>;
    object.takeFrom(fresh, ['host', 'flavor']);
    expect(object.get('host')).toBe('h');
    expect(object.get('flavor').get('vcpus')).toBe(1);
    expect(object.isSet('node')).toBe(false);
    expect([...object.changes]).toEqual([]);
  });
});

test('a clone shares nothing with its original', () => {
  const object = instance();
  const clone = object.clone();
  clone.get('info_cache')!.set('network_info', 'x');
  clone.set('host', 'other');
  expect(object.toWire()).toEqual(instance().toWire());
});

test('a new object has all fields changed and leaves undefined ones unset', () => {
  const service = createObject(zed, 'Service', { host: 'a', binary: 'nova-compute' });
  expect(service.version).toBe('1.22');
  expect(new Set(service.changes)).toEqual(new Set(['host', 'binary']));
});

describe('hostile input', () => {
  test.each([[null], [1], ['x'], [[]], [{}], [{ 'nova_object.name': 'X' }], [wireOf('X', 1 as never)]])('%j is refused as malformed', (wire) => {
    expect(() => parseObject(wire)).toThrowError(expect.objectContaining({ code: 'object-malformed' }));
  });

  test('an object nested without end is refused before the stack is gone', () => {
    let wire: Record<string, unknown> = wireOf('X', {});
    for (let depth = 0; depth < 100; depth += 1) wire = wireOf('X', { inner: wire });
    expect(() => parseObject(wire)).toThrowError(expect.objectContaining({ code: 'object-malformed' }));
  });

  test('a field called __proto__ stays a field', () => {
    const wire = JSON.parse('{"nova_object.name":"X","nova_object.namespace":"nova","nova_object.version":"1.0","nova_object.data":{"__proto__":{"a":1},"m":{"__proto__":"x"}}}') as unknown;
    expect(JSON.stringify(parseObject(wire).toWire())).toBe(JSON.stringify(wire));
    expect(({} as Record<string, unknown>)['a']).toBeUndefined();
  });
});

const plain = fc.jsonValue({ maxDepth: 3 }).filter((value) => !JSON.stringify(value).includes('nova_object'));
const { object: anyObject } = fc.letrec<{ object: Record<string, unknown>; value: unknown }>((tie) => ({
  object: fc.record({ name: fc.stringMatching(/^[A-Z][a-z]{1,6}$/), data: fc.dictionary(fc.stringMatching(/^[a-z_]{1,8}$/), tie('value'), { maxKeys: 4 }) })
    .map(({ name, data }) => wireOf(name, data)),
  value: fc.oneof({ maxDepth: 3, withCrossShrink: true }, plain, tie('object'), fc.array(tie('object'), { maxLength: 2 })),
}));

test('parse and write give the same JSON for any object', () => {
  fc.assert(fc.property(anyObject, (wire) => {
    expect(JSON.stringify(parseObject(wire).toWire())).toBe(JSON.stringify(wire));
  }));
});

describe('what we send is never newer than its reader', () => {
  test('a nested object of a newer minor gets the older number and keeps its data', () => {
    const wire = wireOf('InstanceList', { objects: [wireOf('Instance', { uuid: 'u', compute_id: 7 }, [], '2.9')] }, [], '2.6');
    const fitted = fitToVersions({ list: [wire] }, zed.objectVersions) as { list: unknown[] };
    expect(fitted.list[0]).toEqual(wireOf('InstanceList', { objects: [wireOf('Instance', { uuid: 'u', compute_id: 7 }, [], '2.7')] }, [], '2.6'));
  });

  test('an older or unknown object is left alone, and another major is refused', () => {
    const older = wireOf('Instance', {}, [], '2.5');
    const unknown = wireOf('Brandnew', {}, [], '9.9');
    expect(fitToVersions([older, unknown], zed.objectVersions)).toEqual([older, unknown]);
    expect(() => fitToVersions(wireOf('Instance', {}, [], '3.0'), zed.objectVersions)).toThrowError(expect.objectContaining({ code: 'object-too-new' }));
  });
});
