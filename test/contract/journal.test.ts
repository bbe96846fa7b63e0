import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openJournal, readHistory, runSteps, undoSteps, type AcceptedOperation, type Journal, type Step } from '../../src/journal/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { parseInstanceUuid, parseOperationId } from '../../src/lib/ids.js';
import { recordingLog } from '../fakes/recording-log.js';

const uuid = parseInstanceUuid('11111111-1111-4111-8111-111111111111');
const { log } = recordingLog();
let folder = '';
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'journal-')); });
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (rewriteBytes?: number): Promise<Journal> => openJournal(folder, { clock: systemClock, log, ...(rewriteBytes === undefined ? {} : { rewriteBytes }) });
const operation = (over: Partial<AcceptedOperation> = {}): AcceptedOperation => {
  const id = parseOperationId(randomUUID());
  return { id, messageId: id.replaceAll('-', ''), rpc: 'stop_instance', instance: uuid, requestId: 'req-1', payload: { secret: 'hush' }, ...over };
};
const text = (): string => readFileSync(join(folder, 'journal'), 'utf8');

describe('the journal', () => {
  test('is readable by its owner only', async () => {
    await (await open()).close();
    expect(statSync(join(folder, 'journal')).mode & 0o777).toBe(0o600);
  });

  test('remembers what was accepted, begun, marked and noted, over a restart', async () => {
    const first = await open();
    const one = operation();
    expect(await first.accept(one)).toBe('new');
    await first.begin(one.id);
    await first.mark(one.id, 'end-guest', 'begun');
    await first.note(one.id, 'pid', '12');
    await first.close();
    const [found] = (await open()).unfinished();
    expect(found).toMatchObject({ id: one.id, rpc: 'stop_instance', hasBegun: true, notes: { pid: '12' }, payload: { secret: 'hush' }, outcome: null });
    expect([...found!.steps]).toEqual([['end-guest', 'begun']]);
  });

  test('takes a message id once, also after the operation ended and after a restart', async () => {
    const first = await open();
    const one = operation();
    await first.accept(one);
    expect(await first.accept({ ...operation(), messageId: one.messageId })).toBe('duplicate');
    await first.end(one.id, 'succeeded');
    await first.close();
    const second = await open();
    expect(await second.accept({ ...operation(), messageId: one.messageId })).toBe('duplicate');
    expect(second.unfinished()).toEqual([]);
  });

  test('drops payloads of ended operations when it is opened again', async () => {
    const first = await open();
    const one = operation();
    await first.accept(one);
    expect(text()).toContain('hush');
    await first.end(one.id, 'succeeded');
    await first.close();
    await (await open()).close();
    expect(text()).not.toContain('hush');
    expect(await readHistory(folder, uuid, log)).toMatchObject([{ id: one.id, outcome: 'succeeded', payload: null }]);
  });

  test('stays small however much work passes through it', async () => {
    const journal = await open(20_000);
    for (let round = 0; round < 300; round += 1) {
      const one = operation({ payload: { filler: 'x'.repeat(500) } });
      await journal.accept(one);
      await journal.end(one.id, 'succeeded');
    }
    const kept = operation();
    await journal.accept(kept);
    await journal.close();
    expect(text().length).toBeLessThan(90_000);
    expect((await open()).unfinished().map((one) => one.id)).toEqual([kept.id]);
  });

  test('refuses a journal of a newer agent in a sentence', async () => {
    await (await open()).close();
    const { renderRecord } = await import('../../src/journal/records.js');
    writeFileSync(join(folder, 'journal'), renderRecord({ t: 'format', format: 99 }));
    await expect(open()).rejects.toMatchObject({ code: 'journal-too-new' });
  });

  test('cut at any byte it loses nothing that was durable there and invents nothing', async () => {
    const journal = await open();
    const durable: { bytes: number; unfinished: string[] }[] = [];
    const note = (): void => { durable.push({ bytes: Buffer.byteLength(text()), unfinished: journal.unfinished().map((one) => one.id) }); };
    note();
    const a = operation();
    const b = operation({ rpc: 'build_and_run_instance' });
    for (const act of [() => journal.accept(a), () => journal.begin(a.id), () => journal.accept(b), () => journal.mark(a.id, 's', 'begun'), () => journal.end(a.id, 'failed'), () => journal.begin(b.id)]) {
      await act();
      note();
    }
    await journal.close();
    const whole = readFileSync(join(folder, 'journal'));
    for (let cut = durable[0]!.bytes; cut <= whole.length; cut += 1) {
      writeFileSync(join(folder, 'journal'), whole.subarray(0, cut));
      const again = await open();
      const must = durable.filter((one) => one.bytes <= cut).at(-1)!;
      expect([cut, again.unfinished().map((one) => one.id)]).toEqual([cut, must.unfinished]);
      await again.close();
    }
  });

  test('many at once are all durable', async () => {
    const journal = await open();
    const many = Array.from({ length: 200 }, () => operation());
    await Promise.all(many.map((one) => journal.accept(one)));
    await journal.close();
    expect((await open()).unfinished()).toHaveLength(200);
  });
});

