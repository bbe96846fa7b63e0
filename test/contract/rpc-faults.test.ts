/** What happens to messages and calls when the broker, a channel, a queue or the other side fails; against a real RabbitMQ of our own. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { adminContext, type Rpc, type RpcOptions } from '../../src/rpc/index.js';
import { startRabbit, type Rabbit } from '../fakes/rabbitmq.js';
import { createRpcNode, type RpcNode } from '../fakes/rpc-node.js';
import { waitUntil } from '../fakes/wait-until.js';

const WARN = 40;
const ERROR = 50;
let rabbit: Rabbit;
const open: Rpc[] = [];

beforeAll(async () => { rabbit = await startRabbit(); }, 120_000);
afterAll(() => rabbit?.destroy());
afterEach(async () => {
  await Promise.all(open.splice(0).map((rpc) => rpc.close()));
});

function create(host: string, options: Partial<RpcOptions> = {}): RpcNode {
  const node = createRpcNode({ transportUrl: rabbit.transportUrl, host, ...options });
  open.push(node.rpc);
  return node;
}
async function serving(host: string, options: Partial<RpcOptions> = {}): Promise<RpcNode> {
  const node = create(host, options);
  await node.server.start();
  return node;
}
const at = (server: string): { topic: string; server: string; version: string } => ({ topic: 'compute', server, version: '6.0' });
function call(node: RpcNode, server: string, method: string, args = {}, timeoutMs = 20_000): Promise<unknown> {
  const answer = node.rpc.client.call(at(server), method, args, adminContext(), { timeoutMs });
  answer.catch(() => undefined); // it may fail before the test looks
  return answer;
}
const note = (node: RpcNode, server: string, args = {}): Promise<void> => node.rpc.client.cast(at(server), 'note', args, adminContext());
const queueNames = async (): Promise<string[]> => (await rabbit.ctl('list_queues', '-p', rabbit.virtualHost, '--no-table-headers', 'name')).split('\n').filter((line) => line !== '');
const envelope = (inner: object): Buffer => Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(inner) }));
const publishRaw = (queue: string, ...bodies: Buffer[]): Promise<void> => rabbit.admin(async (channel) => {
  for (const body of bodies) channel.sendToQueue(queue, body);
  await channel.checkQueue(queue); // an answer: the broker has read all that came before
});

test('a broker that dies fails calls in flight, and everything works again when it is back', async () => {
  const node = await serving('h1');
  const inFlight = call(node, 'h1', 'work');
  await waitUntil(() => node.handled.length === 1, 'the call is being handled');
  await rabbit.kill();
  await expect(inFlight).rejects.toMatchObject({ code: 'rpc-disconnected', retry: 'later' });
  await waitUntil(() => !node.rpc.health().connected, 'the loss is seen');
  const patient = call(node, 'h1', 'echo', { sent: 'while the broker was away' }, 60_000);
  await rabbit.start();
  expect(await patient).toEqual({ sent: 'while the broker was away' });
  node.finish();
  await note(node, 'h1', { after: true });
  await waitUntil(() => node.handled.some(({ args }) => args['after'] === true), 'casts arrive again');
  await waitUntil(() => node.rpc.health().callable, 'callable again');
  expect(node.lines(ERROR)).toEqual([]);
});

test('a frozen broker is noticed by its missing heartbeats, and a call in flight is told', async () => {
  const node = await serving('h2', { heartbeatSeconds: 1 });
  const inFlight = call(node, 'h2', 'work');
  await waitUntil(() => node.handled.length === 1, 'the call is being handled');
  rabbit.freeze();
  try {
    await expect(inFlight).rejects.toMatchObject({ code: 'rpc-disconnected' });
    expect(node.rpc.health()).toMatchObject({ connected: false, callable: false });
  } finally {
    rabbit.thaw();
  }
  expect(await call(node, 'h2', 'echo', { a: 1 })).toEqual({ a: 1 });
});

test('a deleted queue is declared again and serves again', async () => {
  const node = await serving('h3');
  await rabbit.admin((channel) => channel.deleteQueue('compute.h3'));
  await note(node, 'h3', { n: 1 });
  await waitUntil(() => node.handled.length === 1, 'the cast after the deletion arrives');
  expect(node.lines(WARN).map((line) => line['msg'])).toEqual(['channel lost']);
});

test('a deleted reply queue fails the calls that wait on it and not the next one', async () => {
  const node = await serving('h4');
  const inFlight = call(node, 'h4', 'work');
  await waitUntil(() => node.handled.length === 1, 'the call is being handled');
  const replyQueue = String(node.handled[0]!.wire['_reply_q']);
  await rabbit.admin((channel) => channel.deleteQueue(replyQueue));
  await expect(inFlight).rejects.toMatchObject({ code: 'rpc-disconnected' });
  expect(await call(node, 'h4', 'echo', { b: 2 })).toEqual({ b: 2 });
});

test('a declaration that the broker refuses harms no other call', async () => {
  const node = await serving('h5');
  const inFlight = call(node, 'h5', 'work');
  await waitUntil(() => node.handled.length === 1, 'the call is being handled');
  // Names beginning with amq. are reserved: declaring such an exchange closes the channel that tries.
  await expect(node.rpc.client.call({ ...at('h5'), exchange: 'amq.reserved' }, 'echo', {}, adminContext(), { timeoutMs: 5_000 })).rejects.toMatchObject({ code: 'rpc-disconnected' });
  node.finish();
  expect(await inFlight).toBe('worked');
});

test('a message redelivered after its channel was lost has one effect', async () => {
  const node = await serving('h6');
  let admit = (): void => undefined;
  node.accepting = () => new Promise((resolve) => { admit = () => resolve('new'); });
  await note(node, 'h6', { once: true });
  await waitUntil(() => node.asked.length === 1, 'the first copy is being journalled');
  const before = consumings(node);
  await rabbit.admin((channel) => channel.deleteQueue('compute-alt.h6')); // the channel is rebuilt, what is unacknowledged comes again
  await waitUntil(() => consumings(node) > before, 'consuming again');
  admit();
  await waitUntil(() => node.lines().some((line) => line['msg'] === 'message came again; dropped'), 'the second copy is dropped');
  expect(node.handled).toHaveLength(1);
  expect(node.asked).toHaveLength(1);
});

const consumings = (node: RpcNode): number => node.lines().filter((line) => line['msg'] === 'consuming').length;

test('a repeated _unique_id has one effect, and what the journal knows already has none', async () => {
  const node = await serving('h7');
  const message = (id: string): Buffer => envelope({ method: 'note', args: { id }, version: '6.0', _unique_id: id });
  await publishRaw('compute.h7', message('a'), message('a'), message('b'));
  await waitUntil(() => node.handled.length === 2, 'both messages are handled');
  node.accepting = async () => 'duplicate';
  await publishRaw('compute.h7', message('c'), message('a'));
  await waitUntil(() => node.lines().filter((line) => line['msg'] === 'message came again; dropped').length === 3, 'three copies are dropped');
  expect(node.handled.map(({ args }) => args['id'])).toEqual(['a', 'b']);
});

test('a message that cannot be journalled goes back to the broker and is handled once later', async () => {
  const node = await serving('h8', { random: () => 0.01 });
  let failures = 2;
  node.accepting = async () => {
    if (failures-- > 0) throw new Error('disk full');
    return 'new';
  };
  await note(node, 'h8', { patient: true });
  await waitUntil(() => node.handled.length === 1, 'it is handled in the end');
  expect(node.asked).toHaveLength(3);
  expect(node.lines(ERROR)).toHaveLength(2);
});

test('malformed messages are dropped with a line that does not quote them, and do not come again', async () => {
  const node = await serving('h9');
  const bodies = ['', 'secret-1', '{"oslo.version": "2.0", "oslo.message": "secret-2"}', '[]', '{"oslo.version": "3.0", "oslo.message": "{}"}', '{"oslo.version": "2.0", "oslo.message": "{\\"method\\": 7}"}'];
  await publishRaw('compute.h9', ...bodies.map((body) => Buffer.from(body)));
  await note(node, 'h9');
  await waitUntil(() => node.handled.length === 1, 'the good one behind them arrives');
  const lines = node.lines(WARN);
  expect(lines.map((line) => line['msg'])).toEqual(bodies.map(() => 'malformed message dropped'));
  expect(JSON.stringify(node.lines())).not.toContain('secret');
});

test('messages for one host are journalled in the order of their arrival', async () => {
  const node = await serving('h10');
  const order: unknown[] = [];
  node.accepting = async ({ args }) => {
    // The first is the slowest; without the queue in front of the journal it would be last.
    for (let turn = 0; turn < 20 - Number(args['n']); turn += 1) await Promise.resolve();
    order.push(args['n']);
    return 'new';
  };
  await publishRaw('compute.h10', ...Array.from({ length: 20 }, (_, n) => envelope({ method: 'note', args: { n }, version: '6.0', _unique_id: `o${n}` })));
  await waitUntil(() => order.length === 20, 'all are journalled');
  expect(order).toEqual(Array.from({ length: 20 }, (_, n) => n));
});

test('what nobody consumes yet is delivered when somebody does, and is not lost silently', async () => {
  const caller = create('h26');
  const answer = call(caller, 'h27', 'echo', { early: true });
  const noted = note(caller, 'h27', { early: true });
  await expect(call(caller, 'h28', 'echo', {}, 400)).rejects.toMatchObject({ code: 'rpc-timeout' });
  const late = await serving('h27');
  expect(await answer).toEqual({ early: true });
  await noted;
  await waitUntil(() => late.handled.length === 1, 'the cast arrives too');
});

test('a broker without memory stops nothing for good: the call waits and goes on', async () => {
  const node = await serving('h11');
  await rabbit.ctl('set_vm_memory_high_watermark', '0.00001');
  try {
    // The broker tells a connection only when that publishes.
    const waiting = call(node, 'h11', 'echo', { c: 3 }, 60_000);
    await waitUntil(() => !node.rpc.health().connected, 'health says so');
    expect(node.rpc.health().reason).toContain('memory or disk');
    await rabbit.ctl('set_vm_memory_high_watermark', 'absolute', '1GB');
    expect(await waiting).toEqual({ c: 3 });
  } finally {
    await rabbit.ctl('set_vm_memory_high_watermark', 'absolute', '1GB');
  }
  await waitUntil(() => node.rpc.health().callable, 'callable again');
  expect(consumings(node)).toBe(1);
});

test('a lost binding, which nothing else shows, is mended because our own ping does not come back', async () => {
  const node = await serving('h12', { reportIntervalMs: 200 });
  await waitUntil(() => node.rpc.health().callable, 'callable');
  await rabbit.admin((channel) => channel.unbindQueue('compute.h12', 'nova', 'compute.h12'));
  await waitUntil(() => !node.rpc.health().callable, 'not callable');
  await waitUntil(() => node.rpc.health().callable, 'callable again');
  expect(node.lines(WARN).map((line) => line['msg'])).toContain('rebuilding the channels');
  expect(node.lines(WARN).map((line) => line['msg'])).not.toContain('reconnecting');
});

test('a queue that exists with other arguments is refused in one line that names the option', async () => {
  await rabbit.admin((channel) => channel.assertQueue('compute.h13', { durable: true }));
  const node = create('h13');
  const start = node.server.start();
  start.catch(() => undefined);
  const refusals = (): Record<string, unknown>[] => node.lines(ERROR);
  await waitUntil(() => refusals().length > 0, 'the refusal is logged');
  await waitUntil(() => node.lines().filter((line) => line['msg'] === 'channel lost').length >= 3, 'it was tried again');
  expect(refusals()).toHaveLength(1);
  expect(refusals()[0]).toMatchObject({ err: { code: 'rpc-topology-refused' } });
  expect(JSON.stringify(refusals()[0])).toContain('amqp_durable_queues');
  // It is not a dead end: the operator deletes the queue, and the next try succeeds.
  await rabbit.admin((channel) => channel.deleteQueue('compute.h13'));
  await start;
  expect(await call(node, 'h13', 'echo', { d: 4 })).toEqual({ d: 4 });
});

test('quorum queues serve calls, casts and replies', async () => {
  const topology = { quorumQueue: true, transientQuorumQueue: true };
  const node = await serving('h14', { topology, exchange: 'quorum', topics: ['qcompute'] });
  const target = { exchange: 'quorum', topic: 'qcompute', server: 'h14', version: '6.0' };
  expect(await node.rpc.client.call(target, 'echo', { e: 5 }, adminContext())).toEqual({ e: 5 });
  await node.rpc.client.cast({ ...target, fanout: true }, 'note', {}, adminContext());
  await waitUntil(() => node.handled.length === 1, 'the fanout arrives');
  const types = await rabbit.ctl('list_queues', '-p', rabbit.virtualHost, '--no-table-headers', 'name', 'type');
  for (const name of ['qcompute', 'qcompute\\.h14', 'qcompute_fanout_\\w+', 'reply_\\w+']) expect(types).toMatch(new RegExp(`^${name}\\t.*quorum`, 'm'));
});

test('a wrong password is one line without the password, and no storm of logins', async () => {
  const node = create('h15', { transportUrl: `rabbit://${rabbit.user}:hunter2@127.0.0.1:${rabbit.port}/${encodeURIComponent(rabbit.virtualHost)}` });
  node.server.start().catch(() => undefined);
  const tries = (): number => node.lines().filter((line) => line['msg'] === 'broker not connected').length;
  await waitUntil(() => tries() >= 3, 'it was tried again');
  expect(node.lines(ERROR)).toHaveLength(1);
  expect(node.lines(ERROR)[0]).toMatchObject({ err: { code: 'rpc-access-refused' } });
  expect(JSON.stringify(node.lines())).not.toMatch(/hunter2|p@ss/);
});

test('an unknown virtual host is refused with a line that says so', async () => {
  const node = create('h16', { transportUrl: rabbit.transportUrl.replace('open%2Fstack', 'nowhere') });
  await waitUntil(() => node.lines(ERROR).length > 0, 'the refusal is logged');
  expect(JSON.stringify(node.lines(ERROR)[0])).toMatch(/virtual host.*rpc-access-refused/);
});

test('the second host of transport_url is used when the first is dead', async () => {
  const [login, rest] = rabbit.transportUrl.slice('rabbit://'.length).split('@127.0.0.1') as [string, string];
  const node = await serving('h17', { transportUrl: `rabbit://${login}@127.0.0.1:1,${login}@127.0.0.1${rest}`, random: () => 0.99 });
  expect(await call(node, 'h17', 'echo', { f: 6 })).toEqual({ f: 6 });
});

test('TLS with our authority and client certificate connects; without them it is refused', async () => {
  const certificates = { caFile: `${rabbit.certificates}/ca.pem`, certFile: `${rabbit.certificates}/client.pem`, keyFile: `${rabbit.certificates}/client.key` };
  const good = await serving('h18', { transportUrl: rabbit.tlsTransportUrl, tls: certificates });
  expect(await call(good, 'h18', 'echo', { g: 7 })).toEqual({ g: 7 });
  const byUrl = await serving('h18b', { transportUrl: `${rabbit.tlsTransportUrl}?ssl=1`, tls: { ...certificates, isOn: false } });
  expect(byUrl.rpc.health().connected).toBe(true);
  const refused = [
    create('h19', { transportUrl: rabbit.tlsTransportUrl, tls: { ...certificates, caFile: '' } }),
    create('h20', { transportUrl: rabbit.tlsTransportUrl, tls: { caFile: certificates.caFile } }),
    create('h21', { transportUrl: rabbit.tlsTransportUrl.replace('localhost', '127.0.0.1'), tls: certificates }),
  ];
  for (const node of refused) {
    await waitUntil(() => node.lines(WARN).length > 0, 'the refusal is logged');
    expect(node.rpc.health().connected).toBe(false);
  }
  const lenient = await serving('h22', { transportUrl: rabbit.tlsTransportUrl.replace('localhost', '127.0.0.1'), tls: { ...certificates, verifyHostname: false } });
  expect(lenient.rpc.health().connected).toBe(true);
});

test('stop leaves one topic served, work under way ends, and drained tells when', async () => {
  const node = await serving('h23');
  const inFlight = call(node, 'h23', 'work');
  await waitUntil(() => node.server.inFlight === 1, 'in flight');
  await node.server.stop(['compute']);
  const alt = { topic: 'compute-alt', server: 'h23', version: '6.0' };
  expect(await node.rpc.client.call(alt, 'echo', { h: 8 }, adminContext())).toEqual({ h: 8 });
  await expect(call(node, 'h23', 'echo', {}, 300)).rejects.toMatchObject({ code: 'rpc-timeout' });
  const drained = node.server.drained(AbortSignal.timeout(10_000));
  await expect(node.server.drained(AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
  node.finish();
  await drained;
  expect(await inFlight).toBe('worked');
});

test('a journalled message runs again without an accept hook and without a reply', async () => {
  const node = await serving('h24');
  await call(node, 'h24', 'note', { i: 9 });
  const { wire } = node.handled[0]!;
  expect(await node.server.dispatch(JSON.parse(JSON.stringify(wire)) as Record<string, unknown>)).toBeUndefined();
  expect(node.handled.map(({ args }) => args)).toEqual([{ i: 9 }, { i: 9 }]);
  expect(node.asked).toHaveLength(1);
  await expect(node.server.dispatch({ method: 'gone', args: {}, version: '6.0' })).rejects.toMatchObject({ wire: { className: 'NoSuchMethod' } });
});

test('a call with a signal ends with it, and a closed agent leaves no queue of its own behind', async () => {
  const node = await serving('h25');
  const controller = new AbortController();
  const cancelled = node.rpc.client.call(at('h25'), 'work', {}, adminContext(), { signal: controller.signal });
  await waitUntil(() => node.handled.length === 1, 'being handled');
  controller.abort(new Error('the build was deleted'));
  await expect(cancelled).rejects.toThrow('the build was deleted');
  const last = call(node, 'h25', 'work');
  await waitUntil(() => node.handled.length === 2, 'being handled');
  await node.rpc.close();
  await expect(last).rejects.toMatchObject({ code: 'rpc-disconnected' });
  await Promise.all(open.splice(0).map((rpc) => rpc.close()));
  expect((await queueNames()).filter((name) => name.startsWith('reply_'))).toEqual([]);
  await expect(call(node, 'h25', 'echo')).rejects.toMatchObject({ code: 'rpc-disconnected' });
});
