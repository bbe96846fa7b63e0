/** Against the real oslo.messaging (Debian's python3-oslo.messaging, python3-nova): what a Python caller sees of us, and we of a Python server. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/lib/clock.js';
import { AgentError, type NovaFault } from '../../src/lib/errors.js';
import { novaFaults, refuse } from '../../src/lib/nova-faults.js';
import { RemoteError, adminContext, createRpc, type IncomingMessage, type Rpc, type RpcMethod } from '../../src/rpc/index.js';
import { startOsloPeer, type OsloPeer } from '../fakes/oslo-peer.js';
import { noMetrics, recordingLog } from '../fakes/recording-log.js';
import { startRabbit, type Rabbit } from '../fakes/rabbitmq.js';
import { waitUntil } from '../fakes/wait-until.js';

const UUID = '69e439e8-259a-443a-876b-62979aca17c9';
/** Arguments for each fault, as a caller of novaFaults would give them. */
const samples: Readonly<Partial<Record<keyof typeof novaFaults, readonly unknown[]>>> = {
  flavorDiskSmallerThanImage: [1n, 2n], flavorDiskSmallerThanMinDisk: [1n, 2n], instanceInvalidState: [UUID, 'vm_state', 'error', 'stop'],
};
const faults = Object.entries(novaFaults)
  .map(([name, make]) => [name, (make as (...args: unknown[]) => NovaFault)(...(samples[name as keyof typeof novaFaults] ?? [UUID, 'the reason', 'x', 'y']))] as const)
  .filter(([, fault]) => fault.module === 'nova.exception');

let rabbit: Rabbit;
let peer: OsloPeer;
let rpc: Rpc;
const heard: IncomingMessage[] = [];
let finishLongWork = (): void => undefined;

const method = (rpcName: string, handle: RpcMethod['handle'], more: Partial<RpcMethod> = {}): [string, RpcMethod] => [rpcName, { rpc: rpcName, handle, ...more }];
const here = { topic: 'compute', server: 'h1', version: '6.0' };

