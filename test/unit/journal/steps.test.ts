import { describe, expect, test } from 'vitest';
import { runSteps, undoSteps, type Journal, type Step } from '../../../src/journal/index.js';
import { JournalState } from '../../../src/journal/state.js';
import { AgentError } from '../../../src/lib/errors.js';
import { parseOperationId } from '../../../src/lib/ids.js';

const id = parseOperationId('11111111-1111-4111-8111-111111111111');
const never = new AbortController().signal;

/** A journal in memory, which notes what it is told among what the machine did. */
function bench(before: Record<string, 'begun' | 'done' | 'undone'> = {}) {
  const state = new JournalState({ maxSeen: 9, maxSeenAgeMs: 9e9, maxHistoryPerInstance: 9, maxHistory: 9 });
  state.apply({ t: 'accept', id, messageId: 'm', rpc: 'r', instance: null, requestId: null, payload: null, at: '2026-01-01T00:00:00Z' });
  for (const [step, mark] of Object.entries(before)) state.apply({ t: 'mark', id, step, mark });
  const tale: string[] = [];
  const journal = {
    mark: async (_id: string, step: string, mark: 'begun' | 'done' | 'undone') => {
      tale.push(`${mark} ${step}`);
      state.apply({ t: 'mark', id, step, mark });
    },
    operation: () => state.operation(id),
    unfinished: () => state.unfinished(),
  } as unknown as Journal;
  const machine = new Set<string>(Object.entries(before).filter(([, mark]) => mark === 'done').map(([step]) => step));
  const step = (name: string, over: Partial<Step> = {}): Step => ({
    name,
    look: async () => (machine.has(name) ? 'done' : 'not-done'),
    act: async () => { tale.push(`act ${name}`); machine.add(name); },
    undo: async () => { tale.push(`undo ${name}`); machine.delete(name); },
    ...over,
  });
  const failing = (name: string, over: Partial<Step> = {}): Step => step(name, { act: () => Promise.reject(new Error(`${name} broke`)), ...over });
  const oneWay = (name: string, make: (name: string) => Step = step): Step => {
    const whole = make(name);
    return { name, look: () => whole.look(), act: (signal) => whole.act(signal) };
  };
  return { journal, machine, tale, step, failing, oneWay };
}

