import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openJournal, readJournal, type AcceptedOperation, type Journal } from '../../../src/journal/index.js';
import { systemClock, type Clock } from '../../../src/lib/clock.js';
import { parseInstanceUuid, parseOperationId } from '../../../src/lib/ids.js';
import { recordingLog } from '../../fakes/recording-log.js';

const uuid = parseInstanceUuid('11111111-1111-4111-8111-111111111111');
const { log } = recordingLog();
let folder = '';
beforeEach(() => { folder = join(mkdtempSync(join(tmpdir(), 'journal-')), 'journal'); });
afterEach(async () => {
  for (const journal of opened) await journal.close();
  opened = [];
  rmSync(join(folder, '..'), { recursive: true, force: true });
});

/** Timers that fire when told to. */
function handClock(): { clock: Clock; fire: () => void } {
  let due: (() => void)[] = [];
  return {
    clock: { ...systemClock, after: (_ms: number, run: () => void) => { due.push(run); return { cancel: () => { due = due.filter((one) => one !== run); } }; } },
    fire: () => { const now = due; due = []; now.forEach((run) => run()); },
  };
}

let opened: Journal[] = [];
/** Most tests leave a journal as a kill would; the files are closed when they are over. */
const open = async (clock: Clock = handClock().clock): Promise<Journal> => {
  const journal = await openJournal(folder, { clock, log });
  opened.push(journal);
  return journal;
};
const operation = (over: Partial<AcceptedOperation> = {}): AcceptedOperation => {
  const id = parseOperationId(randomUUID());
  return { id, messageId: id.replaceAll('-', ''), rpc: 'stop_instance', instance: uuid, requestId: 'req-1', payload: { secret: 'hush' }, ...over };
};
const names = (): string[] => readdirSync(folder).sort();
const path = (): string => join(folder, names().at(-1)!);
const ids = (journal: { unfinished(): { id: string }[] }): string[] => journal.unfinished().map((one) => one.id);

