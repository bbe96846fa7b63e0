/** Reading a journal file back. Pure. */
import { AgentError } from '../lib/errors.js';
import { asHeader, asRecord, decodeLine, encodeHeader, journalFormat, type JournalRecord, type NumberedRecord } from './records.js';

export interface Replayed {
  readonly records: readonly JournalRecord[];
  /** Octets after the last whole line: a write that nobody was told of. */
  readonly tornBytes: number;
}

const corrupt = (file: string, line: number): AgentError =>
  new AgentError('journal-corrupt', `the journal ${file} is damaged at line ${line}: what it says after that cannot be trusted. ` +
    'Restore state_path from a snapshot, or, if all guests of this host are known to be well, move the file away and start again', {
    details: { file, line },
  });

function splitLines(bytes: Uint8Array): { lines: Uint8Array[]; rest: number } {
  const lines: Uint8Array[] = [];
  let start = 0;
  for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, start)) {
    lines.push(bytes.subarray(start, end));
    start = end + 1;
  }
  return { lines, rest: bytes.length - start };
}

/** A new file gets its name when its header is on the disk, so this is damage; but the header of an empty journal holds nothing. */
function isCutHeader(bytes: Uint8Array): boolean {
  const fresh = encodeHeader(0);
  return bytes.length < fresh.length && Buffer.from(bytes).equals(fresh.subarray(0, bytes.length));
}

function readHeader(file: string, line: Uint8Array): { records: number } {
  const value = decodeLine(line);
  const header = asHeader(value);
  if (header === undefined) throw corrupt(file, 1);
  if (header.format <= journalFormat) return header;
  throw new AgentError('journal-too-new',
    `the journal ${file} has format ${header.format}, this agent knows up to ${journalFormat}: a newer agent wrote it. Install that version again; it must finish what it began`,
    { details: { file, format: header.format, known: journalFormat } });
}

function decodeRecord(line: Uint8Array): NumberedRecord | undefined {
  const value = decodeLine(line);
  return value === undefined ? undefined : asRecord(value);
}

/**
 * What a file says. A broken tail that was never promised is left out. Throws AgentError `journal-corrupt` when something that was
 * promised cannot be read, `journal-too-new` for the format of a newer agent.
 */
export function replay(file: string, bytes: Uint8Array): Replayed {
  if (isCutHeader(bytes)) return { records: [], tornBytes: bytes.length };
  const { lines, rest } = splitLines(bytes);
  if (lines.length === 0) throw corrupt(file, 1);
  const header = readHeader(file, lines[0]!);
  const body = lines.slice(1).map((line) => ({ line, decoded: decodeRecord(line) }));
  const broken = body.findIndex(({ decoded }, index) => decoded === undefined || decoded.n !== index + 1);
  const good = broken < 0 ? body : body.slice(0, broken);
  // Lines after the break tell up to where the file was on the disk.
  const promised = Math.max(header.records, ...body.map(({ decoded }) => decoded?.d ?? 0));
  if (good.length < promised) throw corrupt(file, good.length + 2);
  const tail = body.slice(good.length).reduce((sum, { line }) => sum + line.length + 1, 0);
  return { records: good.map(({ decoded }) => decoded!.record), tornBytes: tail + rest };
}
