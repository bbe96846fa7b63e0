/**
 * The exchanges and queues of wire.md section 1, and what to tell an operator when the broker refuses them. Planning is pure; a plan
 * depends only on the [oslo_messaging_rabbit] options, which must be those of the control plane: a queue that exists cannot be
 * declared with other arguments (406), and RabbitMQ from 4.3 on refuses transient queues that are not exclusive (541, which ends the
 * whole connection). Either way the error names the option to set.
 */
import type { Channel } from 'amqplib';
import { AgentError } from '../lib/errors.js';
import { isTransientQueueRefusal, replyCodeOf } from './broker-errors.js';

/** Names and meanings as in nova.conf's [oslo_messaging_rabbit]. */
export interface TopologyOptions {
  /** amqp_durable_queues */
  readonly durableQueues: boolean;
  /** amqp_auto_delete */
  readonly autoDelete: boolean;
  /** rabbit_quorum_queue: the topic queues. */
  readonly quorumQueue: boolean;
  /** rabbit_transient_quorum_queue: reply and fanout queues. */
  readonly transientQuorumQueue: boolean;
  /** rabbit_transient_queues_ttl */
  readonly transientQueuesTtlSeconds: number;
  /** rabbit_stream_fanout: not supported, see checkTopologyOptions. */
  readonly streamFanout: boolean;
  /** rabbit_ha_queues */
  readonly haQueues: boolean;
  /** rabbit_quorum_delivery_limit; 0 is none. */
  readonly quorumDeliveryLimit: number;
  /** rabbit_quorum_max_memory_length; 0 is none. */
  readonly quorumMaxMemoryLength: number;
  /** rabbit_quorum_max_memory_bytes; 0 is none. */
  readonly quorumMaxMemoryBytes: number;
}

/** oslo.messaging's defaults. */
export const defaultTopology: TopologyOptions = {
  durableQueues: false,
  autoDelete: false,
  quorumQueue: false,
  transientQuorumQueue: false,
  transientQueuesTtlSeconds: 1800,
  streamFanout: false,
  haQueues: false,
  quorumDeliveryLimit: 0,
  quorumMaxMemoryLength: 0,
  quorumMaxMemoryBytes: 0,
};

export interface ExchangePlan {
  readonly name: string;
  readonly type: 'topic' | 'fanout';
  readonly durable: boolean;
  readonly autoDelete: boolean;
}

export interface QueuePlan {
  readonly name: string;
  /** `topic` queues outlive us, `transient` ones (fanout, reply) are ours alone. */
  readonly role: 'topic' | 'transient';
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Null: the default exchange only. */
  readonly binding: { readonly exchange: ExchangePlan; readonly routingKey: string } | null;
}

/** Throws AgentError `rpc-topology-refused` for options that we cannot or RabbitMQ will not serve. */
export function checkTopologyOptions(options: TopologyOptions): void {
  const refuse = (reason: string): never => {
    throw new AgentError('rpc-topology-refused', `[oslo_messaging_rabbit]${reason}`);
  };
  if (options.streamFanout) refuse('rabbit_stream_fanout is not supported: set it to false here; compute services receive nothing by fanout');
  if (options.quorumQueue && options.haQueues) refuse('rabbit_quorum_queue and rabbit_ha_queues exclude each other: set one of them to false');
}

function queueArguments(options: TopologyOptions, isQuorum: boolean, isTransient: boolean): Record<string, unknown> {
  return {
    ...(options.haQueues ? { 'x-ha-policy': 'all' } : {}),
    ...(isQuorum ? { 'x-queue-type': 'quorum' } : {}),
    ...(isQuorum && options.quorumDeliveryLimit > 0 ? { 'x-delivery-limit': options.quorumDeliveryLimit } : {}),
    ...(isQuorum && options.quorumMaxMemoryLength > 0 ? { 'x-max-in-memory-length': options.quorumMaxMemoryLength } : {}),
    ...(isQuorum && options.quorumMaxMemoryBytes > 0 ? { 'x-max-in-memory-bytes': options.quorumMaxMemoryBytes } : {}),
    ...(isTransient && options.transientQueuesTtlSeconds > 0 ? { 'x-expires': options.transientQueuesTtlSeconds * 1000 } : {}),
  };
}

/** The control exchange ('nova', 'neutron'). */
export const topicExchange = (options: TopologyOptions, name: string): ExchangePlan => ({
  name, type: 'topic', durable: options.durableQueues || options.quorumQueue, autoDelete: options.autoDelete,
});

export const fanoutExchange = (options: TopologyOptions, topic: string): ExchangePlan => ({
  name: `${topic}_fanout`, type: 'fanout', durable: options.transientQuorumQueue, autoDelete: true,
});

/** A queue that outlives us, bound to the exchange by its own name. */
export function namedQueue(options: TopologyOptions, exchangeName: string, name: string): QueuePlan {
  const exchange = topicExchange(options, exchangeName);
  return {
    name, role: 'topic', durable: exchange.durable, autoDelete: options.autoDelete,
    arguments: queueArguments(options, options.quorumQueue, false), binding: { exchange, routingKey: name },
  };
}

/** The queues of one served topic: shared, of this host, and the fanout queue of that name. */
export function serverQueues(options: TopologyOptions, target: { exchange: string; topic: string; host: string; fanoutQueue: string }): readonly QueuePlan[] {
  return [
    namedQueue(options, target.exchange, target.topic),
    namedQueue(options, target.exchange, `${target.topic}.${target.host}`),
    { ...transientQueue(options, target.fanoutQueue), binding: { exchange: fanoutExchange(options, target.topic), routingKey: target.topic } },
  ];
}

