/**
 * Lines of a journal file: `CRC JSON\n`, the CRC over the JSON's bytes. The first line is the header. Each further line carries its
 * number `n` in the file and `d`, the highest number known to be on the disk when the line was made: so a reader can tell a tail
 * that was never promised to anybody (cut it) from damage to what was (refuse).
 */
import { z } from 'zod';
import { crc32 } from './crc32.js';

/** On-disk format. A file with a higher number is refused; see deploy/README.md for what each number means. */
export const journalFormat = 1;

const id = z.string();
const operationFields = {
  id, messageId: z.string(), rpc: z.string(), instance: z.string().nullable(), requestId: z.string().nullable(), payload: z.unknown(),
};
const markSchema = z.enum(['begun', 'done', 'undone']);
const outcomeSchema = z.enum(['succeeded', 'failed', 'undone', 'refused', 'ignored']);

const headerSchema = z.object({
  t: z.literal('journal'),
  format: z.number().int(),
  /** How many lines after the header were written with it, before the file got its name. */
  records: z.number().int(),
});

const recordSchema = z.discriminatedUnion('t', [
  z.object({ t: z.literal('accept'), ...operationFields, at: z.string() }),
  z.object({ t: z.literal('begin'), id }),
  z.object({ t: z.literal('mark'), id, step: z.string(), mark: markSchema }),
  z.object({ t: z.literal('note'), id, key: z.string(), value: z.string() }),
  z.object({ t: z.literal('end'), id, outcome: outcomeSchema, at: z.string() }),
  // The next two are written by compaction only.
  z.object({ t: z.literal('seen'), messageId: z.string(), at: z.string() }),
  z.object({
    t: z.literal('operation'), ...operationFields, acceptedAt: z.string(), endedAt: z.string().nullable(), hasBegun: z.boolean(),
    steps: z.array(z.tuple([z.string(), markSchema])), notes: z.record(z.string(), z.string()), outcome: outcomeSchema.nullable(),
  }),
]);

export type JournalHeader = z.infer<typeof headerSchema>;
export type JournalRecord = z.infer<typeof recordSchema>;
export interface NumberedRecord {
  readonly n: number;
  readonly d: number;
  readonly record: JournalRecord;
}

const numbers = z.object({ n: z.number().int(), d: z.number().int() });

function encode(value: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(value), 'utf8');
  return Buffer.concat([Buffer.from(`${crc32(json)} `, 'latin1'), json, Buffer.from('\n', 'latin1')]);
}

export const encodeHeader = (records: number): Buffer => encode({ t: 'journal', format: journalFormat, records } satisfies JournalHeader);
export const encodeRecord = (record: JournalRecord, n: number, d: number): Buffer => encode({ n, d, ...record });

/** The JSON of one line without its line end; undefined if the line is not whole. */
export function decodeLine(line: Uint8Array): unknown {
  if (line.length < 10 || line[8] !== 0x20) return undefined;
  const json = line.subarray(9);
  if (Buffer.from(line.subarray(0, 8)).toString('latin1') !== crc32(json)) return undefined;
  return JSON.parse(Buffer.from(json).toString('utf8')) as unknown;
}

/** Undefined for anything else. */
export function asHeader(value: unknown): JournalHeader | undefined {
  return headerSchema.safeParse(value).data;
}

/** Undefined for anything else. */
export function asRecord(value: unknown): NumberedRecord | undefined {
  const position = numbers.safeParse(value).data;
  const record = recordSchema.safeParse(value).data;
  return position === undefined || record === undefined ? undefined : { ...position, record };
}
