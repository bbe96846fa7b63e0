/**
 * The serving side. One message's way:
 *
 *   delivered ─▶ parsed ─▶ method found ─▶ admitted (journalled) ─▶ acknowledged ─▶ handled ─▶ answered (calls)
 *        │ malformed: ack, log    │ refused: ack, answer    │ duplicate: ack    │
 *        │                        │                         │ accept failed: wait, give back to the broker
 *
 * What was not admitted stays with the broker: if we die, or lose the channel, it is delivered again. What was admitted is ours:
 * losing the channel before the acknowledgement makes a second copy, which admission drops. Order of arrival is kept up to the journal.
 */
import type { Channel, ConsumeMessage } from 'amqplib';
import { Semaphore } from 'async-mutex'; // fair, tiny, no dependencies
import { abortable } from '../lib/abort.js';
import { fullJitter } from '../lib/backoff.js';
import { withTimeout, type Clock } from '../lib/clock.js';
import { AgentError, wireFaultOf } from '../lib/errors.js';
import type { Logger } from '../observe/index.js';
import { createAdmissionDesk } from './admission.js';
import { superviseChannel, type ChannelDeps, type SupervisedChannel } from './channels.js';
import { checkEndpoints, findMethod } from './dispatcher.js';
import { hexId, parseRequest, unwrap, type IncomingRequest } from './envelope.js';
import type { Publisher } from './publisher.js';
import { createReplier } from './replier.js';
import { declareQueue, serverQueues, type TopologyOptions } from './topology.js';
import type { RpcEndpoint, RpcMethod, RpcServer, WireMessage } from './types.js';

export interface ServerDeps extends ChannelDeps {
  readonly publisher: Publisher;
  readonly topology: TopologyOptions;
  readonly clock: Clock;
  readonly exchange: string;
  readonly host: string;
  readonly topics: readonly string[];
  readonly endpoints: readonly RpcEndpoint[];
  /** Deliveries that may be unacknowledged at once. */
  readonly prefetch: number;
  /** Messages that may be handled at once; more wait unacknowledged. */
  readonly maxInFlight: number;
}

export interface SupervisedServer extends RpcServer {
  readonly isSaturated: boolean;
  rebuild(reason: string): void;
  close(): Promise<void>;
}

const REMEMBERED_IDS = 4096;

type Found = { readonly method: RpcMethod } | { readonly refusal: unknown };