describe('a journal', () => {
  test('is one file, for its owner only', async () => {
    const journal = await open();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(names()).toEqual(['journal-00000001.log']);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    await journal.close();
  });

  test('remembers what was accepted, begun, marked and noted, over a kill', async () => {
    const first = await open();
    const one = operation();
    expect(await first.accept(one)).toBe('new');
    await first.begin(one.id);
    await first.mark(one.id, 'end-guest', 'begun');
    await first.note(one.id, 'pid', '12');
    const second = await open(); // the first one is never closed
    const [found] = second.unfinished();
    expect(found).toMatchObject({ id: one.id, rpc: 'stop_instance', hasBegun: true, notes: { pid: '12' }, payload: { secret: 'hush' }, outcome: null, requestId: 'req-1' });
    expect([...found!.steps]).toEqual([['end-guest', 'begun']]);
    await second.close();
  });

  test('takes a message id once: at once, after the end of the operation, and after a restart', async () => {
    const first = await open();
    const one = operation();
    expect(await Promise.all([first.accept(one), first.accept({ ...operation(), messageId: one.messageId })])).toEqual(['new', 'duplicate']);
    await first.end(one.id, 'succeeded');
    expect(await first.accept({ ...operation(), messageId: one.messageId })).toBe('duplicate');
    await first.close();
    const second = await open();
    expect(await second.accept({ ...operation(), messageId: one.messageId })).toBe('duplicate');
    expect(second.unfinished()).toEqual([]);
    await second.close();
  });

  test('calls a message a duplicate only when the first one is safe', async () => {
    const journal = await open();
    const one = operation();
    const order: string[] = [];
    await Promise.all([journal.accept(one), journal.accept(one)].map(async (asked) => { order.push(await asked); }));
    expect(order).toEqual(['new', 'duplicate']);
  });

  test('promises all that a recovery decides by; only the note that a step is done may wait for the next fsync', async () => {
    const journal = await open();
    const one = operation();
    const other = operation();
    const calls: Record<string, () => Promise<unknown>> = {
      accept: () => journal.accept(one), begin: () => journal.begin(one.id), begun: () => journal.mark(one.id, 's', 'begun'), done: () => journal.mark(one.id, 's', 'done'),
      undone: () => journal.mark(one.id, 's', 'undone'), note: () => journal.note(one.id, 'k', 'v'), end: () => journal.end(one.id, 'failed'), last: () => journal.accept(other),
    };
    for (const call of Object.values(calls)) await call();
    // Each line says how much of the file was safe when it was made: so the one after a record tells whether that record was.
    const lines = [...readFileSync(path(), 'utf8').matchAll(/"n":(\d+),"d":(\d+)/g)].map((match) => ({ n: Number(match[1]), d: Number(match[2]) }));
    const safe = Object.keys(calls).filter((_name, index) => lines[index + 1]?.d === index + 1);
    expect(safe).toEqual(['accept', 'begin', 'begun', 'undone', 'note', 'end']);
  });

  test('forgets the payload of an ended operation within seconds, and keeps that of an open one', async () => {
    const { clock, fire } = handClock();
    const journal = await open(clock);
    const one = operation();
    await journal.accept(one);
    expect(readFileSync(path(), 'utf8')).toContain('hush');
    await journal.end(one.id, 'succeeded');
    const other = operation({ payload: { secret: 'mum' } });
    await journal.accept(other);
    fire();
    await journal.note(other.id, 'k', 'v'); // queued behind the new file
    await expect.poll(names).toEqual(['journal-00000002.log']);
    expect(readFileSync(path(), 'utf8')).not.toContain('hush');
    expect(readFileSync(path(), 'utf8')).toContain('mum');
    expect(journal.history(uuid).map((found) => found.outcome)).toEqual(['succeeded', null]);
    await journal.close();
  });

  test('forgets it also when it is closed before', async () => {
    const journal = await open();
    const one = operation();
    await journal.accept(one);
    await journal.end(one.id, 'succeeded');
    await journal.close();
    expect(readFileSync(path(), 'utf8')).not.toContain('hush');
    expect((await readJournal(folder)).history(uuid)).toMatchObject([{ id: one.id, outcome: 'succeeded', payload: null }]);
  });

  test('stays small however much work passes through it', async () => {
    const journal = await open();
    const kept = operation();
    await journal.accept(kept);
    for (let round = 0; round < 40; round += 1) {
      const many = Array.from({ length: 10 }, () => operation({ payload: { filler: 'x'.repeat(50_000) } }));
      await Promise.all(many.map((one) => journal.accept(one)));
      await Promise.all(many.map((one) => journal.end(one.id, 'succeeded')));
    }
    expect(names()).toHaveLength(1);
    expect(statSync(path()).size).toBeLessThan(5.5 * 1024 * 1024);
    await journal.close();
    expect(statSync(path()).size).toBeLessThan(100_000);
    const again = await open();
    expect(ids(again)).toEqual([kept.id]);
    expect(again.history(uuid).length).toBeLessThanOrEqual(21);
    await again.close();
  });

  test('cut at any byte it loses nothing that was promised there and invents nothing', async () => {
    const journal = await open();
    const promised: { bytes: number; state: unknown }[] = [];
    const stateOf = (one: { unfinished(): { id: string; hasBegun: boolean; steps: ReadonlyMap<string, string> }[] }): unknown =>
      one.unfinished().map((found) => [found.id, found.hasBegun, [...found.steps]]);
    const take = (): void => { promised.push({ bytes: statSync(path()).size, state: stateOf(journal) }); };
    take();
    const a = operation();
    const b = operation({ rpc: 'build_and_run_instance' });
    for (const act of [
      () => journal.accept(a), () => journal.begin(a.id), () => journal.accept(b), () => journal.mark(a.id, 's', 'begun'), () => journal.mark(a.id, 's', 'done'),
      () => journal.end(a.id, 'failed'), () => journal.begin(b.id),
    ]) {
      await act();
      take();
    }
    const whole = readFileSync(path());
    // Every byte is cut in test/unit/journal/replay.test.ts; here each record's edge and some places inside, with real files.
    const cuts = promised.flatMap(({ bytes }) => [bytes - 1, bytes, bytes + 1, bytes + 9, bytes + 60]).filter((cut) => cut <= whole.length);
    for (const cut of [0, 1, 30, ...cuts]) {
      rmSync(folder, { recursive: true });
      mkdirSync(folder);
      writeFileSync(join(folder, 'journal-00000001.log'), whole.subarray(0, cut));
      const again = await open();
      const must = promised.filter((one) => one.bytes <= cut).at(-1) ?? promised[0]!;
      expect([cut, stateOf(again)]).toEqual([cut, must.state]);
      await again.close();
    }
  });

  test('whose file is damaged is not opened, not even in part, and is left as it is', async () => {
    const journal = await open();
    const one = operation();
    await journal.accept(one);
    await journal.begin(one.id);
    await journal.close();
    const bytes = readFileSync(path());
    bytes[bytes.indexOf('stop_instance')]! ^= 1;
    writeFileSync(path(), bytes);
    // The accept was promised by the record after it? Only a later durable record says so.
    const before = readFileSync(path());
    const outcome = await open().then(async (again) => { await again.close(); return ids(again); }, (error: { code: string }) => error.code);
    expect(outcome).toBe('journal-corrupt');
    expect(readFileSync(path())).toEqual(before);
  });

  test('half made by a crash in a change of files is ignored: the last whole one counts', async () => {
    const journal = await open();
    const one = operation();
    await journal.accept(one);
    appendFileSync(join(folder, 'journal.new'), 'half');
    const again = await open();
    expect(ids(again)).toEqual([one.id]);
    expect(names()).toEqual(['journal-00000002.log']);
    await again.close();
  });

  test('left with two whole files by a crash takes the newer and removes the older', async () => {
    const journal = await open();
    const one = operation();
    await journal.accept(one);
    const older = readFileSync(path());
    await journal.end(one.id, 'succeeded');
    await journal.close();
    const newest = names().at(-1)!;
    writeFileSync(join(folder, 'journal-00000001.log'), older);
    expect(newest).not.toBe('journal-00000001.log');
    const again = await open();
    expect(again.unfinished()).toEqual([]);
    expect(names()).toHaveLength(1);
    await again.close();
  });

  test('is safe with 200 requests at once', async () => {
    const journal = await open();
    const many = Array.from({ length: 200 }, () => operation());
    await Promise.all(many.map((one) => journal.accept(one)));
    const again = await open();
    expect(ids(again)).toEqual(many.map((one) => one.id));
    await again.close();
  });

  test('refuses work after it was closed', async () => {
    const journal = await open();
    await journal.close();
    await expect(journal.accept(operation())).rejects.toMatchObject({ code: 'journal-closed' });
  });

  test('calls a change of an unknown or ended operation a bug', async () => {
    const journal = await open();
    const one = operation();
    await expect(journal.begin(one.id)).rejects.toThrow('open');
    await journal.accept(one);
    await journal.end(one.id, 'succeeded');
    await expect(journal.mark(one.id, 's', 'begun')).rejects.toThrow('open');
    await expect(journal.end(one.id, 'failed')).resolves.toBeUndefined(); // the first outcome stays
    expect(journal.history(uuid)[0]!.outcome).toBe('succeeded');
    await journal.close();
  });
});

describe('a reader beside the running agent', () => {
  test('sees what is written, and changes nothing', async () => {
    expect((await readJournal(folder)).unfinished()).toEqual([]);
    expect(existsSync(folder)).toBe(false);
    const journal = await open();
    const one = operation();
    await journal.accept(one);
    const before = names();
    const reader = await readJournal(folder);
    expect(ids(reader)).toEqual([one.id]);
    expect(reader.history(uuid)).toHaveLength(1);
    expect(names()).toEqual(before);
    truncateSync(path(), statSync(path()).size - 3); // a write under way
    expect((await readJournal(folder)).unfinished()).toEqual([]);
    await journal.close();
  });
});

