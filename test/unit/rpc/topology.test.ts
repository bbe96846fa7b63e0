import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Channel } from 'amqplib';
import { expect, test } from 'vitest';
import { codeOf } from '../../../src/lib/errors.js';
import { connectionError } from '../../../src/rpc/broker-errors.js';
import { checkTopologyOptions, declareQueue, defaultTopology, fanoutExchange, replyQueue, serverQueues, topicExchange, topologyRefusal } from '../../../src/rpc/topology.js';

const target = { exchange: 'nova', topic: 'compute', host: 'fakea', fanoutQueue: 'compute_fanout_1' };
/** A closed channel or connection as amqplib reports it. */
const closed = (code: number, text: string): Error => Object.assign(new Error(`Channel closed by server: ${code} (X) with message "${text}"`), { code });

test('with oslo\'s defaults our queues are those that a Zed cloud was seen to have', () => {
  const recorded = readFileSync(join(import.meta.dirname, '../../samples/wire/zed/topology.txt'), 'utf8').split('\n').map((line) => line.split('\t'));
  const queue = (name: string): string[] | undefined => recorded.find(([first, ...rest]) => first!.replace(/_[0-9a-f]{32}$/, '') === name && rest.length === 6);
  for (const plan of [...serverQueues(defaultTopology, target), replyQueue(defaultTopology, 'reply')]) {
    const [, durable, autoDelete, exclusive, argumentsText] = queue(plan.name.replace(/_1$/, ''))!;
    expect([String(plan.durable), String(plan.autoDelete), 'false']).toEqual([durable, autoDelete, exclusive]);
    expect(JSON.stringify(Object.entries(plan.arguments).map(([key, value]) => `{"${key}",${String(value)}}`)).replaceAll(/\\?"/g, '')).toBe(argumentsText!.replaceAll('"', ''));
  }
  const exchange = (name: string): string[] | undefined => recorded.find(([first, type]) => first === name && (type === 'topic' || type === 'fanout'));
  expect(exchange('nova')!.slice(1, 4)).toEqual(['topic', String(topicExchange(defaultTopology, 'nova').durable), 'false']);
  expect(exchange('compute_fanout')!.slice(1, 4)).toEqual(['fanout', String(fanoutExchange(defaultTopology, 'compute').durable), String(fanoutExchange(defaultTopology, 'compute').autoDelete)]);
});

test('each option changes the queues that it is for, and no others', () => {
  const durability = (options: Partial<typeof defaultTopology>): boolean[] => [...serverQueues({ ...defaultTopology, ...options }, target), replyQueue({ ...defaultTopology, ...options }, 'r')].map(({ durable }) => durable);
  expect(durability({})).toEqual([false, false, false, false]);
  expect(durability({ durableQueues: true })).toEqual([true, true, false, false]);
  expect(durability({ quorumQueue: true })).toEqual([true, true, false, false]);
  expect(durability({ transientQuorumQueue: true })).toEqual([false, false, true, true]);
  const types = serverQueues({ ...defaultTopology, quorumQueue: true, transientQuorumQueue: true, transientQueuesTtlSeconds: 60 }, target).map((plan) => plan.arguments);
  expect(types).toEqual([{ 'x-queue-type': 'quorum' }, { 'x-queue-type': 'quorum' }, { 'x-queue-type': 'quorum', 'x-expires': 60_000 }]);
  expect(serverQueues(defaultTopology, target).map((plan) => plan.binding?.routingKey)).toEqual(['compute', 'compute.fakea', 'compute']);
});

test('options that cannot work are refused by name before anything is dialled', () => {
  const refused = (options: Partial<typeof defaultTopology>): string => {
    try {
      checkTopologyOptions({ ...defaultTopology, ...options });
      return 'accepted';
    } catch (error) {
      return `${String(codeOf(error))} ${String(error)}`;
    }
  };
  expect(refused({})).toBe('accepted');
  expect(refused({ streamFanout: true })).toMatch(/rpc-topology-refused .*rabbit_stream_fanout/);
  expect(refused({ quorumQueue: true, haQueues: true })).toMatch(/rpc-topology-refused .*rabbit_quorum_queue.*rabbit_ha_queues/);
});

const queue = (role: 'topic' | 'transient'): { kind: 'queue'; name: string; role: 'topic' | 'transient' } => ({ kind: 'queue', name: 'q', role });

// The texts are RabbitMQ's: 3.10.8 for 406, 4.3 for 541 (rabbit_deprecated_features, default message).
test.each([
  ['topic', "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'compute.h' in vhost '/': received 'false' but current is 'true'", 'amqp_durable_queues'],
  ['transient', "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'reply_1' in vhost '/': received 'true' but current is 'false'", 'rabbit_transient_quorum_queue'],
  ['topic', "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'compute' in vhost '/': received none but current is the value 'quorum' of type 'longstr'", 'rabbit_quorum_queue'],
  ['topic', "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'compute' in vhost '/': received 'true' but current is 'false'", 'amqp_auto_delete'],
  ['transient', "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'reply_1' in vhost '/': received the value '60000' of type 'signedint' but current is the value '1800000' of type 'signedint'", 'rabbit_transient_queues_ttl'],
] as const)('a refused %s queue names the option (%s)', (role, text, option) => {
  const refusal = topologyRefusal(closed(406, text), queue(role), '3.10.8');
  expect(refusal).toMatchObject({ code: 'rpc-topology-refused' });
  expect(refusal!.message).toContain(`[oslo_messaging_rabbit]${option}`);
  expect(refusal!.details['ours']).not.toBe(refusal!.details['theirs']);
});

test('a broker without transient queues says which option makes them durable', () => {
  const error = closed(541, 'INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\nBy default, this feature is not permitted.');
  expect(topologyRefusal(error, queue('topic'), '4.3.0')?.message).toMatch(/RabbitMQ 4\.3\.0.*rabbit_quorum_queue=true or amqp_durable_queues=true/);
  expect(topologyRefusal(error, queue('transient'), '4.3.0')?.message).toContain('rabbit_transient_quorum_queue=true');
});

test('when the refusal comes as the end of the connection, the queue that caused it is still named', async () => {
  // amqplib rejects what was asked on a channel whose connection ended with this text only.
  const channel = { assertQueue: () => Promise.reject(new Error('Channel ended, no reply will be forthcoming')) } as unknown as Channel;
  const failure = closed(541, 'INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.');
  const declare = (connectionFailure: () => unknown): Promise<void> => declareQueue(channel, replyQueue(defaultTopology, 'reply_1'), {
    brokerVersion: '4.3.0', connectionFailure, ensureExchange: async () => undefined,
  });
  await expect(declare(() => failure)).rejects.toMatchObject({ code: 'rpc-topology-refused', message: expect.stringMatching(/reply_1.*rabbit_transient_quorum_queue=true/) as string });
  await expect(declare(() => undefined)).rejects.toThrow('Channel ended');
  expect(connectionError('h:5672', failure)).toMatchObject({ code: 'rpc-topology-refused' });
});

test('other errors are no refusals', () => {
  for (const error of [closed(404, 'NOT_FOUND'), closed(541, 'INTERNAL_ERROR'), closed(320, 'CONNECTION_FORCED'), new Error('socket'), undefined]) {
    expect(topologyRefusal(error, queue('topic'), '3.10.8')).toBeUndefined();
  }
});

// amqplib 2.3.1's texts for a refused login and virtual host.
test.each([
  ['Handshake terminated by server: 403 (ACCESS-REFUSED) with message "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."', 'rpc-access-refused'],
  ['Expected ConnectionOpenOk; got <ConnectionClose channel:0>', 'rpc-access-refused'],
  ['connect ECONNREFUSED 127.0.0.1:1', 'rpc-disconnected'],
  ['Heartbeat timeout', 'rpc-disconnected'],
])('%s is %s', (text, code) => {
  expect(connectionError('h:5672', new Error(text))).toMatchObject({ code, retry: 'later' });
});
