/**
 * The calling side. One reply queue serves all calls of the process; an answer finds its call by `_msg_id`.
 *
 *   waiting for broker and reply queue ─▶ sent ─▶ (still alive)* ─▶ answered
 *            │                              │
 *            └ limit: rpc-disconnected      ├ limit: rpc-timeout, monitor: rpc-timeout
 *                                           └ reply queue or connection lost: rpc-disconnected
 *
 * A call that was not sent yet outlives a reconnect; one that was sent does not: its answer may have gone with the old reply queue, so
 * the caller, who knows whether it may be repeated, is told at once. Requests that no queue wants are sent again until the limit.
 */
import type { Channel, ConsumeMessage } from 'amqplib';
import { abortable, reasonOf } from '../lib/abort.js';
import { withTimeout, type Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import { disconnected } from './broker-errors.js';
import { superviseChannel, type ChannelDeps } from './channels.js';
import type { RequestContext } from './context.js';
import { hexId, parseReply, renderRequest, unwrap, wrap, type IncomingReply, type ReplyAddress } from './envelope.js';
import { decodeFailure } from './failure.js';
import type { OutgoingMessage, Publisher } from './publisher.js';
import { declareQueue, fanoutExchange, replyQueue, topicExchange, type TopologyOptions } from './topology.js';
import type { RpcCallOptions, RpcClient, RpcTarget } from './types.js';

export interface ClientDeps extends ChannelDeps {
  readonly publisher: Publisher;
  readonly topology: TopologyOptions;
  /** Where targets without an exchange go. */
  readonly exchange: string;
  /** rpc_response_timeout */
  readonly responseTimeoutMs: number;
  readonly clock: Clock;
}

export interface SupervisedClient extends RpcClient {
  rebuild(reason: string): void;
  close(): Promise<void>;
}

interface Waiter {
  isSent: boolean;
  /** A result that came before the ending, as old servers send it. */
  early: unknown;
  alive(): void;
  succeed(result: unknown): void;
  fail(error: Error): void;
}

const MAX_CALLS = 1024;
const CAST_LIMIT_MS = 60_000;

const describe = (target: RpcTarget, method: string): string =>
  `${method} of ${target.topic}${target.server === undefined ? '' : `.${target.server}`}`;

const routingKeyOf = (target: RpcTarget): string => (target.server === undefined ? target.topic : `${target.topic}.${target.server}`);

/** A signal that fires with `reason` after `ms`, or with the parent. */
function deadline(clock: Clock, ms: number, reason: () => Error, parent?: AbortSignal): { signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const onParent = (): void => controller.abort(reasonOf(parent));
  const timer = clock.after(ms, () => controller.abort(reason()));
  if (parent?.aborted === true) onParent();
  parent?.addEventListener('abort', onParent, { once: true });
  return {
    signal: controller.signal,
    end() {
      timer.cancel();
      parent?.removeEventListener('abort', onParent);
      // Whatever still runs for it stops.
      controller.abort(new AgentError('aborted', 'the call is over'));
    },
  };
}

/** Ends the call when the other side is silent for `ms`; renewed by every sign of life. */
function monitor(clock: Clock, ms: number, expire: () => void): { renew(): void; end(): void } {
  let timer = clock.after(ms, expire);
  return {
    renew() {
      timer.cancel();
      timer = clock.after(ms, expire);
    },
    end: () => timer.cancel(),
  };
}

export function createRpcClient(deps: ClientDeps): SupervisedClient {
  const { clock, connection, log, metrics, publisher, topology } = deps;
  const waiters = new Map<string, Waiter>();
  const queueName = `reply_${hexId()}`;

  function onReply(reply: IncomingReply): void {
    const waiter = waiters.get(reply.callId);
    if (waiter === undefined) return log.debug({ callId: reply.callId }, 'reply that nobody waits for');
    if (reply.failure !== null) return waiter.fail(decodeFailure(reply.failure));
    if (reply.result !== null) waiter.early = reply.result;
    if (reply.isEnding) waiter.succeed(waiter.early ?? null);
    else waiter.alive();
  }

  const replies = superviseChannel<Channel>({
    name: 'replies',
    open: (model) => model.createChannel(),
    async setup(channel, session, rebuild) {
      await declareQueue(channel, replyQueue(topology, queueName),
        { brokerVersion: session.brokerVersion, connectionFailure: session.failure, ensureExchange: (plan) => publisher.ensureExchange(session, plan) });
      const onMessage = (message: ConsumeMessage | null): void => {
        // Deleted by an operator, or expired while we were away.
        if (message === null) return rebuild('the reply queue was deleted');
        try {
          onReply(parseReply(unwrap(message.content)));
        } catch (error) {
          log.warn({ err: error, bytes: message.content.length }, 'malformed reply dropped');
        }
      };
      // Without acknowledgements: whoever waits for the answer is gone when we are.
      await channel.consume(queueName, onMessage, { noAck: true });
    },
    lost(reason) {
      for (const waiter of [...waiters.values()]) if (waiter.isSent) waiter.fail(reason);
    },
  }, deps);

  async function call(target: RpcTarget, method: string, args: Readonly<Record<string, unknown>>, context: RequestContext, options: RpcCallOptions = {}): Promise<unknown> {
    if (waiters.size >= MAX_CALLS) throw new AgentError('rpc-busy', `${MAX_CALLS} calls wait for an answer already`, { retry: 'later' });
    const timeoutMs = options.timeoutMs ?? deps.responseTimeoutMs;
    const what = describe(target, method);
    const began = clock.monotonicMs();
    const callId = hexId();
    const silent = (ms: number): AgentError => new AgentError('rpc-timeout', `no answer to ${what} within ${ms} ms`, { retry: 'later', details: { method, topic: target.topic } });
    const limit = deadline(clock, timeoutMs, () => (waiter.isSent ? silent(timeoutMs) : disconnected(`${what} could not be sent within ${timeoutMs} ms`)), options.signal);
    let listener = { renew: (): void => undefined, end: (): void => undefined };
    const waiter: Waiter = { isSent: false, early: undefined, alive: () => listener.renew(), succeed: () => undefined, fail: () => undefined };
    const answer = new Promise<unknown>((resolve, reject) => {
      waiter.succeed = resolve;
      waiter.fail = reject;
    });
    answer.catch(() => undefined); // It may fail while we still send; the await below reports it.
    waiters.set(callId, waiter);
    const request = requestMessage(target, method, args, context, { queue: queueName, callId, monitorMs: options.monitorMs ?? null });
    const message = (): OutgoingMessage => ({ ...request, expirationMs: timeoutMs - (clock.monotonicMs() - began) });
    try {
      await replies.wait(limit.signal);
      waiter.isSent = true;
      if (options.monitorMs !== undefined) {
        const monitorMs = options.monitorMs;
        listener = monitor(clock, monitorMs, () => waiter.fail(silent(monitorMs)));
      }
      await Promise.race([publisher.publishUntilRouted(message, limit.signal), answer]);
      return await abortable(answer, limit.signal);
    } finally {
      limit.end();
      listener.end();
      waiters.delete(callId);
      metrics.gauge('agent_rpc_calls_waiting', waiters.size);
      metrics.observe('agent_rpc_call_seconds', (clock.monotonicMs() - began) / 1000, { topic: target.topic });
    }
  }

  function requestMessage(target: RpcTarget, method: string, args: Readonly<Record<string, unknown>>, context: RequestContext, replyTo?: ReplyAddress): OutgoingMessage {
    const messageId = hexId();
    const inner = renderRequest({
      method, args, version: target.version, context, messageId,
      ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
      ...(replyTo === undefined ? {} : { replyTo }),
    });
    return { exchange: topicExchange(topology, target.exchange ?? deps.exchange), routingKey: routingKeyOf(target), body: wrap(inner), messageId, mandatory: true };
  }

  async function cast(target: RpcTarget, method: string, args: Readonly<Record<string, unknown>>, context: RequestContext): Promise<void> {
    const message = requestMessage(target, method, args, context);
    const reason = `${describe(target, method)} could not be delivered within ${CAST_LIMIT_MS} ms`;
    const unsent = (): AgentError => (connection.state().connected
      ? new AgentError('rpc-timeout', reason, { retry: 'later', details: { method, topic: target.topic } }) : disconnected(reason));
    const limit = deadline(clock, CAST_LIMIT_MS, unsent);
    try {
      if (target.fanout === true) await publisher.publishFanout(fanoutExchange(topology, target.topic).name, message, limit.signal);
      else await publisher.publishUntilRouted(() => message, limit.signal);
    } finally {
      limit.end();
    }
  }

  async function deleteReplyQueue(): Promise<void> {
    // Politeness only: the broker expires it anyway.
    const channel = replies.current();
    if (channel !== undefined) await withTimeout(clock, 2_000, 'deleting the reply queue', () => channel.deleteQueue(queueName)).catch(() => undefined);
  }

  return {
    call,
    cast,
    rebuild: replies.rebuild,
    async close() {
      await deleteReplyQueue();
      await replies.close();
      for (const waiter of [...waiters.values()]) waiter.fail(disconnected('the agent stops'));
    },
  };
}