describe('running steps', () => {
  test('each is recorded before and after it acts', async () => {
    const { journal, tale, step } = bench();
    await runSteps(journal, id, [step('a'), step('b')], never);
    expect(tale).toEqual(['begun a', 'act a', 'done a', 'begun b', 'act b', 'done b']);
  });

  test('a mark of what leaves something is on the disk before it acts; of what leaves nothing it need not be', async () => {
    const { journal, step } = bench();
    const marks: unknown[] = [];
    const listening = { ...journal, mark: async (_id: unknown, name: string, mark: string, options?: { isDurable?: boolean }) => void marks.push([name, mark, options?.isDurable]) } as Journal;
    await runSteps(listening, id, [step('disk'), step('wait', { leavesNothing: true })], never);
    expect(marks.filter((entry) => (entry as string[])[1] === 'begun')).toEqual([['disk', 'begun', true], ['wait', 'begun', false]]);
  });

  test('a step that the machine shows as done is left alone, and is not ours to undo', async () => {
    const { journal, machine, tale, step, failing } = bench();
    machine.add('a');
    await expect(runSteps(journal, id, [step('a'), failing('b')], never)).rejects.toThrow('b broke');
    expect(tale).toEqual(['begun b', 'undo b', 'undone b']);
    expect(machine.has('a')).toBe(true);
  });

  test('a failure undoes in reverse, the failed one included, and throws the failure itself', async () => {
    const { journal, tale, step, failing, machine } = bench();
    await expect(runSteps(journal, id, [step('a'), step('b'), failing('c'), step('d')], never)).rejects.toThrow('c broke');
    expect(tale.filter((line) => line.startsWith('undo '))).toEqual(['undo c', 'undo b', 'undo a']);
    expect([...machine]).toEqual([]);
    expect(tale).not.toContain('begun d');
  });

  test('nothing before a point of no return is undone', async () => {
    const { journal, tale, step, failing, oneWay } = bench();
    await expect(runSteps(journal, id, [step('a'), oneWay('b'), step('c'), failing('d')], never)).rejects.toThrow('d broke');
    expect(tale.filter((line) => line.startsWith('undo '))).toEqual(['undo d', 'undo c']);
  });

  test('a point of no return that failed may be half done: nothing is undone', async () => {
    const { journal, tale, step, failing, oneWay } = bench();
    await expect(runSteps(journal, id, [step('a'), oneWay('b', failing)], never)).rejects.toThrow('b broke');
    expect(tale.filter((line) => line.startsWith('undo '))).toEqual([]);
  });

  test('when the machine is unclear everything is kept', async () => {
    const { journal, tale, step } = bench();
    await expect(runSteps(journal, id, [step('a'), step('b', { look: async () => 'unclear' }), step('c')], never)).rejects.toMatchObject({ code: 'step-unclear', details: { step: 'b' } });
    expect(tale).toEqual(['begun a', 'act a', 'done a']);
  });

  test('an abort takes effect between two steps and undoes what was done', async () => {
    const { journal, tale, step } = bench();
    const controller = new AbortController();
    const last = step('a');
    const steps = [{ ...last, act: async (signal: AbortSignal) => { await last.act(signal); controller.abort(new Error('deleted')); } }, step('b')];
    await expect(runSteps(journal, id, steps, controller.signal)).rejects.toThrow('deleted');
    expect(tale).toEqual(['begun a', 'act a', 'done a', 'undo a', 'undone a']);
  });

  test.each(['shutting-down', 'journal-failed'])('an end of the agent (%s) undoes nothing: the journal goes on after the restart', async (code) => {
    const { journal, tale, step, failing } = bench();
    await expect(runSteps(journal, id, [step('a'), failing('b', { act: () => Promise.reject(new AgentError(code, 'x')) })], never)).rejects.toMatchObject({ code });
    expect(tale.filter((line) => line.startsWith('undo'))).toEqual([]);
    const stopping = new AbortController();
    stopping.abort(new AgentError(code, 'x'));
    await expect(runSteps(journal, id, [step('a'), step('c')], stopping.signal)).rejects.toMatchObject({ code });
  });

  test('an undo that fails keeps what it rests on, and the first failure is still the one that is thrown', async () => {
    const { journal, machine, step, failing } = bench();
    const stubborn = step('b', { undo: () => Promise.reject(new Error('busy')) });
    const error: unknown = await runSteps(journal, id, [step('a'), stubborn, failing('c')], never).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ message: 'c broke', undoError: { code: 'undo-failed', details: { step: 'b' } } });
    expect([...machine]).toEqual(['a', 'b']);
    expect([...journal.unfinished()[0]!.steps]).toEqual([['a', 'done'], ['b', 'done'], ['c', 'undone']]);
  });
});

describe('after a crash', () => {
  test('what was begun and is seen as done is noted, and is still ours to undo', async () => {
    const { journal, machine, tale, step, failing } = bench({ a: 'begun' });
    machine.add('a');
    await expect(runSteps(journal, id, [step('a'), failing('b')], never)).rejects.toThrow('b broke');
    expect(tale).toEqual(['done a', 'begun b', 'undo b', 'undone b', 'undo a', 'undone a']);
  });

  test('a step that was half done acts again', async () => {
    const { journal, tale, step } = bench({ a: 'done', b: 'begun' });
    await runSteps(journal, id, [step('a'), step('b')], never);
    expect(tale).toEqual(['begun b', 'act b', 'done b']);
  });

  test('undoing takes back, in reverse, what was begun and nothing else', async () => {
    const { journal, tale, step } = bench({ a: 'done', b: 'begun', d: 'undone' });
    const steps = [step('a'), step('b'), step('c'), step('d')];
    await undoSteps(journal, journal.unfinished()[0]!, steps);
    expect(tale).toEqual(['undo b', 'undone b', 'undo a', 'undone a']);
    await undoSteps(journal, journal.unfinished()[0]!, steps);
    expect(tale).toHaveLength(4);
  });

  test('undoing that fails says so and can be tried again', async () => {
    const { journal, step } = bench({ a: 'done' });
    let isBusy = true;
    const steps = [step('a', { undo: async () => { if (isBusy) throw new Error('busy'); } })];
    await expect(undoSteps(journal, journal.unfinished()[0]!, steps)).rejects.toMatchObject({ code: 'undo-failed', retry: 'later' });
    isBusy = false;
    await undoSteps(journal, journal.unfinished()[0]!, steps);
    expect([...journal.unfinished()[0]!.steps]).toEqual([['a', 'undone']]);
  });
});
