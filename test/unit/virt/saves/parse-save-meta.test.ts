import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AgentError } from '../../../../src/lib/errors.js';
import { parseSaveMeta, type SavedPart, type SaveMeta } from '../../../../src/virt/index.js';
import { recordedSave } from '../../../fakes/recorded-saves.js';
import { renderSaveMeta, structNumbers, type WrittenPart, type WrittenSave } from '../../../fakes/save-meta.js';

/** Message and path of the refusal. */
function refusal(text: string): string {
  try {
    parseSaveMeta(text);
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    expect(error.code).toBe('save-damaged');
    expect(error.message).toContain(error.details['path']);
    return error.message.replace('the description of the save is damaged: ', '');
  }
  return 'none';
}

const later: WrittenSave = {
  family: 'kern-structs', vcpus: 2, guestName: 'vm1', memoryBytes: 1073741824n, kernel: [{ name: 'vhpet', bytes: 348n }],
  devices: [{ name: 'virtio-blk@pci.0.3.0', bytes: 512n }, { name: 'atkbdc', bytes: 512n }],
};
const laterText = renderSaveMeta(later);
const older: WrittenSave = { ...later, family: 'structs', kernel: [{ name: 'vhpet', bytes: 348n }, { name: 'vm', bytes: 2n }], devices: [{ name: 'virtio-net', bytes: 512n }, { name: 'fbuf', bytes: 0n }] };

describe('the description of a save', () => {
  test('of a real 13.2 is read with its parts', () => {
    const meta = parseSaveMeta(recordedSave('without vmx', 'ck').text);
    expect(meta).toMatchObject({ family: 'structs', vcpus: 1, guestName: 'vm1', memoryBytes: 67108864n, state: null });
    expect(meta.kernel.map(({ name }) => name)).toEqual(['vhpet', 'vm', 'vioapic', 'vlapic', 'vmcx', 'vatpit', 'vatpic', 'vpmtmr', 'vrtc']);
    expect(meta.devices.filter(({ bytes }) => bytes !== 0n)).toEqual([
      { name: 'atkbdc', bytes: 141n, offset: 6263n }, { name: 'virtio-blk', bytes: 619n, offset: 6404n }, { name: 'lpc', bytes: 620n, offset: 7023n },
    ]);
    expect(parseSaveMeta(recordedSave('stock', 'ck').text).kernel[2]).toEqual({ name: 'vmx', bytes: 0n, offset: 500n });
  });

  test('of a later release is the layout that libxo prints', () => {
    expect(laterText.split('\n').slice(0, 12)).toEqual([
      '{', '  "basic metadata": {', '    "ncpus": 2,', '    "vmname": "vm1",', '    "memsize": 1073741824,', '    "memflags": 0', '  },', '  "kern_structs": [', '    {', '      "device": "vhpet",',
      '      "size": 348,', '      "file_offset": 0',
    ]);
    expect(parseSaveMeta(laterText)).toEqual({
      family: 'kern-structs', vcpus: 2, guestName: 'vm1', memoryBytes: 1073741824n, state: null, kernel: [{ name: 'vhpet', bytes: 348n, offset: 0n }],
      devices: [{ name: 'virtio-blk@pci.0.3.0', bytes: 512n, offset: 348n }, { name: 'atkbdc', bytes: 512n, offset: 860n }],
    } satisfies SaveMeta);
  });

  test('comes back from any set of parts, with numbers past 2^53 exact', () => {
    const named = (names: fc.Arbitrary<string>): fc.Arbitrary<WrittenPart[]> => fc.array(fc.record({ name: names, bytes: fc.bigInt(0n, 2n ** 56n) }), { maxLength: 40 });
    const saves: fc.Arbitrary<WrittenSave> = fc.oneof(
      fc.record({ family: fc.constant('kern-structs' as const), kernel: named(fc.constantFrom('vm', 'vrtc', 'vlapic')), devices: named(fc.nat(31).map((slot) => `virtio-net@pci.0.${slot}.0`)) }),
      fc.record({ family: fc.constant('structs' as const), kernel: fc.shuffledSubarray(Object.keys(structNumbers)).map((names) => names.map((name, index) => ({ name, bytes: BigInt(index) << 50n }))), devices: named(fc.constantFrom('ahci', 'fbuf')) }),
    ).chain((parts) => fc.record({ vcpus: fc.integer({ min: 1, max: 65535 }), guestName: fc.stringMatching(/^[!-~]{1,229}$/), memoryBytes: fc.bigInt(1n, 2n ** 63n - 1n) }).map((rest) => ({ ...parts, ...rest })));
    fc.assert(fc.property(saves, (save) => {
      let offset = 0n;
      const placed = (parts: readonly WrittenPart[]): SavedPart[] => parts.map(({ name, bytes }) => {
        offset += bytes;
        return { name, bytes, offset: offset - bytes };
      });
      const [kernel, devices] = [placed(save.kernel), placed(save.devices)];
      expect(parseSaveMeta(renderSaveMeta(save))).toEqual({ ...save, kernel, devices, state: null });
    }));
  });

  test('cut at any byte is refused, but for its last line end', () => {
    for (const text of [laterText, renderSaveMeta(older), recordedSave('stock', 'ck').text]) {
      for (let length = 0; length < text.length - 1; length += 1) expect(refusal(text.slice(0, length)), `cut at ${length}`).toMatch(/ is (cut short|empty)$/);
      expect(refusal(text.slice(0, -1))).toBe('none');
    }
  });

  test('changed anywhere is read or refused, and nothing else happens', () => {
    const junk = fc.constantFrom('"', '\\', '{', '}', '[', ']', ',', ':', '-', '9', '\0', '\u{1f4a9}', '$', '1e999', 'null', '"size": 1,', '\\u0000', '__proto__');
    const texts = fc.constantFrom(laterText, renderSaveMeta(older), recordedSave('stock', 'ck').text);
    const edits = fc.array(fc.tuple(fc.nat(), junk, fc.nat(3)), { minLength: 1, maxLength: 4 });
    fc.assert(fc.property(texts, edits, (text, changes) => {
      const changed = changes.reduce((now, [at, piece, skipped]) => `${now.slice(0, at % now.length)}${piece}${now.slice((at % now.length) + skipped)}`, text);
      expect(() => refusal(changed)).not.toThrow();
    }), { numRuns: 2000 });
    fc.assert(fc.property(fc.json(), (text) => {
      expect(refusal(text)).not.toBe('none');
    }));
  });
});

