/**
 * Sending with publisher confirms. A message is `routed` when the broker has taken responsibility for it, `unroutable` when no queue
 * wants it (mandatory messages only; RabbitMQ returns those before it confirms them).
 */
import type { ConfirmChannel, Message, Options } from 'amqplib';
import { abortable } from '../lib/abort.js';
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import { disconnected, replyCodeOf } from './broker-errors.js';
import { superviseChannel, type ChannelDeps } from './channels.js';
import type { Session } from './connection.js';
import type { ExchangePlan } from './topology.js';

export interface OutgoingMessage {
  /** Null: the default exchange, where the routing key is a queue's name. */
  readonly exchange: ExchangePlan | null;
  readonly routingKey: string;
  readonly body: Buffer;
  readonly messageId: string;
  /** Whether a message that no queue wants is reported as unroutable. */
  readonly mandatory: boolean;
  /** The broker forgets it after this time. */
  readonly expirationMs?: number;
}

export interface Publisher {
  /** Throws AgentError `rpc-disconnected` (details.isSent tells whether it may have arrived) or the signal's reason. */
  publish(message: OutgoingMessage, signal: AbortSignal): Promise<'routed' | 'unroutable'>;
  /** As publish, again and again while nobody wants it. */
  publishUntilRouted(message: () => OutgoingMessage, signal: AbortSignal): Promise<void>;
  /** To whoever listens now; nobody is fine. */
  publishFanout(exchange: string, message: Pick<OutgoingMessage, 'body' | 'messageId'>, signal: AbortSignal): Promise<void>;
  /** Makes an exchange if there is none of that name, however it was declared. */
  ensureExchange(session: Session, plan: ExchangePlan): Promise<void>;
  rebuild(reason: string): void;
  close(): Promise<void>;
}

/** oslo's own interval for replies that cannot be delivered. */
const UNROUTABLE_RETRY_MS = 250;
const MAX_UNCONFIRMED = 2048;

const asDisconnected = (error: unknown): never => {
  throw error instanceof AgentError ? error : disconnected('an exchange could not be looked up', error);
};

function propertiesOf(message: Pick<OutgoingMessage, 'messageId' | 'mandatory' | 'expirationMs'>): Options.Publish {
  return {
    contentType: 'application/json',
    contentEncoding: 'utf-8',
    deliveryMode: 2,
    priority: 0,
    headers: {},
    // oslo does not set it and does not mind; a returned message is recognised by it.
    messageId: message.messageId,
    mandatory: message.mandatory,
    ...(message.expirationMs === undefined ? {} : { expiration: String(Math.max(1, Math.round(message.expirationMs))) }),
  };
}

function confirmed(channel: ConfirmChannel, exchange: string, routingKey: string, body: Buffer, options: Options.Publish): Promise<void> {
  return new Promise((resolve, reject) => {
    try {
      channel.publish(exchange, routingKey, body, options, (error: unknown) => {
        if (error === null || error === undefined) resolve();
        else reject(disconnected('the channel was lost before the broker confirmed a message', error, true));
      });
    } catch (error) {
      reject(disconnected('the channel is closed', error));
    }
  });
}

export function createPublisher(deps: ChannelDeps & { clock: Clock }): Publisher {
  const { clock, connection } = deps;
  const returned = new Set<string>();
  const known = new WeakMap<Session, Set<string>>();
  let unconfirmed = 0;

  const channels = superviseChannel<ConfirmChannel>({
    name: 'publish',
    open: (model) => model.createConfirmChannel(),
    async setup(channel) {
      returned.clear();
      channel.on('return', (message: Message) => {
        if (typeof message.properties.messageId === 'string') returned.add(message.properties.messageId);
      });
    },
  }, deps);

  async function ensureExchange(session: Session, plan: ExchangePlan): Promise<void> {
    const names = known.get(session) ?? new Set<string>();
    known.set(session, names);
    if (names.has(plan.name)) return;
    const exists = await connection.scratch(session, 'plain', async (channel) => {
      await channel.checkExchange(plan.name);
      return true;
    }).catch((error: unknown) => {
      if (replyCodeOf(error) === 404) return false;
      throw error;
    });
    if (!exists) {
      await connection.scratch(session, 'plain', (channel) =>
        channel.assertExchange(plan.name, plan.type, { durable: plan.durable, autoDelete: plan.autoDelete }));
    }
    // A fanout exchange goes with its last queue, so that we know it says nothing about later.
    if (!plan.autoDelete) names.add(plan.name);
  }

  async function publish(message: OutgoingMessage, signal: AbortSignal): Promise<'routed' | 'unroutable'> {
    if (unconfirmed >= MAX_UNCONFIRMED) {
      throw new AgentError('rpc-busy', `${MAX_UNCONFIRMED} messages wait for the broker already`, { retry: 'later' });
    }
    unconfirmed += 1;
    try {
      const session = await connection.waitWritable(signal);
      if (message.exchange !== null) await abortable(ensureExchange(session, message.exchange).catch(asDisconnected), signal);
      const channel = await channels.wait(signal);
      const outcome = confirmed(channel, message.exchange?.name ?? '', message.routingKey, message.body, propertiesOf(message))
        .then(() => (returned.delete(message.messageId) ? 'unroutable' as const : 'routed' as const));
      return await abortable(outcome, signal);
    } finally {
      unconfirmed -= 1;
    }
  }

  return {
    publish,
    ensureExchange,
    async publishUntilRouted(message, signal) {
      while ((await publish(message(), signal)) === 'unroutable') await clock.sleep(UNROUTABLE_RETRY_MS, signal);
    },
    async publishFanout(exchange, message, signal) {
      const session = await connection.waitWritable(signal);
      // A channel of its own: a fanout exchange that nobody listens to does not exist, and publishing to it closes the channel.
      const sending = connection.scratch(session, 'confirm', async (channel) => {
        await channel.checkExchange(exchange);
        await confirmed(channel as ConfirmChannel, exchange, '', message.body, propertiesOf({ ...message, mandatory: false }));
      }).catch((error: unknown) => {
        if (replyCodeOf(error) !== 404) return asDisconnected(error);
        deps.log.debug({ exchange }, 'fanout that nobody listens to');
      });
      await abortable(sending, signal);
    },
    rebuild: channels.rebuild,
    close: channels.close,
  };
}

