import { expect, test } from 'vitest';
import { describeSave, diffSaves, parseSaveMeta } from '../../../../src/virt/index.js';
import { recordedSave } from '../../../fakes/recorded-saves.js';
import { wikiMeta } from '../../../fakes/upb-state.js';

const meta = parseSaveMeta(wikiMeta);
const changed = (...replacements: [string, string][]): ReturnType<typeof parseSaveMeta> =>
  parseSaveMeta(replacements.reduce((text, [from, to]) => text.replace(from, to), wikiMeta));

test('a save does not differ from itself, however its numbers are written', () => {
  expect(diffSaves(meta, meta)).toEqual([]);
  expect(diffSaves(meta, changed(['"guest_xcr0$uint64": "7"', '"guest_xcr0$uint64": 7']))).toEqual([]);
});

test('readable state differs member by member, with the first byte of a buffer', () => {
  const prefix = 'kernel.vm.vcpus.vcpus@0';
  const other = changed(['"ffffffff81085d96"', '"ffffffff81085d97"'], ['FQAAAAAAAACWXQiB', 'FQAAAAAAAACXXQiB'], ['"exc_vector$int32": 0', '"exc_vector$int64": 0'], ['"x2apic_state$uint32": 0', '"new$int8": -1'], ['"vm1"', '"vm2"']);
  expect(diffSaves(meta, other)).toEqual([
    { path: 'guest', type: 'word', before: 'vm1', after: 'vm2' },
    { path: `${prefix}.x2apic_state`, type: 'uint32', before: 0n, after: null },
    { path: `${prefix}.exc_vector`, type: 'int64', before: 0n, after: 0n },
    { path: `${prefix}.exitinfo`, type: 'b64', before: 136n, after: 136n, firstByte: 8 },
    { path: `${prefix}.nextrip`, type: 'uint64', before: 0xffffffff81085d96n, after: 0xffffffff81085d97n },
    { path: `${prefix}.new`, type: 'int8', before: null, after: -1n },
  ]);
});

test('a buffer that only got longer differs from its old end on', () => {
  const long = changed(['"exc_vector$int32": 0', '"b$b64": "AAAA"']);
  expect(diffSaves(changed(['"exc_vector$int32": 0', '"b$b64": "AAA="']), long)).toEqual([{ path: 'kernel.vm.vcpus.vcpus@0.b', type: 'b64', before: 2n, after: 3n, firstByte: 2 }]);
});

test('stock saves differ in the sizes of their parts', () => {
  const [disk, both, stock] = [recordedSave('without vmx', 'twoblk'), recordedSave('without vmx', 'blknet'), recordedSave('stock', 'blknet')].map(({ text }) => parseSaveMeta(text));
  expect(diffSaves(disk!, both!)).toEqual([{ path: 'devices.virtio-net', type: 'bytes', before: 0n, after: 613n }]);
  expect(diffSaves(stock!, both!)).toEqual([{ path: 'kernel.vmx', type: 'bytes', before: 0n, after: null }]);
  expect(describeSave(both!)).toMatchObject({ family: 'structs', members: [], kernel: expect.arrayContaining([{ name: 'vrtc', bytes: 140n }]) as unknown });
});

test('saves of two families differ in everything but what both have', () => {
  const old = parseSaveMeta(recordedSave('without vmx', 'ck').text);
  const paths = diffSaves(old, meta).map(({ path }) => path);
  expect(paths.slice(0, 4)).toEqual(['family', 'vcpus', 'memory', 'kernel.vhpet']);
  expect(paths).toContain('kernel.vm.vcpus.vcpus@0.nextrip');
  expect(paths).not.toContain('guest');
});