beforeAll(async () => {
  rabbit = await startRabbit();
  rpc = createRpc({ transportUrl: rabbit.transportUrl, host: 'h1', clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  const server = rpc.server([{ namespace: null, version: '6.5', methods: new Map([
    method('get_host_uptime', async () => ' 09:00:00 up 3 days'),
    method('echo', async (message) => message.args),
    method('hear', async (message) => { heard.push(message); }, { accept: async () => 'new' }),
    method('strict', async () => 'ok', { parameters: { required: ['instance'], optional: ['tag'] } }),
    method('not_here', async () => { throw refuse(novaFaults.notImplemented()); }),
    method('fail', async ({ args }) => { throw refuse(faults.find(([name]) => name === args['name'])![1]); }),
    method('zfs', async () => { throw new AgentError('zfs-busy', 'the dataset is busy', { cause: new Error('cannot destroy pool/secret') }); }),
    method('bug', async () => { throw new TypeError('cannot read properties of undefined (reading hunter2)'); }),
    method('long', () => new Promise((resolve) => { finishLongWork = () => resolve('late but here'); })),
  ]) }]);
  [peer] = await Promise.all([startOsloPeer(rabbit.transportUrl), server.start()]);
  await peer.serve('conductor', 'c1');
}, 120_000);

afterAll(async () => {
  await rpc?.close();
  await peer?.stop();
  await rabbit?.destroy();
});

test('a Python caller gets our result, with every JSON type intact', async () => {
  const args = { text: 'grüße ☃', number: 3.5, big: 4294967296, none: null, yes: true, list: [1, [2]], object: { a: { b: [] } } };
  expect(await peer.call({ target: here, method: 'echo', args })).toMatchObject({ result: args });
});

test.each(faults)('the fault %s is rebuilt by a Python caller as the Nova exception', async (name, fault) => {
  const { error } = await peer.call({ target: here, method: 'fail', args: { name } });
  expect(error).toMatchObject({ class: `${fault.className}_Remote`, module: 'nova.exception_Remote' });
  expect(error!.bases).toContain('NovaException');
  expect(error!.text.trim()).toBe(fault.message);
  expect(error!.code ?? error!.kwargs['code']).toEqual(expect.anything());
});

test('NotImplementedError arrives as the builtin, so that nova-api can answer 501', async () => {
  const { error } = await peer.call({ target: here, method: 'not_here' });
  expect(error).toMatchObject({ class: 'NotImplementedError', module: 'builtins' });
});

test('an error of ours arrives as RemoteError with its code, without our stack and without what caused it', async () => {
  const { error } = await peer.call({ target: here, method: 'zfs' });
  expect(error).toMatchObject({ class: 'RemoteError', remote_class: 'AgentError' });
  expect(error!.text).toContain('zfs-busy: the dataset is busy');
  expect(error!.text).not.toMatch(/secret|\.ts|node:/);
});

test('a bug of ours tells a Python caller nothing but where to look', async () => {
  const { error } = await peer.call({ target: here, method: 'bug' });
  expect(error).toMatchObject({ class: 'RemoteError', remote_class: 'InternalError' });
  expect(error!.text).not.toMatch(/hunter2|undefined|\.ts/);
});

test('what we do not serve is refused as oslo.messaging refuses it', async () => {
  const ask = async (target: Record<string, unknown>, name: string, args = {}): Promise<string | null | undefined> =>
    (await peer.call({ target: { ...here, ...target }, method: name, args })).error?.remote_class ?? undefined;
  expect(await ask({ version: '7.0' }, 'echo')).toBe('UnsupportedVersion');
  expect(await ask({ version: '6.6' }, 'echo')).toBe('UnsupportedVersion');
  expect(await ask({ namespace: 'other' }, 'echo')).toBe('UnsupportedVersion');
  expect(await ask({}, 'no_such_thing')).toBe('NoSuchMethod');
  const wrong = await peer.call({ target: here, method: 'strict', args: { instance: 1, hunter: 2 } });
  expect(wrong.error).toMatchObject({ class: 'TypeError' });
  expect((await peer.call({ target: here, method: 'strict', args: { instance: 1, tag: null } })).result).toBe('ok');
});

test('baseapi and oslo_rpc_server_ping answer as in every Nova service', async () => {
  expect((await peer.call({ target: { topic: 'compute', server: 'h1', namespace: 'baseapi', version: '1.0' }, method: 'ping', args: { arg: 'hi' } })).result).toEqual({ service: 'compute', arg: 'hi' });
  expect((await peer.call({ target: { topic: 'compute-alt', server: 'h1', namespace: 'baseapi', version: '1.1' }, method: 'get_backdoor_port' })).result).toBeNull();
  expect((await peer.call({ target: { topic: 'compute', server: 'h1' }, method: 'oslo_rpc_server_ping' })).result).toBe('pong');
});

test('casts reach us by host, by topic, by fanout, and on compute-alt, each once', async () => {
  const targets = [here, { topic: 'compute', version: '6.0' }, { topic: 'compute', fanout: true, version: '6.0' }, { ...here, topic: 'compute-alt' }];
  for (const [index, target] of targets.entries()) expect((await peer.cast({ target, method: 'hear', args: { index } })).error).toBeUndefined();
  await waitUntil(() => heard.length >= targets.length, 'all casts heard');
  expect(heard.map(({ args }) => args['index']).sort()).toEqual([0, 1, 2, 3]);
  expect(heard.every(({ isCall, context }) => !isCall && context.requestId === 'req-interop')).toBe(true);
});

test('a monitored call outlives its monitor interval because we say that we are at work', async () => {
  // The interval of 2 s is renewed each second; without that the caller would give up after 2 s.
  const began = performance.now();
  const answer = peer.call({ target: here, method: 'long', timeout: 30, monitor: 2 });
  await waitUntil(() => performance.now() - began > 2_700, 'the interval is over');
  finishLongWork();
  expect(await answer).toMatchObject({ result: 'late but here' });
});

test('our call gets a Python server\'s result and carries our context', async () => {
  const result = await rpc.client.call({ topic: 'conductor', version: '3.0' }, 'echo', { a: [1, null] }, adminContext({ requestId: 'req-1' }));
  expect(result).toEqual({ args: { a: [1, null] }, request_id: 'req-1', is_admin: true });
});

test('a Python server\'s exception arrives with class, module and arguments', async () => {
  const failure = await rpc.client.call({ topic: 'conductor', server: 'c1', version: '3.0' }, 'fail', { name: 'UnexpectedTaskStateError', kwargs: { instance_uuid: UUID, expected: 'a', actual: 'b' } }, adminContext()).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(RemoteError);
  expect(failure).toMatchObject({ className: 'UnexpectedTaskStateError', module: 'nova.exception', kwargs: { instance_uuid: UUID, expected: 'a', actual: 'b' } });
  await expect(rpc.client.call({ topic: 'conductor', version: '3.0' }, 'broken', {}, adminContext())).rejects.toMatchObject({ className: 'KeyError', module: 'builtins' });
  await expect(rpc.client.call({ topic: 'conductor', version: '9.0' }, 'echo', {}, adminContext())).rejects.toMatchObject({ className: 'UnsupportedVersion' });
});

test('a long monitored call of ours lives on a Python server\'s signs of life', async () => {
  expect(await rpc.client.call({ topic: 'conductor', version: '3.0' }, 'slow', { seconds: 2.7 }, adminContext(), { timeoutMs: 30_000, monitorMs: 2_000 })).toBe('done');
});

test('a call that is not answered in time ends in rpc-timeout', async () => {
  await expect(rpc.client.call({ topic: 'conductor', version: '3.0' }, 'slow', { seconds: 5 }, adminContext(), { timeoutMs: 300 })).rejects.toMatchObject({ code: 'rpc-timeout', retry: 'later' });
});

test('our casts and fanouts reach a Python server', async () => {
  await rpc.client.cast({ topic: 'conductor', server: 'c1', version: '3.0' }, 'note', { by: 'cast' }, adminContext());
  await rpc.client.cast({ topic: 'conductor', fanout: true, version: '3.0' }, 'note', { by: 'fanout' }, adminContext());
  await rpc.client.cast({ topic: 'nobody', fanout: true, version: '3.0' }, 'note', { by: 'nobody listens' }, adminContext());
  await waitUntil(async () => (await peer.seen()).length === 2, 'both casts arrived');
  expect(await peer.seen()).toEqual(expect.arrayContaining([{ by: 'cast' }, { by: 'fanout' }]));
});
