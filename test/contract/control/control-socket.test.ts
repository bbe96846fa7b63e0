/** The control socket between a real server and real clients of it: what is said, what is refused, what is left when somebody goes. */
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { askAgent, serveControl, socketPathOf, type ControlRequest, type ControlServer } from '../../../src/control/index.js';
import { systemClock, type Clock } from '../../../src/lib/clock.js';
import { AgentError } from '../../../src/lib/errors.js';
import { noMetrics, recordingLog, type RecordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';
import { waitUntil } from '../../fakes/wait-until.js';

let statePath = '';
let server: ControlServer | null = null;
let log: RecordingLog;
const sockets: Socket[] = [];
beforeEach(() => {
  statePath = mkdtempSync(join(tmpdir(), 'control-'));
  log = recordingLog();
});
afterEach(async () => {
  await server?.close();
  server = null;
  for (const socket of sockets.splice(0)) socket.destroy();
  rmSync(statePath, { recursive: true });
});

async function serve(requests: Readonly<Record<string, ControlRequest>> = {}, clock: Clock = systemClock): Promise<void> {
  server = await serveControl({ statePath, requests: new Map(Object.entries(requests)), clock, log: log.log, metrics: noMetrics });
}
const echo: ControlRequest = async (args, progress) => {
  progress('one');
  progress('two');
  return { args };
};

interface Raw { readonly socket: Socket; readonly said: () => string; readonly ended: Promise<unknown> }
async function raw(text: string | Buffer | null): Promise<Raw> {
  const socket = connect(socketPathOf(statePath));
  sockets.push(socket);
  let said = '';
  socket.on('data', (chunk: Buffer) => { said += chunk.toString(); });
  socket.on('error', () => undefined); // the other side may leave while we still talk
  const ended = new Promise((resolve) => { socket.once('close', resolve); });
  await once(socket, 'connect');
  if (text !== null) socket.write(text);
  return { socket, said: () => said, ended };
}

const ask = async (request: string, args: unknown = {}): Promise<{ result: unknown; told: string[] }> => {
  const told: string[] = [];
  return { result: await askAgent({ statePath, request, args, progress: (text) => told.push(text) }), told };
};
const refusal = (request: string): Promise<unknown> => ask(request).then(() => 'no error', (error: unknown) => error);

/** A request that lasts until it is told to end. */
function lasting(): { request: ControlRequest; isBegun: () => number; end: () => void } {
  const waiting: (() => void)[] = [];
  return {
    request: () => new Promise((resolve) => waiting.push(() => resolve('done'))),
    isBegun: () => waiting.length,
    end: () => { for (const one of waiting.splice(0)) one(); },
  };
}

describe('a request', () => {
  test('is answered with what is done meanwhile, then with its result', async () => {
    await serve({ echo });
    expect(await ask('echo', { a: ['ü', 1, null] })).toEqual({ result: { args: { a: ['ü', 1, null] } }, told: ['one', 'two'] });
    const { said, ended } = await raw('{"request":"echo","args":1}\n');
    await ended;
    expect(said()).toBe('{"progress":"one"}\n{"progress":"two"}\n{"result":{"args":1}}\n');
  });

  test('may come in pieces, and whole with more behind it, of which nothing is done', async () => {
    let calls = 0;
    await serve({ count: async () => { calls += 1; return calls; } });
    const slow = await raw('{"request":"cou');
    slow.socket.write('nt","args":{}}\n');
    await slow.ended;
    const eager = await raw('{"request":"count","args":{}}\n{"request":"count","args":{}}\n');
    await eager.ended;
    expect([slow.said(), eager.said(), calls]).toEqual(['{"result":1}\n', '{"result":2}\n', 2]);
  });

  test('that fails is answered with the code and the words of the error and its causes; a bug of ours shows nothing of itself', async () => {
    await serve({
      refused: () => Promise.reject(new AgentError('zfs-busy', 'could not go back', { cause: new Error('dataset is busy'), retry: 'later' })),
      bug: () => Promise.reject(new TypeError('x is not a function')),
    });
    expect(await refusal('refused')).toMatchObject({ code: 'zfs-busy', message: 'could not go back: dataset is busy', retry: 'later' });
    expect(await refusal('bug')).toMatchObject({ code: 'internal', message: 'the agent met an internal error; its log says more' });
    expect(log.lines().filter(({ level }) => level === 50).map(({ msg }) => msg)).toEqual(['request of an operator met a bug']);
  });

  test('that is not known is refused by its name', async () => {
    await serve({ echo });
    expect(await refusal('reboot')).toMatchObject({ code: 'control-unknown-request', message: expect.stringMatching(/does not know the request "reboot"/) as string });
  });

  test.each([
    ['garbage', Buffer.from('hello\n')],
    ['JSON that is no request', Buffer.from('[1]\n')],
    ['a request with something else in it', Buffer.from('{"request":"echo","args":{},"more":1}\n')],
    ['a request without a name', Buffer.from('{"args":{}}\n')],
    ['what is not UTF-8', Buffer.from([0x22, 0xff, 0x22, 0x0a])],
    ['too long a line', Buffer.from(`{"request":"echo","args":"${'x'.repeat(20_000)}"}\n`)],
    ['a line without an end', Buffer.alloc(20_000, 'x')],
  ])('is nothing that %s could be, and the next is answered', async (_what, text) => {
    let calls = 0;
    await serve({ echo: async (...all) => { calls += 1; return echo(...all); } });
    const { said, ended } = await raw(text);
    await ended;
    expect([JSON.parse(said()), calls]).toMatchObject([{ error: { code: 'control-malformed' } }, 0]);
    expect((await ask('echo')).told).toEqual(['one', 'two']);
  });

  test('that nobody makes in time is given up', async () => {
    const clock = createVirtualClock();
    await serve({ echo }, clock);
    const { said, ended } = await raw('{"request":');
    await waitUntil(() => {
      clock.advance(10_001);
      return said() !== '';
    }, 'it is given up');
    await ended;
    expect(JSON.parse(said())).toMatchObject({ error: { code: 'timeout' } });
  });

  test('goes on when its client has left, and others are served meanwhile', async () => {
    const { request, isBegun, end } = lasting();
    await serve({ lasting: request, echo });
    const { socket } = await raw('{"request":"lasting","args":{}}\n');
    await waitUntil(() => isBegun() === 1, 'it has begun');
    socket.destroy();
    const second = ask('lasting');
    await waitUntil(() => isBegun() === 2, 'the second has begun');
    expect((await ask('echo')).told).toEqual(['one', 'two']);
    end();
    expect((await second).result).toBe('done');
    await waitUntil(() => log.lines().filter(({ msg, request: name }) => msg === 'operator answered' && name === 'lasting').length === 2, 'both are over');
  });

  test('of a client that comes and goes without a word is none', async () => {
    await serve({ echo });
    for (const text of [null, '{"request":"echo"']) (await raw(text)).socket.end();
    expect((await ask('echo')).told).toHaveLength(2);
    expect(log.lines().filter(({ msg }) => msg === 'operator asks')).toHaveLength(1);
  });
});

describe('the end of the agent', () => {
  test('takes the socket away; whoever still waits is told, new ones are refused before', async () => {
    const { request, isBegun, end } = lasting();
    await serve({ lasting: request, echo });
    const waiting = refusal('lasting');
    await waitUntil(() => isBegun() === 1, 'it has begun');
    server!.refuse();
    expect(await refusal('echo')).toMatchObject({ code: 'shutting-down', retry: 'later' });
    const stop = new AbortController();
    const drained = server!.drained(stop.signal).then(() => 'drained', (error: unknown) => error);
    stop.abort(new AgentError('timeout', 'too long'));
    expect(await drained).toMatchObject({ code: 'timeout' });
    await server!.close();
    expect(await waiting).toMatchObject({ code: 'shutting-down', message: expect.stringMatching(/finishes or undoes when it runs again/) as string });
    expect([existsSync(socketPathOf(statePath)), await refusal('echo')]).toMatchObject([false, { code: 'agent-not-running' }]);
    end();
  });

  test('waits for what is done, if there is time', async () => {
    const { request, isBegun, end } = lasting();
    await serve({ lasting: request });
    const waiting = ask('lasting');
    await waitUntil(() => isBegun() === 1, 'it has begun');
    server!.refuse();
    const drained = server!.drained(new AbortController().signal);
    end();
    await drained;
    expect((await waiting).result).toBe('done');
  });

  test('that comes suddenly is told from a refusal', async () => {
    mkdirSync(dirname(socketPathOf(statePath)));
    const dying = createServer((socket) => socket.on('data', () => socket.write('{"progress":"x"}\n{"res', () => socket.destroy())));
    dying.listen(socketPathOf(statePath));
    await once(dying, 'listening');
    expect(await refusal('echo')).toMatchObject({ code: 'agent-gone', retry: 'later' });
    dying.close();
  });
});

describe('the place', () => {
  test('is its owner’s alone, whatever was there and whatever the umask', async () => {
    mkdirSync(dirname(socketPathOf(statePath)));
    chmodSync(dirname(socketPathOf(statePath)), 0o777);
    const before = process.umask(0);
    try {
      await serve();
    } finally {
      process.umask(before);
    }
    const modes = [dirname(socketPathOf(statePath)), socketPathOf(statePath)].map((path) => (statSync(path).mode & 0o777).toString(8));
    expect(modes).toEqual(['700', '600']);
  });

  test('is taken over from an agent that was killed', async () => {
    mkdirSync(dirname(socketPathOf(statePath)));
    const script = `require('node:net').createServer().listen(${JSON.stringify(socketPathOf(statePath))}, () => process.kill(process.pid, 'SIGKILL'))`;
    await once(spawn(process.execPath, ['-e', script]), 'exit');
    expect([lstatSync(socketPathOf(statePath)).isSocket(), await refusal('echo')]).toMatchObject([true, { code: 'agent-not-running' }]);
    await serve({ echo });
    expect((await ask('echo')).told).toHaveLength(2);
  });

  test('is not taken from what is no socket of ours: neither a file, nor a link, nor a folder that is a link', async () => {
    const [path, elsewhere] = [socketPathOf(statePath), join(statePath, 'elsewhere')];
    mkdirSync(dirname(path));
    writeFileSync(path, 'keep');
    await expect(serve()).rejects.toMatchObject({ code: 'local-socket-failed', message: `${path} is not a socket: move it away` });
    expect(readFileSync(path, 'utf8')).toBe('keep');
    rmSync(path);
    symlinkSync(elsewhere, path);
    await expect(serve()).rejects.toMatchObject({ code: 'local-socket-failed' });
    expect([existsSync(elsewhere), lstatSync(path).isSymbolicLink()]).toEqual([false, true]);
    rmSync(dirname(path), { recursive: true });
    mkdirSync(elsewhere);
    chmodSync(elsewhere, 0o755);
    symlinkSync(elsewhere, dirname(path));
    await expect(serve()).rejects.toMatchObject({ code: 'local-socket-failed', message: expect.stringMatching(/is not a folder of ours/) as string });
    expect([(statSync(elsewhere).mode & 0o777).toString(8), existsSync(join(elsewhere, 'agent.sock'))]).toEqual(['755', false]);
  });

  test('where no agent is, is said in one sentence', async () => {
    expect(await refusal('echo')).toMatchObject({ code: 'agent-not-running', message: `the agent of ${statePath} does not run, or is not ready yet: start it with "service nova_bhyve start"` });
  });
});
