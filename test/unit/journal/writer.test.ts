import { expect, test } from 'vitest';
import type { JournalRecord } from '../../../src/journal/records.js';
import { replay } from '../../../src/journal/replay.js';
import { createWriter, type Writer } from '../../../src/journal/writer.js';

const seen = (digit: number): JournalRecord => ({ t: 'seen', messageId: `m${digit}`, at: 'x' });

/** A disk that holds whole files and fails when told to. */
async function bench(maxGrowthBytes = 1e9) {
  const disk = { content: Buffer.alloc(0), number: 0, syncs: 0, failAppend: 0, failSync: 0, failStart: 0, open: 0, hold: undefined as Promise<void> | undefined };
  const applied: JournalRecord[] = [];
  const sizes: number[] = [];
  const writer = await createWriter({
    maxGrowthBytes,
    apply: (record) => applied.push(record),
    snapshot: () => [...applied],
    onRotated: (bytes) => sizes.push(bytes),
    onRotationFailed: () => undefined,
    startSegment: async (number, content) => {
      if (disk.failStart > 0) { disk.failStart -= 1; throw new Error('ENOSPC'); }
      disk.content = Buffer.from(content);
      disk.number = number;
      disk.open += 1;
      return {
        number,
        async append(bytes) {
          await disk.hold;
          if (disk.failAppend > 0) {
            disk.failAppend -= 1;
            disk.content = Buffer.concat([disk.content, bytes.subarray(0, bytes.length / 2)]);
            throw new Error('ENOSPC');
          }
          disk.content = Buffer.concat([disk.content, bytes]);
        },
        async sync() {
          if (disk.failSync > 0) { disk.failSync -= 1; throw new Error('EIO'); }
          disk.syncs += 1;
        },
        close: async () => { disk.open -= 1; },
      };
    },
  }, 4);
  return { writer, disk, applied, sizes, onDisk: () => replay('f', disk.content).records };
}
const write = (writer: Writer, digit: number, isDurable = true) => writer.append(seen(digit), isDurable).then(() => 'ok', (error: { code: string; retry: string }) => `${error.code} ${error.retry}`);

test('requests that come during a write share the next fsync', async () => {
  const { writer, disk, onDisk } = await bench();
  let release = (): void => undefined;
  disk.hold = new Promise((resolve) => { release = resolve; });
  const all = Promise.all([1, 2, 3, 4, 5, 6].map(async (digit) => { await Promise.resolve(); return write(writer, digit); }));
  await Promise.resolve();
  release();
  expect(await all).toEqual(Array(6).fill('ok'));
  expect(disk.syncs).toBeLessThanOrEqual(2);
  expect(onDisk()).toEqual([1, 2, 3, 4, 5, 6].map(seen));
});

test('a record that need not be durable costs no fsync, and the next durable one promises it too', async () => {
  const { writer, disk } = await bench();
  await write(writer, 1, false);
  expect(disk.syncs).toBe(0);
  await write(writer, 2);
  expect(disk.syncs).toBe(1);
  await write(writer, 3);
  const text = disk.content.toString();
  expect([...text.matchAll(/"n":(\d+),"d":(\d+)/g)].map((match) => [match[1], match[2]])).toEqual([['1', '0'], ['2', '0'], ['3', '2']]);
});

test.each(['failAppend', 'failSync'] as const)('a write that fails (%s) is rejected and in no state; the next one goes to a new file without the torn part', async (failure) => {
  const { writer, disk, applied, onDisk } = await bench();
  await write(writer, 1);
  disk[failure] = 1;
  expect(await write(writer, 2)).toBe('journal-failed later');
  expect(applied).toEqual([seen(1)]);
  expect(await write(writer, 3)).toBe('ok');
  expect(disk.number).toBe(6);
  expect(onDisk()).toEqual([seen(1), seen(3)]);
  expect(disk.open).toBe(1);
});

test('while no new file can be made every request is rejected, and none waits for ever', async () => {
  const { writer, disk, onDisk } = await bench();
  disk.failAppend = 1;
  disk.failStart = 2;
  expect([await write(writer, 1), await write(writer, 2), await write(writer, 3)]).toEqual(Array(3).fill('journal-failed later'));
  expect(await write(writer, 4)).toBe('ok');
  expect(onDisk()).toEqual([seen(4)]);
});

test('a file that has grown is replaced by one from the state, behind what was queued', async () => {
  const { writer, disk, sizes, onDisk } = await bench(100);
  for (const digit of [1, 2, 3]) await write(writer, digit);
  await writer.compact();
  expect(disk.number).toBeGreaterThan(6);
  expect(onDisk()).toEqual([1, 2, 3].map(seen));
  expect(sizes.at(-1)).toBe(disk.content.length);
});

test('a compaction that fails leaves the old file in use', async () => {
  const { writer, disk, onDisk } = await bench();
  await write(writer, 1);
  disk.failStart = 1;
  await expect(writer.compact()).rejects.toMatchObject({ code: 'journal-failed' });
  expect(await write(writer, 2)).toBe('ok');
  expect([disk.number, onDisk()]).toEqual([5, [seen(1), seen(2)]]);
});

test('closing waits for what was queued and refuses what comes later', async () => {
  const { writer, disk, onDisk } = await bench();
  const queued = [write(writer, 1), write(writer, 2)];
  await writer.close();
  expect(await Promise.all(queued)).toEqual(['ok', 'ok']);
  expect(await write(writer, 3)).toBe('journal-closed no');
  expect([disk.open, onDisk()]).toEqual([0, [seen(1), seen(2)]]);
});
