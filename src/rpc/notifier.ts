/**
 * Notifications as oslo.messaging's drivers `messaging` and `messagingv2` send them: to exchange `nova`, routing key `TOPIC.priority`, into a
 * queue of that name which is declared first, so that what nobody reads yet is kept (impl_rabbit: _publish_and_creates_default_queue).
 * They have a connection of their own: readers that are slow, and brokers that hold publishers back because of them, must not touch RPC.
 * Nothing waits for a notification; what cannot be sent is kept, up to a limit, and then the oldest is dropped with a warning.
 */
import { randomUUID } from 'node:crypto';
import { abortable } from '../lib/abort.js';
import { withTimeout, type Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { Logger } from '../observe/index.js';
import type { BrokerConnection, Session } from './connection.js';
import { contextToWire, type RequestContext } from './context.js';
import { hexId, wrap } from './envelope.js';
import type { Publisher } from './publisher.js';
import { declareQueue, namedQueue, topicExchange, type TopologyOptions } from './topology.js';

export type NotificationPriority = 'debug' | 'info' | 'warn' | 'error' | 'critical';

export interface Notification {
  readonly topics: readonly string[];
  /** `compute.HOST` of old notifications, `nova-compute:HOST` of versioned ones. */
  readonly publisherId: string;
  readonly eventType: string;
  readonly priority: NotificationPriority;
  readonly payload: unknown;
  readonly context: RequestContext;
}

export interface Notifier {
  /** Takes the notification and returns at once. */
  send(notification: Notification): void;
  /** Sends what is waiting, for at most `limitMs`, and closes the connection. */
  close(limitMs?: number): Promise<void>;
}

export interface NotifierDeps {
  readonly connection: BrokerConnection;
  readonly publisher: Publisher;
  readonly topology: TopologyOptions;
  readonly exchange: string;
  /** messagingv2 has an envelope, messaging has none. */
  readonly hasEnvelope: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

const mostWaiting = 1000;
const retryMs = 1_000;

export function createNotifier(deps: NotifierDeps): Notifier {
  const { clock, connection, log, publisher } = deps;
  const exchange = topicExchange(deps.topology, deps.exchange);
  const declared = new WeakMap<Session, Set<string>>();
  const waiting: { readonly topic: string; readonly body: Buffer; readonly messageId: string }[] = [];
  const ending = new AbortController();
  const signal = AbortSignal.any([ending.signal, connection.closing]);
  let work: Promise<void> | null = null;
  let dropped = 0;

  /** Resolves with the queues known to be there. */
  async function ensureQueue(name: string): Promise<Set<string>> {
    const session = await connection.waitWritable(signal);
    const names = declared.get(session) ?? new Set<string>();
    declared.set(session, names);
    if (names.has(name)) return names;
    await abortable(connection.scratch(session, 'plain', (channel) => declareQueue(channel, namedQueue(deps.topology, deps.exchange, name), {
      brokerVersion: '', connectionFailure: () => session.failure(), ensureExchange: (plan) => publisher.ensureExchange(session, plan),
    })), signal);
    names.add(name);
    return names;
  }

  async function drain(): Promise<void> {
    let isReported = false;
    for (let next = waiting[0]; next !== undefined && !signal.aborted; next = waiting[0]) {
      try {
        const names = await ensureQueue(next.topic);
        const outcome = await publisher.publish({ exchange, routingKey: next.topic, body: next.body, messageId: next.messageId, mandatory: true }, signal);
        if (outcome === 'unroutable') {
          // The queue is gone again: deleted, or lost in a restart of the broker between the two lines above.
          names.delete(next.topic);
          continue;
        }
        if (waiting[0] === next) waiting.shift();
        isReported = false;
        if (dropped > 0) log.warn({ dropped }, 'notifications were dropped while the broker was away');
        dropped = 0;
      } catch (err) {
        if (signal.aborted) return;
        if (!isReported) log.warn({ err, topic: next.topic, waiting: waiting.length }, 'notification not sent; trying again');
        isReported = true;
        await clock.sleep(retryMs, signal).catch(() => undefined);
      }
    }
  }

  return {
    send(notification) {
      for (const topic of notification.topics) {
        if (waiting.length >= mostWaiting) {
          waiting.shift();
          if (dropped === 0) log.warn({ limit: mostWaiting }, 'too many notifications wait for the broker; the oldest are dropped');
          dropped += 1;
        }
        waiting.push({ topic: `${topic}.${notification.priority}`, ...render(notification, clock, deps.hasEnvelope) });
      }
      work ??= drain().finally(() => { work = null; });
    },
    async close(limitMs = 2_000) {
      await withTimeout(clock, limitMs, 'notifications', async () => work ?? undefined).catch((error: unknown) => {
        if (!(error instanceof AgentError)) throw error;
        log.warn({ waiting: waiting.length }, 'notifications given up at shutdown');
      });
      ending.abort(new AgentError('shutting-down', 'the agent stops'));
      await work;
      await publisher.close();
      await connection.close();
    },
  };
}

/** Tokens do not go out with notifications, whoever may read them (oslo.messaging since 14.6 does the same). */
const withheld = new Set(['auth_token', 'service_catalog', 'redirect_uri', 'signature']);

/** The notification's message: envelope, context in `_context_*`, and no token. */
function render({ context, eventType, payload, priority, publisherId }: Notification, clock: Clock, hasEnvelope: boolean): { body: Buffer; messageId: string } {
  const messageId = randomUUID();
  const wireContext = Object.fromEntries(Object.entries(contextToWire(context)).filter(([key]) => !withheld.has(key.slice('_context_'.length))));
  const inner = {
    message_id: messageId, publisher_id: publisherId, event_type: eventType, priority: priority.toUpperCase(), payload,
    timestamp: clock.now().toISOString().replace('T', ' ').replace(/(\.\d+)Z$/, '$1000'), _unique_id: hexId(), ...wireContext,
  };
  return { messageId, body: hasEnvelope ? wrap(inner) : Buffer.from(JSON.stringify(inner)) };
}
