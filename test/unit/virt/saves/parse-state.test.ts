import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describeSave, faultsOfSave, parseSaveMeta, type IntegerType, type SaveExpectation, type StateNode } from '../../../../src/virt/index.js';
import { renderUpbMeta } from '../../../fakes/save-meta.js';
import { group, uint32, upbState, wikiMeta } from '../../../fakes/upb-state.js';

const save = { vcpus: 2, guestName: 'vm1', memoryBytes: 1073741824n };
const at = (node: StateNode | null, ...path: string[]): StateNode | undefined => path.reduce<StateNode | undefined>((now, name) => (now?.kind === 'group' ? now.members.get(name) : undefined), node ?? undefined);

describe('the sample of the FreeBSD-UPB wiki', () => {
  const meta = parseSaveMeta(wikiMeta);
  const vcpu = (name: string): StateNode | undefined => at(meta.state, 'kernel', 'vm', 'vcpus', 'vcpus@0', name);

  test('is known by its content', () => {
    expect(meta).toMatchObject({ family: 'upb-json', ...save, kernel: [{ name: 'vm', bytes: null, offset: null }], devices: [{ name: 'virtio-net', bytes: null, offset: null }, { name: 'fbuf' }] });
    expect(parseSaveMeta(wikiMeta.replace('"version": 2', '"version": 1')).family).toBe('upb-json');
  });

  test('has 64-bit values in hex: the rip inside of exitinfo is nextrip', () => {
    expect(vcpu('nextrip')).toEqual({ kind: 'integer', type: 'uint64', value: 0xffffffff81085d96n });
    expect(vcpu('tsc_offset')).toEqual({ kind: 'integer', type: 'uint64', value: 0x15063e03a9f0n });
    expect(vcpu('x2apic_state')).toEqual(uint32(0n));
    const exitInfo = vcpu('exitinfo');
    if (exitInfo?.kind !== 'bytes') throw new Error('exitinfo is not a buffer');
    const struct = Buffer.from(exitInfo.base64, 'base64');
    expect([exitInfo.bytes, struct.length], 'a struct vm_exit').toEqual([136, 136]);
    expect(struct.readInt32LE(0), 'VM_EXITCODE_DEBUG: stopped for the save').toBe(21);
    expect(struct.readInt32LE(4), 'length of the instruction').toBe(0);
    expect(struct.readBigUInt64LE(8)).toBe(0xffffffff81085d96n);
  });

  test('is shown with paths, types and values, and without contents of buffers', () => {
    const { members, devices } = describeSave(meta);
    expect(devices).toEqual([{ name: 'virtio-net', bytes: null }, { name: 'fbuf', bytes: null }]);
    expect(members.slice(5)).toEqual([
      { path: 'kernel.vm.vcpus.vcpus@0.guest_xcr0', type: 'uint64', value: 7n }, { path: 'kernel.vm.vcpus.vcpus@0.exitinfo', type: 'b64', bytes: 136 },
      { path: 'kernel.vm.vcpus.vcpus@0.nextrip', type: 'uint64', value: 0xffffffff81085d96n }, { path: 'kernel.vm.vcpus.vcpus@0.tsc_offset', type: 'uint64', value: 0x15063e03a9f0n },
      { path: 'devices.virtio-net.vsc_features_negotiated', type: 'uint32', value: 5n },
    ]);
  });

  test('cut at any byte is refused', () => {
    for (let length = 0; length < wikiMeta.length; length += 1) expect(() => parseSaveMeta(wikiMeta.slice(0, length)), `cut at ${length}`).toThrow(/ is (cut short|empty)$/);
  });
});

const limitsOf = (type: IntegerType): [bigint, bigint] => {
  const bits = BigInt(type.replace(/\D/g, ''));
  return type.startsWith('u') ? [0n, 2n ** bits - 1n] : [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n];
};
const integer = fc.constantFrom<IntegerType>('int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64')
  .chain((type) => fc.bigInt(...limitsOf(type)).map((value): StateNode => ({ kind: 'integer', type, value })));
const buffer = fc.uint8Array({ maxLength: 70 }).map((bytes): StateNode => ({ kind: 'bytes', base64: Buffer.from(bytes).toString('base64'), bytes: bytes.length }));
const groups = (child: fc.Arbitrary<StateNode>): fc.Arbitrary<StateNode> => fc.dictionary(fc.stringMatching(/^[a-z_]{1,8}(@\d)?$/), child, { maxKeys: 6, noNullPrototype: true }).map(group);
const { tree } = fc.letrec<{ tree: StateNode; node: StateNode }>((tie) => ({ tree: groups(tie('node')), node: fc.oneof({ depthSize: 'small' }, integer, buffer, tie('tree')) }));

