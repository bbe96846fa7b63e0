import { describe, expect, test } from 'vitest';
import { createGate } from '../../../src/instances/index.js';
import { parseInstanceUuid } from '../../../src/lib/ids.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';

const one = parseInstanceUuid('11111111-1111-4111-8111-111111111111');
const two = parseInstanceUuid('22222222-2222-4222-8222-222222222222');
const makeGate = (): ReturnType<typeof createGate> => createGate({ log: recordingLog().log, metrics: noMetrics });

/** Work that goes on until it is told to end. */
function held(): { work: (signal: AbortSignal) => Promise<void>; began: Promise<AbortSignal>; end: () => void } {
  let begin: (signal: AbortSignal) => void = () => undefined;
  let end = (): void => undefined;
  const began = new Promise<AbortSignal>((resolve) => { begin = resolve; });
  const over = new Promise<void>((resolve) => { end = resolve; });
  return { work: async (signal) => { begin(signal); await over; }, began, end: () => end() };
}

describe('the request gate', () => {
  test('runs two requests for one instance one after the other, in the order of their arrival', async () => {
    const gate = makeGate();
    const order: string[] = [];
    const first = held();
    const a = gate.run(one, 'start', async (signal) => { await first.work(signal); order.push('start'); });
    const b = gate.run(one, 'stop', async () => { order.push('stop'); });
    await first.began;
    expect(order).toEqual([]);
    first.end();
    expect(await Promise.all([a, b])).toEqual(['accepted', 'accepted']);
    expect(order).toEqual(['start', 'stop']);
  });

  test('lets two instances work at the same time', async () => {
    const gate = makeGate();
    const first = held();
    const running = gate.run(one, 'build', first.work);
    await first.began;
    expect(await gate.run(two, 'build', async () => undefined)).toBe('accepted');
    first.end();
    await running;
  });

  test('ignores a stop that is waiting already, but not one behind a stop that runs', async () => {
    const gate = makeGate();
    const first = held();
    let stops = 0;
    const running = gate.run(one, 'stop', first.work);
    await first.began;
    const waiting = gate.run(one, 'stop', async () => { stops += 1; });
    expect(await gate.run(one, 'stop', async () => { stops += 1; })).toBe('ignored');
    first.end();
    await Promise.all([running, waiting]);
    expect(stops).toBe(1);
  });

  test('ignores a second delete even while the first one runs', async () => {
    const gate = makeGate();
    const first = held();
    const running = gate.run(one, 'delete', first.work);
    await first.began;
    expect(await gate.run(one, 'delete', async () => { throw new Error('must not run'); })).toBe('ignored');
    first.end();
    await running;
  });

  test('a delete tells a running build to stop, and waits for it', async () => {
    const gate = makeGate();
    const build = held();
    let isDeleted = false;
    const building = gate.run(one, 'build', build.work);
    const signal = await build.began;
    const deleting = gate.run(one, 'delete', async () => { isDeleted = true; });
    expect(signal.aborted).toBe(true);
    expect((signal.reason as { code: string }).code).toBe('instance-deleted');
    expect(isDeleted).toBe(false);
    build.end();
    await Promise.all([building, deleting]);
    expect(isDeleted).toBe(true);
  });

  test('a delete does not disturb a build of another instance', async () => {
    const gate = makeGate();
    const build = held();
    const building = gate.run(one, 'build', build.work);
    const signal = await build.began;
    await gate.run(two, 'delete', async () => undefined);
    expect(signal.aborted).toBe(false);
    build.end();
    await building;
  });

  test('a periodic duty steps back while anything runs', async () => {
    const gate = makeGate();
    const first = held();
    const running = gate.run(one, 'reboot', first.work);
    await first.began;
    expect(await gate.runIfIdle(one, 'power-sync', async () => { throw new Error('must not run'); })).toBe(false);
    first.end();
    await running;
    expect(await gate.runIfIdle(one, 'power-sync', async () => undefined)).toBe(true);
  });

  test('refuses everything once closed, and forgets instances without work', async () => {
    const gate = makeGate();
    await expect(gate.run(one, 'start', () => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
    expect(gate.isBusy(one)).toBe(false);
    expect(gate.open).toBe(0);
    gate.close();
    expect(await gate.run(one, 'start', async () => { throw new Error('must not run'); })).toBe('refused');
  });
});
