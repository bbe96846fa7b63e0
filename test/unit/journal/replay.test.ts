import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { asRecord, decodeLine, encodeHeader, encodeRecord, type JournalRecord } from '../../../src/journal/records.js';
import { crc32 } from '../../../src/journal/crc32.js';
import { replay } from '../../../src/journal/replay.js';
import { codeOf } from '../../../src/lib/errors.js';

const id = (digit: number): string => `${String(digit).repeat(8)}-1111-4111-8111-111111111111`;
const accept = (digit: number, payload: unknown = null): JournalRecord => ({
  t: 'accept', id: id(digit), messageId: `m${digit}`, rpc: 'stop_instance', instance: null, requestId: null, payload, at: '2026-11-01T00:00:00.000Z',
});

/** A file as the writer makes it when every record is its own fsync. */
const fileOf = (records: readonly JournalRecord[], promised: (index: number) => number = (index) => index): Buffer =>
  Buffer.concat([encodeHeader(0), ...records.map((record, index) => encodeRecord(record, index + 1, promised(index)))]);
const codeFrom = (bytes: Uint8Array): string | undefined => {
  try {
    replay('f', bytes);
    return undefined;
  } catch (error) {
    return codeOf(error) ?? 'a bug';
  }
};

test('the checksum is CRC-32 as everybody has it', () => {
  expect(crc32(Buffer.from('123456789'))).toBe('cbf43926');
  expect(crc32(Buffer.alloc(0))).toBe('00000000');
});

test('every record comes back as it was written, whatever its payload holds', () => {
  fc.assert(fc.property(fc.jsonValue(), fc.string({ unit: 'binary' }), (payload, step) => {
    for (const record of [accept(1, payload), { t: 'mark', id: id(1), step, mark: 'begun' } as const, { t: 'note', id: id(1), key: step, value: step } as const]) {
      const line = encodeRecord(record, 7, 3);
      expect(line.indexOf(0x0a)).toBe(line.length - 1);
      expect(asRecord(decodeLine(line.subarray(0, -1)))).toEqual({ n: 7, d: 3, record: JSON.parse(JSON.stringify(record)) as unknown });
    }
  }));
});

describe('a file', () => {
  const records = [accept(1, { big: 'x'.repeat(40) }), { t: 'begin', id: id(1) }, { t: 'end', id: id(1), outcome: 'failed', at: 'x' }, accept(2)] as const satisfies JournalRecord[];
  const whole = fileOf(records);

  test('cut at any byte gives exactly the records that were whole before the cut', () => {
    const ends = records.map((_record, index) => fileOf(records.slice(0, index + 1)).length);
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const wanted = ends.filter((end) => end <= cut).length;
      const { records: found, tornBytes } = replay('f', whole.subarray(0, cut));
      expect([cut, found]).toEqual([cut, records.slice(0, wanted)]);
      expect(tornBytes === 0).toBe(cut === whole.length || cut === 0 || cut === encodeHeader(0).length || ends.includes(cut));
    }
  });

  test('whose promised part has one changed bit is refused, wherever the bit is', () => {
    // With each record, all before it were promised. Without the line end of the third, the fourth would not be seen to promise it.
    const promisedBytes = fileOf(records.slice(0, 3)).length;
    fc.assert(fc.property(fc.integer({ min: 0, max: promisedBytes - 2 }), fc.integer({ min: 0, max: 7 }), (at, bit) => {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1 << bit;
      expect(codeFrom(bytes)).toMatch(/^journal-(corrupt|too-new)$/);
    }), { numRuns: 300 });
  });

  test('whose last write is torn in the middle, with later sectors written, is cut there: nobody was told', () => {
    const bytes = fileOf(records, () => 1); // 2, 3 and 4 were one write
    const start = fileOf(records.slice(0, 1), () => 1).length;
    bytes.fill(0, start + 2, start + 12);
    expect(replay('f', bytes).records).toEqual(records.slice(0, 1));
  });

  test('begun from a state is refused if that state is not all there', () => {
    const bytes = Buffer.concat([encodeHeader(2), encodeRecord(accept(1), 1, 2), encodeRecord(accept(2), 2, 2)]);
    expect(replay('f', bytes).records).toHaveLength(2);
    for (let cut = 1; cut < bytes.length; cut += 1) {
      if (cut < 40 && Buffer.from(encodeHeader(0)).subarray(0, cut).equals(bytes.subarray(0, cut))) continue;
      expect([cut, codeFrom(bytes.subarray(0, cut))]).toEqual([cut, 'journal-corrupt']);
    }
  });

  test('of a newer agent is refused with a sentence that says what to do', () => {
    const json = Buffer.from(JSON.stringify({ t: 'journal', format: 2, records: 0 }));
    const bytes = Buffer.concat([Buffer.from(`${crc32(json)} `), json, Buffer.from('\n{"anything": "else"}\n')]);
    expect(() => replay('journal-00000007.log', bytes)).toThrow(/journal-00000007\.log has format 2.*newer agent.*Install that version/);
  });
});
