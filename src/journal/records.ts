/** The lines of the journal: a checksum, a space, a JSON object. A torn or damaged line is recognised and left out. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { OperationOutcome, StepMark } from './types.js';

/** Number of the on-disk layout. An agent that meets a larger one refuses to start, politely. */
export const journalFormat = 1;

const outcomes = ['succeeded', 'failed', 'undone', 'refused', 'ignored'] as const satisfies readonly OperationOutcome[];
const marks = ['begun', 'done', 'undone'] as const satisfies readonly StepMark[];

const recordSchema = z.discriminatedUnion('t', [
  z.object({ t: z.literal('format'), format: z.number() }),
  z.object({
    t: z.literal('accept'), id: z.string(), messageId: z.string(), rpc: z.string(), instance: z.string().nullable(), requestId: z.string().nullable(), at: z.string(), payload: z.unknown(),
  }),
  z.object({ t: z.literal('begin'), id: z.string() }),
  z.object({ t: z.literal('mark'), id: z.string(), step: z.string(), mark: z.enum(marks) }),
  z.object({ t: z.literal('note'), id: z.string(), key: z.string(), value: z.string() }),
  z.object({ t: z.literal('end'), id: z.string(), outcome: z.enum(outcomes), at: z.string() }),
  z.object({ t: z.literal('seen'), messageId: z.string(), at: z.string() }),
]);
export type JournalRecord = z.infer<typeof recordSchema>;

const checksum = (json: string): string => createHash('sha256').update(json).digest('hex').slice(0, 16);

export function renderRecord(record: JournalRecord): string {
  const json = JSON.stringify(record);
  return `${checksum(json)} ${json}\n`;
}

/** Undefined for a line that was not written whole. */
export function parseRecord(line: string): JournalRecord | undefined {
  const space = line.indexOf(' ');
  if (space !== 16) return undefined;
  const json = line.slice(space + 1);
  if (checksum(json) !== line.slice(0, space)) return undefined;
  const parsed = recordSchema.safeParse(JSON.parse(json));
  return parsed.success ? parsed.data : undefined;
}

export interface ReadJournal {
  readonly records: readonly JournalRecord[];
  /** Lines that were not written whole; more than the last one means a damaged disk. */
  readonly damagedLines: number;
}

/** All whole lines of a journal, in order. */
export function parseJournal(text: string): ReadJournal {
  const lines = text.split('\n');
  const tail = lines.pop(); // '' unless the last line is torn
  let damagedLines = tail === undefined || tail === '' ? 0 : 1;
  const records: JournalRecord[] = [];
  for (const line of lines) {
    const record = parseRecord(line);
    if (record === undefined) damagedLines += 1;
    else records.push(record);
  }
  return { records, damagedLines };
}
