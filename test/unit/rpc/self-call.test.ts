import { expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import { createSelfCall } from '../../../src/rpc/self-call.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';

interface World { connected: boolean; blocked: boolean; saturated: boolean; answers: boolean }

/** Runs one ping for each step of the script; what the world is like then is the step. */
async function play(script: Partial<World>[]): Promise<{ actions: string[]; callable: boolean[]; lines: string[] }> {
  const { log, lines } = recordingLog();
  const actions: string[] = [];
  const callable: boolean[] = [];
  const controller = new AbortController();
  let step = 0;
  const world = (): World => ({ connected: true, blocked: false, saturated: false, answers: true, ...script[step] });
  const clock = createVirtualClock();
  const selfCall = createSelfCall({
    clock: {
      ...clock,
      async sleep(ms) {
        callable.push(selfCall.state().callable);
        step += 1;
        if (step === script.length) controller.abort();
        clock.advance(ms);
      },
    },
    client: { call: async () => {
      if (!world().answers) throw new AgentError('rpc-timeout', 'no answer');
    } },
    target: { topic: 'compute', server: 'h', namespace: 'baseapi', version: '1.0' }, intervalMs: 10_000, timeoutMs: 10_000,
    connection: { state: () => ({ ...world(), since: new Date(0), reason: 'because' }), drop: () => actions.push(`${step}: reconnect`) },
    isSaturated: () => world().saturated, rebuildChannels: () => actions.push(`${step}: rebuild`), log, metrics: noMetrics,
  });
  await selfCall.run(controller.signal);
  return { actions, callable, lines: lines().map((line) => String(line['msg'])) };
}
const missed = { answers: false };

test('one missed ping is told, two rebuild the channels, four reconnect, and so on', async () => {
  const { actions, callable } = await play([{}, ...Array.from({ length: 9 }, () => missed)]);
  expect(actions).toEqual(['2: rebuild', '4: reconnect', '6: rebuild', '8: reconnect']);
  expect(callable).toEqual([true, ...Array.from({ length: 9 }, () => false)]);
});

test('a ping that comes back begins the count anew', async () => {
  expect((await play([missed, {}, missed, {}, missed, missed])).actions).toEqual(['5: rebuild']);
});

test.each([{ connected: false }, { blocked: true }, { saturated: true }])('nothing is rebuilt while %o', async (state) => {
  const { actions, callable } = await play(Array.from({ length: 8 }, () => ({ ...missed, ...state })));
  expect(actions).toEqual([]);
  expect(callable).not.toContain(true);
});

test('a quiet hour is one line', async () => {
  expect((await play(Array.from({ length: 360 }, () => ({})))).lines).toEqual(['callable']);
});