export function createRpcServer(deps: ServerDeps): SupervisedServer {
  const { clock, connection, log, metrics, publisher } = deps;
  checkEndpoints(deps.endpoints);
  const desk = createAdmissionDesk({ remembered: REMEMBERED_IDS });
  const replier = createReplier(deps);
  const slots = new Semaphore(deps.maxInFlight);
  const giveBack = fullJitter({ baseMs: 1_000, maxMs: 30_000, random: deps.random });
  const fanoutQueues = new Map(deps.topics.map((topic) => [topic, `${topic}_fanout_${hexId()}`]));
  const stopped = new Set<string>();
  const consumerTags = new Map<string, string[]>();
  const idle = new Set<() => void>();
  let inFlight = 0;
  let channels: SupervisedChannel<Channel> | undefined;

  function find(request: IncomingRequest): Found {
    try {
      return { method: findMethod(deps.endpoints, request) };
    } catch (refusal) {
      return { refusal };
    }
  }

  function acknowledge(channel: Channel, delivery: ConsumeMessage): void {
    try {
      channel.ack(delivery);
    } catch (error) {
      log.debug({ err: error }, 'channel went before the acknowledgement; the second copy will be dropped');
    }
  }

  async function refuseForNow(channel: Channel, delivery: ConsumeMessage, error: unknown, rpc: string): Promise<void> {
    metrics.count('agent_rpc_accept_failures_total');
    log.error({ err: error, rpc }, 'message could not be journalled; it goes back to the broker');
    await clock.sleep(giveBack.next(), connection.closing).catch(() => undefined);
    try {
      channel.nack(delivery, false, true);
    } catch (lost) {
      log.debug({ err: lost }, 'channel went before the message was given back; the broker does it');
    }
  }

  async function run(request: IncomingRequest, found: Found): Promise<void> {
    const { message, replyTo } = request;
    const began = clock.monotonicMs();
    const life = replyTo === null ? undefined : replier.keepAlive(replyTo);
    try {
      if (!('method' in found)) throw found.refusal;
      const result = await found.method.handle(message);
      life?.end();
      metrics.observe('agent_rpc_handle_seconds', (clock.monotonicMs() - began) / 1000, { rpc: message.method });
      if (replyTo !== null) await replier.succeed(replyTo, message.method, result);
    } catch (error) {
      life?.end();
      metrics.count('agent_rpc_failures_total');
      logFailure(log.child({ rpc: message.method, req: message.context.requestId }), error, message.isCall);
      if (replyTo !== null) await replier.fail(replyTo, message.method, error);
    } finally {
      life?.end();
    }
  }

  async function take(channel: Channel, delivery: ConsumeMessage): Promise<void> {
    let request: IncomingRequest;
    try {
      request = parseRequest(unwrap(delivery.content));
    } catch (error) {
      acknowledge(channel, delivery);
      metrics.count('agent_rpc_malformed_total');
      return log.warn({ err: error, bytes: delivery.content.length, routingKey: delivery.fields.routingKey }, 'malformed message dropped');
    }
    const found = find(request);
    let admission;
    try {
      admission = await desk.admit(request.message, 'method' in found ? found.method : undefined);
    } catch (error) {
      return refuseForNow(channel, delivery, error, request.message.method);
    }
    giveBack.reset();
    acknowledge(channel, delivery);
    if (admission === 'duplicate') return log.info({ rpc: request.message.method, req: request.message.context.requestId }, 'message came again; dropped');
    await run(request, found);
  }

  function onDelivery(channel: Channel, delivery: ConsumeMessage): void {
    metrics.count('agent_rpc_messages_total');
    slots.runExclusive(() => counted(() => take(channel, delivery)))
      .catch((error: unknown) => log.error({ err: error }, 'message handling failed'));
  }

  async function counted<T>(work: () => Promise<T>): Promise<T> {
    inFlight += 1;
    metrics.gauge('agent_rpc_in_flight', inFlight);
    try {
      return await work();
    } finally {
      inFlight -= 1;
      metrics.gauge('agent_rpc_in_flight', inFlight);
      if (inFlight === 0) [...idle].forEach((resolve) => resolve());
    }
  }

  const consume = (): SupervisedChannel<Channel> => superviseChannel<Channel>({
    name: 'serve',
    open: (model) => model.createChannel(),
    async setup(channel, session, rebuild) {
      consumerTags.clear();
      await channel.prefetch(deps.prefetch); // for each consumer
      for (const topic of deps.topics.filter((name) => !stopped.has(name))) {
        const queues = serverQueues(deps.topology, { exchange: deps.exchange, topic, host: deps.host, fanoutQueue: fanoutQueues.get(topic)! });
        for (const queue of queues) {
          await declareQueue(channel, queue, {
            brokerVersion: session.brokerVersion, connectionFailure: session.failure, ensureExchange: (plan) => publisher.ensureExchange(session, plan),
          });
          const { consumerTag } = await channel.consume(queue.name, (delivery) => {
            if (delivery === null) rebuild(`the consumer of ${queue.name} was cancelled`);
            else onDelivery(channel, delivery);
          });
          consumerTags.set(topic, [...(consumerTags.get(topic) ?? []), consumerTag]);
        }
      }
      for (const topic of stopped) await cancel(channel, topic); // stopped while we set up
      log.info({ topics: deps.topics.filter((name) => !stopped.has(name)) }, 'consuming');
    },
  }, deps);

  async function cancel(channel: Channel, topic: string): Promise<void> {
    const tags = consumerTags.get(topic) ?? [];
    consumerTags.delete(topic);
    // If the channel is gone there is nothing to cancel, and the next one does not consume a stopped topic.
    for (const tag of tags) await withTimeout(clock, 2_000, 'stopping a consumer', () => channel.cancel(tag)).catch(() => undefined);
  }

  async function stop(topics: readonly string[] = deps.topics): Promise<void> {
    for (const topic of topics) stopped.add(topic);
    const channel = channels?.current();
    if (channel !== undefined) for (const topic of topics) await cancel(channel, topic);
  }

  return {
    get inFlight() {
      return inFlight;
    },
    get isSaturated() {
      return slots.isLocked();
    },
    async start() {
      channels ??= consume();
      await channels.wait(connection.closing);
    },
    stop,
    async drained(signal) {
      if (inFlight === 0) return;
      let resolveIdle = (): void => undefined;
      const empty = new Promise<void>((resolve) => {
        resolveIdle = resolve;
        idle.add(resolve);
      });
      await abortable(empty, signal).finally(() => idle.delete(resolveIdle));
    },
    async dispatch(wire: WireMessage) {
      const request = parseRequest(wire);
      const method = findMethod(deps.endpoints, request);
      return counted(() => method.handle(request.message));
    },
    rebuild: (reason) => channels?.rebuild(reason),
    async close() {
      await stop();
      const channel = channels?.current();
      for (const queue of channel === undefined ? [] : fanoutQueues.values()) {
        await withTimeout(clock, 2_000, 'deleting a fanout queue', () => channel!.deleteQueue(queue)).catch(() => undefined);
      }
      await channels?.close();
    },
  };
}

/** A refusal that the caller asked for is news of the caller, not of ours; a cast's failure is told to nobody else. */
function logFailure(log: Logger, error: unknown, isCall: boolean): void {
  if (isCall && wireFaultOf(error) !== undefined) log.info({ err: error }, 'refused');
  else if (error instanceof AgentError) log.warn({ err: error }, 'failed');
  else log.error({ err: error }, 'failed');
}