describe('readable state', () => {
  test('comes back from any tree, with 64-bit numbers as hex and as decimals', () => {
    fc.assert(fc.property(groups(tree), groups(tree), fc.constantFrom<'hex' | 'decimal'>('hex', 'decimal'), (kernel, devices, wide) => {
      const state = group({ kernel, devices });
      fc.pre([kernel, devices].some((one) => one.kind === 'group' && one.members.size > 0));
      expect(parseSaveMeta(renderUpbMeta({ ...save, state }, wide)).state).toEqual(state);
    }));
  });

  test('changed anywhere is read or refused with its path', () => {
    const text = renderUpbMeta({ ...save, state: upbState });
    fc.assert(fc.property(fc.nat(text.length - 1), fc.constantFrom('"', '$', '{}', '[]', '@', '7', '"a$b64": "=",', '.', '$uint64'), fc.nat(3), (where, piece, skipped) => {
      try {
        parseSaveMeta(text.slice(0, where) + piece + text.slice(where + skipped));
      } catch (error) {
        expect(error).toMatchObject({ code: 'save-damaged' });
      }
    }), { numRuns: 1000 });
  });

  const refusal = (member: string): string => {
    try {
      parseSaveMeta(wikiMeta.replace('"exc_vector$int32": 0', member));
    } catch (error) {
      return (error as Error).message.replace('the description of the save is damaged: structs[0].device_params[0].vcpus[0].vcpus@0[0]', '');
    }
    return 'none';
  };

  test('with a member that does not fit its type is refused with the path', () => {
    expect(refusal('"a$int32": 2147483647, "b$int8": -128, "c$uint64": 18446744073709551615, "d$int64": "ffffffffffffffff", "e$b64": ""')).toBe('none');
    expect(refusal('"a$int32": 2147483648')).toBe('.a$int32 does not fit int32');
    expect(refusal('"a$uint8": -1')).toBe('.a$uint8 does not fit uint8');
    expect(refusal('"a$uint64": 18446744073709551616')).toBe('.a$uint64 does not fit uint64');
    expect(refusal('"a$int32": "0"')).toBe('.a$int32 is not a number');
    for (const text of ['0x7', '-1', '', '12345678901234567', '7 ']) expect(refusal(`"a$uint64": "${text}"`), text).toBe('.a$uint64 is not a hex number of 64 bits');
    expect(refusal('"a$uint64": null')).toBe('.a$uint64 is not a number or a string of hex digits');
    for (const text of ['A', 'AAA', 'AA=A', '====', 'A===', 'AAAA=', 'AB==', 'AA-_', 'AAAA\\nAAA']) expect(refusal(`"a$b64": "${text}"`), text).toBe('.a$b64 is not base64');
    expect(refusal('"a$b64": 7')).toBe('.a$b64 is not a string of base64');
  });

  test('with a member without a name or a type is refused', () => {
    expect(refusal('"a": 7')).toBe('.a is not a list');
    expect(refusal('"a$float": 7')).toBe('.a$float has a type that is not known');
    expect(refusal('"a$constructor": 7')).toBe('.a$constructor has a type that is not known');
    expect(refusal('"a$int8": 7, "a$int16": 7')).toBe('.a$int16 is there twice, with different types');
    for (const name of ['$int8', 'a$b$int8', 'a b$int8', 'a.b$int8', '\\u001b$int8']) expect(refusal(`"${name}": 7`), name).toBe(' has a member whose name is no name');
    expect(refusal('"a": [ 7 ]')).toBe('.a[0] is not an object');
    expect(refusal('"a": {}')).toBe('.a is not a list');
  });

  test('of several objects in one list is kept apart', () => {
    const { state } = parseSaveMeta(wikiMeta.replace('"exc_vector$int32": 0', '"a": [ { "b$uint32": 1 }, { "b$uint32": 2 } ]'));
    expect(at(state, 'kernel', 'vm', 'vcpus', 'vcpus@0', 'a')).toEqual(group({ '[0]': group({ b: uint32(1n) }), '[1]': group({ b: uint32(2n) }) }));
  });
});

describe('a save with readable state', () => {
  const expected: SaveExpectation = {
    ...save, devices: [{ model: 'hostbridge', slot: 0 }, { model: 'virtio-blk', slot: 3 }, { model: 'virtio-net', slot: 4 }, { model: 'lpc', slot: 31 }],
  };
  const faultsOf = (text: string, devices = expected.devices): readonly string[] => faultsOfSave(parseSaveMeta(text), { ...expected, devices }, { ramBytes: save.memoryBytes, kernelBytes: null });
  const text = renderUpbMeta({ ...save, state: upbState });

  test('is good without FILE.kern', () => {
    expect(faultsOf(text)).toEqual([]);
  });

  test('lacks a device whose entry has no members, or a struct of the kernel', () => {
    expect(faultsOf(text, [...expected.devices, { model: 'fbuf', slot: 5 }])).toEqual(['devices: there is nothing of fbuf']);
    expect(faultsOf(text, expected.devices.slice(0, 2))).toEqual(['devices[1]: virtio-net is in the save, but not in the guest', 'devices[4]: lpc is in the save, but not in the guest']);
    expect(faultsOf(text.replace('"vrtc"', '"other"'))).toEqual(['structs: the kernel struct vrtc is missing']);
  });

  test('has a second device of a type only if it is in the file', () => {
    const two = [...expected.devices, { model: 'virtio-net', slot: 6 }];
    expect(faultsOf(text, two)).toEqual(['devices: 1 of 2 virtio-net saved']);
    const twice = text.replace('"virtio-rnd",\n      "device_params": [\n        {\n', '"virtio-net",\n      "device_params": [\n        { "field$uint32": 9\n');
    const meta = parseSaveMeta(twice);
    expect(at(meta.state, 'devices', 'virtio-net#2', 'field')).toEqual(uint32(9n));
    expect(faultsOf(twice, two)).toEqual([]);
  });
});
