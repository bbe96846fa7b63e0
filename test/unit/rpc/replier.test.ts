import { expect, test } from 'vitest';
import { disconnected } from '../../../src/rpc/broker-errors.js';
import { unwrap } from '../../../src/rpc/envelope.js';
import { reasonOf } from '../../../src/lib/abort.js';
import type { OutgoingMessage, Publisher } from '../../../src/rpc/publisher.js';
import { createReplier, type Replier } from '../../../src/rpc/replier.js';
import { noMetrics, recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../fakes/virtual-clock.js';

const to = { queue: 'reply_1', callId: 'c', monitorMs: null };

/** A broker that routes to the queues it has. */
function world(): { replier: Replier; clock: VirtualClock; queues: Set<string>; sent: OutgoingMessage[]; losses: number; lines: () => Record<string, unknown>[] } {
  const { log, lines } = recordingLog();
  const clock = createVirtualClock();
  const state = { clock, queues: new Set(['reply_1']), sent: [] as OutgoingMessage[], losses: 0, lines };
  const publish: Publisher['publish'] = async (message, signal) => {
    if (signal.aborted) throw reasonOf(signal);
    state.sent.push(message);
    if (state.losses-- > 0) throw disconnected('lost');
    return state.queues.has(message.routingKey) ? 'routed' : 'unroutable';
  };
  const publisher = {
    publish,
    async publishUntilRouted(message: () => OutgoingMessage, signal: AbortSignal) {
      while ((await publish(message(), signal)) === 'unroutable') await clock.sleep(250, signal);
    },
  } as Publisher;
  return Object.assign(state, { replier: createReplier({ publisher, clock, log, metrics: noMetrics }) });
}
const replies = (sent: OutgoingMessage[]): Record<string, unknown>[] => sent.map(({ body }) => unwrap(body));

test('a result goes to the caller\'s queue, mandatory, and undefined becomes null', async () => {
  const { replier, sent } = world();
  await replier.succeed(to, 'm', undefined);
  expect(sent).toMatchObject([{ exchange: null, routingKey: 'reply_1', mandatory: true }]);
  expect(replies(sent)).toMatchObject([{ result: null, failure: null, ending: true, _msg_id: 'c' }]);
});

test('a reply that cannot be routed is repeated for a minute; then the caller is forgotten for a minute', async () => {
  const { replier, sent, clock, queues, lines } = world();
  queues.clear();
  await replier.succeed(to, 'm', 1);
  expect(clock.monotonicMs()).toBeGreaterThanOrEqual(60_000);
  expect(sent.length).toBeGreaterThan(200);
  expect(lines().filter((line) => line['msg'] === 'reply not delivered')).toHaveLength(1);
  const before = sent.length;
  await replier.succeed(to, 'm', 2);
  expect(sent).toHaveLength(before);
  clock.advance(60_001);
  queues.add('reply_1');
  await replier.succeed(to, 'm', 3);
  expect(sent).toHaveLength(before + 1);
});

test('a lost connection does not lose the reply, and all copies have one id', async () => {
  const state = world();
  state.losses = 3;
  await state.replier.succeed(to, 'm', 'ok');
  expect(state.sent).toHaveLength(4);
  expect(new Set(replies(state.sent).map((reply) => reply['_unique_id'])).size).toBe(1);
});

test('a result that is not JSON becomes a failure, not silence', async () => {
  const { replier, sent } = world();
  await replier.succeed(to, 'get_diagnostics', { bytes: 1n });
  expect(JSON.parse(String(replies(sent)[0]!['failure']))).toMatchObject({ class: 'InternalError' });
});

test('a monitored caller hears from us at half its interval until we end', async () => {
  const { replier, sent, clock } = world();
  const life = replier.keepAlive({ ...to, monitorMs: 60_000 });
  for (let second = 0; second < 95; second += 1) {
    clock.advance(1_000);
    await Promise.resolve();
  }
  expect(replies(sent)).toMatchObject([30, 60, 90].map(() => ({ result: null, failure: null, ending: false, _msg_id: 'c' })));
  life.end();
  clock.advance(120_000);
  expect(sent).toHaveLength(3);
});

test('a caller that does not monitor hears nothing before the end', () => {
  const { replier, sent, clock } = world();
  replier.keepAlive(to);
  clock.advance(3_600_000);
  expect(sent).toEqual([]);
});
