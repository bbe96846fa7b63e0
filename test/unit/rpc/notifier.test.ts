import { expect, test } from 'vitest';
import { AgentError } from '../../../src/lib/errors.js';
import type { BrokerConnection, Session } from '../../../src/rpc/connection.js';
import { adminContext } from '../../../src/rpc/context.js';
import { unwrap } from '../../../src/rpc/envelope.js';
import { createNotifier, type Notification, type Notifier } from '../../../src/rpc/notifier.js';
import type { OutgoingMessage, Publisher } from '../../../src/rpc/publisher.js';
import { defaultTopology } from '../../../src/rpc/topology.js';
import { recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';

type Outcome = 'routed' | 'unroutable' | 'lost';

/** A broker that declares what it is asked to, and takes messages with these outcomes, then routes all. */
function bench(outcomes: Outcome[], isConnected = true): { notifier: Notifier; declared: string[]; sent: OutgoingMessage[]; log: ReturnType<typeof recordingLog>; connect: () => void } {
  const declared: string[] = [];
  const sent: OutgoingMessage[] = [];
  const log = recordingLog();
  const session = { failure: () => undefined } as unknown as Session;
  let connect: () => void = () => undefined;
  let isOpen = isConnected;
  const connected = isConnected ? Promise.resolve() : new Promise<void>((resolve) => { connect = () => { isOpen = true; resolve(); }; });
  const channel = {
    assertQueue: async (name: string) => void declared.push(name), assertExchange: async () => undefined, bindQueue: async () => undefined,
  };
  const closing = new AbortController();
  const connection = {
    waitWritable: async (signal: AbortSignal) => {
      if (!isOpen) await connected;
      signal.throwIfAborted();
      return session;
    },
    scratch: async (_session: Session, _kind: string, work: (one: unknown) => Promise<unknown>) => work(channel),
    closing: closing.signal, close: async () => closing.abort(new AgentError('shutting-down', 'closed')),
  } as unknown as BrokerConnection;
  const publisher = {
    publish: async (message: OutgoingMessage) => {
      const outcome = outcomes.shift() ?? 'routed';
      if (outcome === 'lost') throw new AgentError('rpc-disconnected', 'the broker went away', { retry: 'later' });
      if (outcome === 'routed') sent.push(message);
      return outcome;
    },
    ensureExchange: async () => undefined, close: async () => undefined,
  } as unknown as Publisher;
  const notifier = createNotifier({ connection, publisher, topology: defaultTopology, exchange: 'nova', hasEnvelope: true, clock: createVirtualClock(), log: log.log });
  return { notifier, declared, sent, log, connect: () => connect() };
}

const about = (eventType: string, more: Partial<Notification> = {}): Notification =>
  ({ topics: ['n'], publisherId: 'compute.h', eventType, priority: 'info', payload: {}, context: adminContext({ requestId: 'req-1' }), ...more });
const eventsOf = (sent: readonly OutgoingMessage[]): unknown[] => sent.map(({ body }) => unwrap(body)['event_type']);
const settled = async (): Promise<void> => { for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve)); };

test('a queue is declared once, before the first message to it, and each topic and priority has its own', async () => {
  const { notifier, declared, sent } = bench([]);
  notifier.send(about('a'));
  notifier.send(about('b', { topics: ['n', 'm'], priority: 'error' }));
  notifier.send(about('c'));
  await settled();
  expect(declared).toEqual(['n.info', 'n.error', 'm.error']);
  expect(sent.map(({ routingKey }) => routingKey)).toEqual(['n.info', 'n.error', 'm.error', 'n.info']);
});

test('a queue that is gone is declared again, and nothing is lost or sent out of order', async () => {
  const { notifier, declared, sent } = bench(['routed', 'unroutable', 'unroutable']);
  for (const name of ['a', 'b', 'c']) notifier.send(about(name));
  await settled();
  expect(eventsOf(sent)).toEqual(['a', 'b', 'c']);
  expect(declared).toEqual(['n.info', 'n.info', 'n.info']);
});

test('a lost broker is told once, and tried again', async () => {
  const { notifier, sent, log } = bench(['lost', 'lost', 'lost']);
  notifier.send(about('a'));
  await settled();
  expect(eventsOf(sent)).toEqual(['a']);
  expect(log.lines().filter(({ level }) => level === 40)).toHaveLength(1);
});

test('while the broker is away at most a thousand wait; the oldest go first', async () => {
  const { notifier, sent, log, connect } = bench([], false);
  for (let index = 0; index < 1_003; index += 1) notifier.send(about(String(index)));
  connect();
  for (let turn = 0; turn < 400 && sent.length < 1_001; turn += 1) await settled();
  // The first was in hand already.
  expect(eventsOf(sent).slice(0, 3)).toEqual(['0', '3', '4']);
  expect(sent).toHaveLength(1_001);
  expect(log.lines().filter(({ level }) => level === 40).map((line) => line['dropped'] ?? null)).toEqual([null, 3]);
});

test('a token in the context stays here', async () => {
  const { notifier, sent } = bench([]);
  notifier.send(about('a', { context: { ...adminContext({ requestId: 'req-1' }), authToken: 'gAAAAhunter2' } }));
  await settled();
  expect(String(sent[0]?.body)).not.toContain('hunter2');
  expect(unwrap(sent[0]!.body)).toMatchObject({ _context_request_id: 'req-1', publisher_id: 'compute.h', priority: 'INFO' });
});