describe('steps', () => {
  const never = new AbortController().signal;
  const done: string[] = [];
  const step = (name: string, over: Partial<Step> = {}): Step => ({
    name, look: async () => 'not-done', act: async () => void done.push(`act ${name}`), undo: async () => void done.push(`undo ${name}`), ...over,
  });
  const failing = (name: string, over: Partial<Step> = {}): Step => step(name, { act: () => Promise.reject(new Error(`${name} broke`)), ...over });
  const withoutUndo = (name: string): Step => ({ name, look: async () => 'not-done', act: async () => void done.push(`act ${name}`) });
  let journal: Journal;
  let one: AcceptedOperation;
  beforeEach(async () => {
    done.length = 0;
    journal = await open();
    one = operation();
    await journal.accept(one);
    await journal.begin(one.id);
  });
  afterEach(() => journal.close());

  test('are undone in reverse when one fails, that one included', async () => {
    await expect(runSteps(journal, one.id, [step('a'), step('b'), failing('c'), step('d')], never)).rejects.toThrow('c broke');
    expect(done).toEqual(['act a', 'act b', 'undo c', 'undo b', 'undo a']);
  });

  test('are skipped when the machine says done, and then not undone', async () => {
    await expect(runSteps(journal, one.id, [step('a', { look: async () => 'done' }), step('b'), failing('c')], never)).rejects.toThrow();
    expect(done).toEqual(['act b', 'undo c', 'undo b']);
  });

  test('are undone back to the last point of no return only', async () => {
    await expect(runSteps(journal, one.id, [step('a'), withoutUndo('b'), step('c'), failing('d')], never)).rejects.toThrow();
    expect(done).toEqual(['act a', 'act b', 'act c', 'undo d', 'undo c']);
  });

  test('stop and keep everything when the machine is unclear', async () => {
    await expect(runSteps(journal, one.id, [step('a'), step('b', { look: async () => 'unclear' })], never)).rejects.toMatchObject({ code: 'step-unclear' });
    expect(done).toEqual(['act a']);
  });

  test('stop between two when told to, and undo what was done', async () => {
    const controller = new AbortController();
    await expect(runSteps(journal, one.id, [step('a', { act: async () => controller.abort(new Error('deleted')) }), step('b')], controller.signal)).rejects.toThrow('deleted');
    expect(done).toEqual(['undo a']);
  });

  test('go on undoing when one undo fails, and say which', async () => {
    const stubborn = step('b', { undo: () => Promise.reject(new Error('busy')) });
    await expect(runSteps(journal, one.id, [step('a'), stubborn, failing('c')], never)).rejects.toMatchObject({ code: 'undo-failed', details: { failed: ['b'] } });
    expect(done).toEqual(['act a', 'act b', 'undo c', 'undo a']);
  });

  test('that were done before a crash are undone after it', async () => {
    await journal.mark(one.id, 'a', 'begun');
    await journal.mark(one.id, 'a', 'done');
    await journal.mark(one.id, 'b', 'begun');
    await expect(runSteps(journal, one.id, [step('a', { look: async () => 'done' }), failing('b')], never)).rejects.toThrow();
    expect(done).toEqual(['undo b', 'undo a']);
  });

  test('of an interrupted operation are undone if they were begun', async () => {
    await journal.mark(one.id, 'a', 'begun');
    const [found] = journal.unfinished();
    await undoSteps(journal, found!, [step('a'), step('b')]);
    expect(done).toEqual(['undo a']);
  });
});
