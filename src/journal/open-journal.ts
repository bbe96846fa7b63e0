/**
 * The journal on disk: one file `journal` of mode 0600. Appends are durable (fdatasync) before they resolve; what is asked for while a
 * write goes on shares the next one. The file is rewritten (temporary file, fsync, rename) when it is opened and when it has grown, which
 * also drops the payloads of ended operations.
 */
import { open, mkdir, readFile, rename, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { Logger } from '../observe/index.js';
import { parseJournal, renderRecord, type JournalRecord } from './records.js';
import { JournalState } from './state.js';
import type { Journal, JournalledOperation } from './types.js';
import type { InstanceUuid } from '../lib/ids.js';

export interface JournalDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** Bytes at which the file is rewritten; default 4 MiB. */
  readonly rewriteBytes?: number;
}

const fileName = 'journal';

async function load(folder: string, log: Logger): Promise<JournalState> {
  const state = new JournalState();
  const text = await readFile(join(folder, fileName), 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new AgentError('journal-unreadable', `the journal in ${folder} cannot be read`, { cause: error });
  });
  const { records, damagedLines } = parseJournal(text);
  for (const record of records) state.apply(record);
  // The last line of a killed agent is torn now and then: nobody was told that it was durable.
  if (damagedLines === 1) log.info('journal ends in a torn line, left out');
  if (damagedLines > 1) log.error({ damagedLines }, 'journal has damaged lines; check the disk');
  return state;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a new file in place of the old one and returns it open for appending. */
async function rewrite(folder: string, state: JournalState, now: Date): Promise<{ file: FileHandle; bytes: number }> {
  const path = join(folder, fileName);
  const temporary = `${path}.new`;
  const text = state.snapshot(now).map(renderRecord).join('');
  const draft = await open(temporary, 'w', 0o600);
  try {
    await draft.chmod(0o600);
    await draft.writeFile(text);
    await draft.sync();
  } finally {
    await draft.close();
  }
  await rename(temporary, path);
  await syncFolder(folder);
  return { file: await open(path, 'a', 0o600), bytes: Buffer.byteLength(text) };
}

interface Waiting {
  readonly line: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Opens or creates the journal. AgentError `journal-too-new`, `journal-unreadable`. */
export async function openJournal(folder: string, deps: JournalDeps): Promise<Journal> {
  const { clock, log } = deps;
  const rewriteBytes = deps.rewriteBytes ?? 4 * 1024 * 1024;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const state = await load(folder, log);
  let { file, bytes } = await rewrite(folder, state, clock.now());
  let waiting: Waiting[] = [];
  let writing: Promise<void> | null = null;
  let failure: AgentError | null = null;

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        if (failure !== null) throw failure;
        const text = batch.map((one) => one.line).join('');
        await file.appendFile(text);
        await file.datasync();
        bytes += Buffer.byteLength(text);
        batch.forEach((one) => one.resolve());
      } catch (error) {
        // A file that failed once may hold half a line: nothing after it could be trusted. The agent ends and starts anew.
        failure ??= new AgentError('journal-failed', 'the journal cannot be written', { cause: error });
        batch.forEach((one) => one.reject(failure));
      }
      if (bytes > rewriteBytes && failure === null) await compact();
    }
    writing = null;
  }

  async function compact(): Promise<void> {
    try {
      const next = await rewrite(folder, state, clock.now());
      await file.close();
      ({ file, bytes } = next);
    } catch (err) {
      log.warn({ err }, 'journal not rewritten; it goes on growing');
      bytes = 0; // try again after as much again
    }
  }

  /** The state is told at once, so that what is rewritten in between has it; the caller hears when it is durable. */
  function append(record: JournalRecord): Promise<void> {
    state.apply(record);
    return new Promise<void>((resolve, reject) => {
      waiting.push({ line: renderRecord(record), resolve, reject });
      writing ??= writeAll();
    });
  }

  return {
    async accept(operation) {
      if (state.hasSeen(operation.messageId)) return 'duplicate';
      await append({ t: 'accept', ...operation, at: clock.now().toISOString() });
      return 'new';
    },
    begin: (id) => append({ t: 'begin', id }),
    mark: (id, step, mark) => append({ t: 'mark', id, step, mark }),
    note: (id, key, value) => append({ t: 'note', id, key, value }),
    end: (id, outcome) => append({ t: 'end', id, outcome, at: clock.now().toISOString() }),
    operation: (id) => state.operation(id),
    unfinished: () => state.unfinished(),
    history: (instance) => state.history(instance),
    async close() {
      while (writing !== null) await writing;
      await file.close();
    },
  };
}

/** What the journal says of an instance, without opening it for writing: for the operator's commands beside a running agent. */
export async function readHistory(folder: string, instance: InstanceUuid, log: Logger): Promise<JournalledOperation[]> {
  return (await load(folder, log)).history(instance);
}