describe('a refusal names the member and what is wrong with it', () => {
  const changed = (from: string, to: string, text = laterText): string => {
    expect(text).toContain(from);
    return refusal(text.replace(from, to));
  };

  test('wrong types and numbers that cannot be', () => {
    expect(changed('"file_offset": 860', '"file_offset": "860"')).toBe('devices[1].file_offset is not a number');
    expect(changed('"file_offset": 860', '"file_offset": -1')).toBe('devices[1].file_offset is -1, not from 0 to 9223372036854775295');
    expect(changed('"file_offset": 860', '"file_offset": 9223372036854775296')).toMatch(/^devices\[1\]\.file_offset is 9223372036854775296, not from/);
    expect(changed('"size": 348', '"size": 348.5')).toBe('kern_structs[0].size is not a whole number that can be');
    expect(changed('"size": 348', '"size": 1e3')).toBe('kern_structs[0].size is not a whole number that can be');
    expect(changed('"size": 348', '"size": 0348')).toBe('kern_structs[0].size is not a whole number that can be');
    expect(changed('"size": 348', `"size": ${'9'.repeat(400)}`)).toBe('kern_structs[0].size is not a whole number that can be');
    expect(changed('"size": 348', '"size": 9223372036854775808')).toMatch(/^kern_structs\[0\]\.size is 9223372036854775808, not from 0/);
    expect(changed('"ncpus": 2', '"ncpus": 0')).toBe('basic metadata.ncpus is 0, not from 1 to 65535');
    expect(changed('"memsize": 1073741824', '"memsize": true')).toBe('basic metadata.memsize is not a number');
    expect(changed('"memflags": 0', '"memflags": null')).toBe('basic metadata.memflags is not a number');
    expect(changed('"device": "vhpet"', '"device": 5')).toBe('kern_structs[0].device is not a name');
    expect(changed('"basic metadata": {', '"basic metadata": [], "rest": {')).toBe('basic metadata is not an object');
  });

  test('members that are missing or there twice, with equal values as well', () => {
    expect(changed('"size": 348,', '')).toBe('kern_structs[0].size is missing');
    expect(changed('"size": 348,', '"size": 348, "size": 348,')).toBe('kern_structs[0].size is there twice');
    expect(changed('"kern_structs"', '"kernel"')).toBe('structs is missing');
    expect(changed('"devices"', '"device"')).toBe('devices is missing');
    expect(changed('"devices"', '"structs": [], "devices"')).toBe('structs is there beside kern_structs');
    expect(changed('"snapshot_req": 2', '"snapshot_req": 5', renderSaveMeta(older))).toBe('structs[1].snapshot_req is 5, as that of structs[0]');
    expect(changed('"snapshot_req": 2,', '', renderSaveMeta(older))).toBe('structs[1].snapshot_req is missing');
  });

  test('what would trick a terminal, a name or our memory', () => {
    for (const name of ['', 'a b', 'a\\u001b[2J', 'a\u202eb', '\\ud800', 'x'.repeat(230)]) expect(changed('"vmname": "vm1"', `"vmname": "${name}"`)).toBe('basic metadata.vmname is not a name');
    expect(changed('"vmname": "vm1"', '"vmname": "vm\u001b1"')).toBe('basic metadata.vmname has a control character');
    expect(refusal('{"\\u001b[2J\u202e": x')).toBe('?[2J? is not JSON');
    expect(changed('"memflags": 0', `"${'k'.repeat(257)}": 0`)).toBe('basic metadata has a name longer than 256 characters');
    expect(refusal('['.repeat(100_000))).toMatch(/is nested deeper than 64$/);
    expect(refusal(`{"devices":[${'0,'.repeat(1_000_001)}0]}`)).toMatch(/is one of more than 1000000 values$/);
    expect(refusal(`{"basic metadata":{},"kern_structs":[${'{},'.repeat(4096)}{}],"devices":[]}`)).toBe('kern_structs has more than 4096 entries');
    expect(refusal(' '.repeat(64 * 1024 * 1024 + 1))).toBe('it is longer than 67108864 characters');
    expect(refusal(`{"a": ["${'\\n'.repeat(5_000)}", "${'\\n'.repeat(5_001)}"]}`)).toBe('a[1] has one of more than 10000 escapes');
    expect(refusal('{"__proto__": {"polluted": 1}}')).toBe('basic metadata is missing');
  });

  test('what is not JSON at all', () => {
    expect(refusal('')).toBe('it is empty');
    expect(refusal('BHYVE-CHECKPOINT-MANIFEST-3\n')).toBe('it is not JSON');
    expect(refusal('\ufeff{}')).toBe('it is not JSON');
    expect(refusal('[]')).toBe('it is not an object');
    expect(refusal(`${laterText}x`)).toBe('it has something behind its end');
    expect(changed('"size": 348,', '"size": 348')).toBe('kern_structs[0] is not JSON');
    expect(changed('"memflags": 0', '"memflags": nil')).toBe('basic metadata.memflags is not JSON');
    expect(changed('"vmname": "vm1"', '"vmname": "\\x"')).toBe('basic metadata.vmname has a bad escape');
    expect(changed('"vmname": "vm1"', '"vmname": "\\u00g0"')).toBe('basic metadata.vmname has a bad escape');
    expect(parseSaveMeta(laterText.replace('"vm1"', '"v\\u006d\\/1"')).guestName).toBe('vm/1');
  });
});
