/**
 * Listeners for proxies, one a guest and only once somebody has asked for its console, and the sessions on them. bhyve serves one viewer at a time and lets others
 * wait without a word, so here the newest that has shown a certificate takes over, as on serial consoles: a browser that died does not lock its user out.
 */
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { withTimeout, type Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { InstanceUuid } from '../lib/ids.js';
import { KeyedMutex } from '../lib/keyed-mutex.js';
import { remoteOf, type Host, type HostListener, type HostSocket } from '../host/index.js';
import type { Logger } from '../observe/index.js';
import { enterScreen } from './enter-screen.js';
import { greetProxy } from './greet-proxy.js';
import { securityFailed, securityPassed } from './rfb.js';
import { readTlsFiles, type TlsFiles, type TlsMaterial } from './tls-files.js';

/** For everything from the connection to the SecurityResult. */
const handshakeMs = 10_000;
/** One session, and those that are on their way in. */
const maxConnections = 8;
/** Of those who are not let in, one is told of at info in this time; the others at debug. */
const quietMs = 10_000;

export interface RelayOptions {
  /** Where proxies reach this host. bhyve has the same ports on 127.0.0.1. */
  readonly address: string;
  readonly files: TlsFiles;
}

/** Where bhyve shows a guest's screen. */
export interface Screen {
  readonly host: string;
  readonly port: number;
  /** Undefined: of a guest that was started without one. */
  readonly password: string | undefined;
}

export interface RelayDeps {
  readonly host: Pick<Host, 'listenForSockets' | 'connect'> & { readonly files: Pick<Host['files'], 'readText'> };
  readonly clock: Clock;
  readonly log: Logger;
  /** Of a running guest, as it is now; null: it has none. */
  readonly screenOf: (instance: InstanceUuid) => Promise<Screen | null>;
}

export interface Relay {
  /**
   * Lets proxies in to the guest's screen at `port`; open already = fine. False if somebody else has the port. The TLS files are read anew, so a renewed certificate
   * is taken up. AgentError `listen-failed`, `tls-file-unreadable`, `tls-file-invalid`.
   */
  open(instance: InstanceUuid, port: number): Promise<boolean>;
  /** Ends the session and closes the port; none = fine. */
  close(instance: InstanceUuid): Promise<void>;
  closeAll(): Promise<void>;
}

interface Door {
  readonly instance: InstanceUuid;
  readonly port: number;
  listener: HostListener | null;
  /** Ends the session that goes on. */
  leave: () => void;
}

export function createRelay(deps: RelayDeps, options: RelayOptions): Relay {
  const doors = new Map<InstanceUuid, Door>();
  const mutex = new KeyedMutex<InstanceUuid>();
  let tls: TlsMaterial | undefined;
  let saidMs = -Infinity;

  async function material(): Promise<TlsMaterial> {
    try {
      tls = await readTlsFiles(deps.host.files, options.files);
    } catch (err) {
      if (tls === undefined) throw err;
      deps.log.warn({ err }, 'TLS files of consoles cannot be used; those from before are');
    }
    return tls;
  }

  async function shut(instance: InstanceUuid): Promise<void> {
    const door = doors.get(instance);
    doors.delete(instance);
    door?.leave();
    await door?.listener?.close();
  }

  function complain(err: unknown, door: Door, remote: string): void {
    const nowMs = deps.clock.monotonicMs();
    const level = nowMs - saidMs > quietMs ? 'info' : 'debug';
    if (level === 'info') saidMs = nowMs;
    deps.log[level]({ err, instance: door.instance, port: door.port, remote }, 'VNC console refused');
  }

  function welcome(door: Door, socket: HostSocket): void {
    const remote = remoteOf(socket);
    const said = { instance: door.instance, port: door.port, remote };
    void attend(deps, door, socket, tls!, () => deps.log.info(said, 'VNC console entered')).then((end) => {
      if (end === 'left') deps.log.info(said, 'VNC console left');
      else void relay.close(door.instance).catch((err: unknown) => deps.log.warn({ err, ...said }, 'the port of a console did not close'));
    }).catch((err: unknown) => complain(err, door, remote));
  }

  const relay: Relay = {
    open: (instance, port) => mutex.run(instance, async () => {
      await material();
      if (doors.get(instance)?.port === port) return true;
      await shut(instance);
      const door: Door = { instance, port, listener: null, leave: () => undefined };
      const listener = await deps.host.listenForSockets(options.address, port, maxConnections, (socket) => welcome(door, socket));
      if (listener === undefined) return false;
      door.listener = listener;
      doors.set(instance, door);
      return true;
    }),
    close: (instance) => mutex.run(instance, () => shut(instance)),
    async closeAll() {
      for (const instance of [...doors.keys()]) await relay.close(instance);
    },
  };
  return relay;
}

/** One connection to its end. Rejects for one that was not let in; 'no-screen': the guest has none any more. Nothing is left open. */
async function attend(deps: RelayDeps, door: Door, socket: HostSocket, tls: TlsMaterial, onEntered: () => void): Promise<'left' | 'no-screen'> {
  const open: Duplex[] = [socket];
  const hangUp = (): void => open.forEach((stream) => stream.destroy());
  try {
    const both = await withTimeout(deps.clock, handshakeMs, 'letting a console in', async (signal) => {
      const keep = <Kept extends Duplex>(stream: Kept): Kept => {
        open.push(stream);
        if (signal.aborted) stream.destroy();
        return stream;
      };
      const viewer = keep(await greetProxy(socket, tls));
      try {
        const screen = await deps.screenOf(door.instance);
        if (screen?.port !== door.port) throw new AgentError('no-screen', 'the guest does not show a screen here any more');
        door.leave();
        door.leave = hangUp;
        const machine = keep(await deps.host.connect(screen.host, screen.port, signal));
        await enterScreen(machine, screen.password);
        viewer.write(securityPassed);
        return { viewer, machine };
      } catch (error) {
        await new Promise<void>((resolve) => viewer.end(securityFailed('the console of this server cannot be opened'), () => resolve()));
        throw error;
      }
    });
    onEntered();
    await join(both.viewer, both.machine);
    return 'left';
  } catch (error) {
    if (error instanceof AgentError && error.code === 'no-screen') return 'no-screen';
    throw error;
  } finally {
    hangUp();
    if (door.leave === hangUp) door.leave = () => undefined;
  }
}

/** Until one of them ends; what it sent before has been handed on by then. How a session ends is nobody's error. */
async function join(one: Duplex, other: Duplex): Promise<void> {
  const halves = [pipeline(one, other), pipeline(other, one)].map((half) => half.catch(() => undefined));
  await Promise.race(halves);
}
