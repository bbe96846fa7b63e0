/** Who is let into a guest's serial console, and what goes through it. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { HostConnection } from '../../../../src/host/index.js';
import { createSerialConsoles, type SerialConsoles } from '../../../../src/virt/bhyve/serial-consoles.js';
import { instanceA, instanceB } from '../../../fakes/guest-definition.js';
import { createFakeHost, type FakeHost } from '../../../fakes/host.js';
import { recordingLog, type RecordingLog } from '../../../fakes/recording-log.js';
import { createVirtualClock, type VirtualClock } from '../../../fakes/virtual-clock.js';
import { waitUntil } from '../../../fakes/wait-until.js';

const paths = { log: '/console.log', terminal: '/dev/nmdm7B' };
let host: FakeHost;
let clock: VirtualClock;
let log: RecordingLog;
let consoles: SerialConsoles;
let ports: Map<number, (connection: HostConnection) => void>;
let taken: Set<number>;

/** A client: what it was shown, and what it types. */
function client() {
  let wake: () => void = () => undefined;
  const typed: Uint8Array[] = [];
  const state = { shown: '', isClosed: false };
  const connection: HostConnection = {
    remote: '192.0.2.9:4711',
    input: (async function* input() {
      while (!state.isClosed) {
        for (let chunk = typed.shift(); chunk !== undefined; chunk = typed.shift()) yield chunk;
        if (!state.isClosed) await new Promise<void>((resolve) => { wake = resolve; });
      }
    })(),
    write: async (chunk) => { state.shown += Buffer.from(chunk).toString(); },
    close: () => {
      state.isClosed = true;
      wake();
    },
  };
  return { state, connection, type: (text: string) => { typed.push(Buffer.from(text)); wake(); } };
}

beforeEach(() => {
  clock = Object.assign(createVirtualClock(), { sleep: () => new Promise<void>((resolve) => { setImmediate(resolve); }) });
  log = recordingLog();
  host = createFakeHost();
  host.disk.folders.add('/dev');
  host.disk.files.set(paths.log, Buffer.from('old\n'));
  host.disk.files.set(paths.terminal, new Uint8Array());
  ports = new Map();
  taken = new Set();
  Object.assign(host, {
    listen: async (_address: string, port: number, onConnection: (connection: HostConnection) => void) => {
      if (taken.has(port) || ports.has(port)) return undefined;
      ports.set(port, onConnection);
      return { port, close: async () => void ports.delete(port) };
    },
  });
  consoles = createSerialConsoles({ host, clock, log: log.log }, { address: '192.0.2.1', portRange: { first: 10_000, last: 10_001 }, idleMs: 600_000 });
});

const enter = (port: number) => {
  const one = client();
  ports.get(port)?.(one.connection);
  return one;
};
const typedInto = (): string => Buffer.from(host.disk.files.get(paths.terminal) ?? []).toString();
const print = (text: string): void => void host.disk.files.set(paths.log, Buffer.concat([host.disk.files.get(paths.log) ?? new Uint8Array(), Buffer.from(text)]));

describe('a serial console', () => {
  test('shows what the guest prints from now on, and passes on what is typed', async () => {
    const { port } = await consoles.open(instanceA, paths);
    expect(consoles.admit(instanceA, port)).toBe(true);
    const one = enter(port);
    one.type('ls\r');
    await waitUntil(() => typedInto() === 'ls\r', 'the input');
    print('login: ');
    await waitUntil(() => one.state.shown === 'login: ', 'the output');
    one.connection.close();
    await waitUntil(() => log.lines().some((line) => line['msg'] === 'serial console left'), 'the end');
  });

  test('lets nobody in whose token was not checked just now, and each check lets one in', async () => {
    const { port } = await consoles.open(instanceA, paths);
    expect(enter(port).state.isClosed).toBe(true);
    consoles.admit(instanceA, port);
    const one = enter(port);
    expect(one.state.isClosed).toBe(false);
    expect(enter(port).state.isClosed).toBe(true);
    expect(one.state.isClosed).toBe(false);
    consoles.admit(instanceA, port);
    clock.advance(20_000);
    expect(enter(port).state.isClosed).toBe(true);
  });

  test('goes to a newer client that was let in, and the older one is gone', async () => {
    const { port } = await consoles.open(instanceA, paths);
    consoles.admit(instanceA, port);
    const older = enter(port);
    consoles.admit(instanceA, port);
    const newer = enter(port);
    await waitUntil(() => older.state.isClosed, 'the older one is gone');
    print('for the newer');
    await waitUntil(() => newer.state.shown === 'for the newer', 'the output');
    expect(older.state.shown).toBe('');
  });

  test('has one port, whatever is asked at once; another guest has another; a third finds the range taken', async () => {
    const [first, second] = await Promise.all([consoles.open(instanceA, paths), consoles.open(instanceA, paths)]);
    expect(first).toEqual(second);
    const other = await consoles.open(instanceB, paths);
    expect(other.port).not.toBe(first.port);
    expect(consoles.admit(instanceA, other.port)).toBe(false);
    await expect(consoles.open('33333333-3333-4333-8333-333333333333' as never, paths)).rejects.toMatchObject({ code: 'no-console-port', retry: 'later' });
  });

  test('passes over a port that somebody else has', async () => {
    taken.add(10_000);
    expect((await consoles.open(instanceA, paths)).port).toBe(10_001);
  });

  test('ends with its guest: session and port are gone, and the old port is not admitted any more', async () => {
    const { port } = await consoles.open(instanceA, paths);
    consoles.admit(instanceA, port);
    const one = enter(port);
    await consoles.close(instanceA);
    expect(one.state.isClosed).toBe(true);
    expect(ports.size).toBe(0);
    expect(consoles.admit(instanceA, port)).toBe(false);
  });

  test('closes its port when nobody used it for as long as a token lives; a session keeps it open', async () => {
    const { port } = await consoles.open(instanceA, paths);
    const used = await consoles.open(instanceB, paths);
    consoles.admit(instanceB, used.port);
    const one = enter(used.port);
    clock.advance(600_001);
    await consoles.closeIdle();
    expect([...ports.keys()]).toEqual([used.port]);
    expect(consoles.admit(instanceA, port)).toBe(false);
    one.connection.close();
    await consoles.closeAll();
    expect(ports.size).toBe(0);
  });

  test('drops what is typed while the guest is between two runs, and goes on after', async () => {
    host.disk.files.delete(paths.terminal);
    const { port } = await consoles.open(instanceA, paths);
    consoles.admit(instanceA, port);
    const one = enter(port);
    one.type('lost');
    print('Booting\n');
    await waitUntil(() => one.state.shown === 'Booting\n', 'the output');
    host.disk.files.set(paths.terminal, new Uint8Array());
    one.type('kept');
    await waitUntil(() => typedInto() === 'kept', 'the input');
    expect(one.state.isClosed).toBe(false);
    one.connection.close();
  });

  test('nothing that went through it is in the log', async () => {
    const { port } = await consoles.open(instanceA, paths);
    consoles.admit(instanceA, port);
    const one = enter(port);
    one.type('root-password');
    print('from-the-guest');
    await waitUntil(() => one.state.shown !== '' && typedInto() !== '', 'both');
    expect(JSON.stringify(log.lines())).not.toMatch(/root-password|from-the-guest/);
    one.connection.close();
  });
});