const transientQueue = (options: TopologyOptions, name: string): QueuePlan => ({
  name, role: 'transient', durable: options.transientQuorumQueue, autoDelete: false,
  arguments: queueArguments(options, options.transientQuorumQueue, true), binding: null,
});

/** The one queue on which all our calls are answered. */
export const replyQueue = (options: TopologyOptions, name: string): QueuePlan => transientQueue(options, name);

/** Which option decides an argument of a queue; undefined: none that we know. */
function optionOf(argument: string, role: QueuePlan['role'] | 'exchange'): string | undefined {
  const isTransient = role === 'transient';
  const options: Record<string, string> = {
    durable: isTransient ? 'rabbit_transient_quorum_queue' : 'amqp_durable_queues (or rabbit_quorum_queue)',
    auto_delete: 'amqp_auto_delete',
    'x-queue-type': isTransient ? 'rabbit_transient_quorum_queue' : 'rabbit_quorum_queue',
    'x-expires': 'rabbit_transient_queues_ttl',
    'x-ha-policy': 'rabbit_ha_queues',
    'x-delivery-limit': 'rabbit_quorum_delivery_limit',
    'x-max-in-memory-length': 'rabbit_quorum_max_memory_length',
    'x-max-in-memory-bytes': 'rabbit_quorum_max_memory_bytes',
  };
  return options[argument];
}

/**
 * What a refused declaration means, or undefined if the error is none. `error` is the one of the channel, or of the connection when
 * that was closed. The result is AgentError `rpc-topology-refused`; its message names the option.
 */
export function topologyRefusal(error: unknown, thing: { kind: 'queue' | 'exchange'; name: string; role: QueuePlan['role'] | 'exchange' }, brokerVersion: string): AgentError | undefined {
  const code = replyCodeOf(error);
  const text = error instanceof Error ? error.message : '';
  const refusal = (reason: string, details: Record<string, unknown>): AgentError =>
    new AgentError('rpc-topology-refused', `the broker refuses the ${thing.kind} ${thing.name}: ${reason}`, { retry: 'later', cause: error, details });
  if (isTransientQueueRefusal(error)) {
    const option = thing.role === 'transient' ? 'rabbit_transient_quorum_queue=true' : 'rabbit_quorum_queue=true or amqp_durable_queues=true';
    return refusal(`RabbitMQ ${brokerVersion} has no transient queues any more; set [oslo_messaging_rabbit]${option}, as in the control plane's nova.conf`, { option });
  }
  if (code === 406) {
    const argument = /inequivalent arg '([^']+)'/.exec(text)?.[1] ?? 'unknown';
    const ours = /received (?:the value )?'([^']*)'/.exec(text)?.[1] ?? 'none';
    const theirs = /current is (?:the value )?'([^']*)'/.exec(text)?.[1] ?? 'none';
    const option = optionOf(argument, thing.role);
    const advice = option === undefined ? 'make the [oslo_messaging_rabbit] options equal to the control plane\'s' : `set [oslo_messaging_rabbit]${option} as in the control plane's nova.conf`;
    return refusal(`it exists with ${argument}=${theirs}, we ask for ${ours}; ${advice}, or delete the ${thing.kind}`, { option, argument, ours, theirs });
  }
  if (code === 405) return refusal('another connection owns it exclusively; delete the queue', {});
  if (code === 403) return refusal('the user of transport_url has no permission for it; grant configure, write and read', {});
  return undefined;
}

export interface DeclareOptions {
  readonly brokerVersion: string;
  /** Why the connection closed, if it did while we declared. */
  readonly connectionFailure: () => unknown;
  /** Makes an exchange if there is none of that name, however it was declared. */
  readonly ensureExchange: (plan: ExchangePlan) => Promise<void>;
}

/** Declares and binds. Throws AgentError `rpc-topology-refused`, or what amqplib throws. */
export async function declareQueue(channel: Channel, plan: QueuePlan, options: DeclareOptions): Promise<void> {
  const explain = async (thing: Parameters<typeof topologyRefusal>[1], work: Promise<unknown>): Promise<void> => {
    try {
      await work;
    } catch (error) {
      throw topologyRefusal(error, thing, options.brokerVersion) ?? topologyRefusal(options.connectionFailure(), thing, options.brokerVersion) ?? error;
    }
  };
  await explain({ kind: 'queue', name: plan.name, role: plan.role },
    channel.assertQueue(plan.name, { durable: plan.durable, autoDelete: plan.autoDelete, exclusive: false, arguments: plan.arguments }));
  if (plan.binding === null) return;
  const { exchange, routingKey } = plan.binding;
  if (exchange.type === 'fanout') {
    // Releases of oslo.messaging differ in its durability, and any will do to receive from.
    await options.ensureExchange(exchange);
  } else {
    // Strict: were we the first to declare it after a restart of the broker with other arguments, all other services would be refused.
    await explain({ kind: 'exchange', name: exchange.name, role: 'exchange' },
      channel.assertExchange(exchange.name, exchange.type, { durable: exchange.durable, autoDelete: exchange.autoDelete }));
  }
  await channel.bindQueue(plan.name, exchange.name, routingKey);
}
