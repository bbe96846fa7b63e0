/**
 * The one connection to the broker, kept alive for as long as the process lives.
 *
 *            dial ok                          closed, heartbeat missed, drop()
 *   dialling ───────▶ open ◀──▶ blocked ──────────────────┐
 *      ▲                                                  ▼
 *      └────────── full jitter, next host ◀───────── disconnected
 *
 * It never gives up; each cause is logged once. Channels live on top of it (channels.ts).
 * amqplib's own recovery is not used: it knows one host only and rebuilds per connection, never a single closed channel or cancelled consumer.
 */
import type { Socket } from 'node:net';
import { connect, type Channel, type ChannelModel } from 'amqplib';
import { reasonOf } from '../lib/abort.js';
import { fullJitter } from '../lib/backoff.js';
import { withTimeout, type Clock } from '../lib/clock.js';
import { AgentError, codeOf } from '../lib/errors.js';
import type { Logger, Metrics } from '../observe/index.js';
import { connectionError, disconnected } from './broker-errors.js';
import { dialArguments, type DialOptions } from './connect-options.js';
import { createLatch } from './latch.js';
import { reportOnce } from './report-once.js';
import { rotateHosts, type BrokerHost } from './transport-url.js';
import { writeTogether } from './write-together.js';

export interface RetryOptions {
  /** Ceiling of the first wait; doubles. */
  readonly baseMs: number;
  readonly maxMs: number;
  /** The wait after refused queue arguments, which only a human can mend. */
  readonly refusedMs: number;
}

export const defaultRetry: RetryOptions = { baseMs: 500, maxMs: 30_000, refusedMs: 60_000 };

export interface ConnectionDeps {
  readonly hosts: readonly BrokerHost[];
  readonly dial: DialOptions;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly random: () => number;
}

/** One open connection; a reconnect makes a new one. */
export interface Session {
  readonly model: ChannelModel;
  readonly brokerVersion: string;
  /** Resolves when it is closed, for whatever reason. */
  readonly closed: Promise<void>;
  readonly isOpen: boolean;
  /** The error that closed it. */
  readonly failure: () => Error | undefined;
}

export interface ConnectionState {
  readonly connected: boolean;
  /** The broker takes no messages (memory or disk alarm). */
  readonly blocked: boolean;
  readonly since: Date;
  readonly reason: string;
}

export interface BrokerConnection {
  /** Starts to dial; returns at once. */
  start(): void;
  state(): ConnectionState;
  /** The open connection, as soon as there is one. */
  wait(signal: AbortSignal): Promise<Session>;
  /** As `wait`, but not while the broker is blocked. */
  waitWritable(signal: AbortSignal): Promise<Session>;
  /** Runs `work` on a channel of its own: what is refused there harms nobody else. */
  scratch<T>(session: Session, kind: 'plain' | 'confirm', work: (channel: Channel) => Promise<T>): Promise<T>;
  /** Closes the current connection; a new one follows. */
  drop(reason: string): void;
  /** Ends for good; everything that waits is rejected. */
  close(): Promise<void>;
  /** Fires when close() is called. */
  readonly closing: AbortSignal;
}

/** How long a connection must hold until an earlier failure is forgotten. */
const STABLE_MS = 10_000;
const CLOSE_LIMIT_MS = 2_000;

/** Closes a channel, but does not wait for a broker that does not answer. */
export async function closeChannel(clock: Clock, channel: Channel): Promise<void> {
  await withTimeout(clock, CLOSE_LIMIT_MS, 'closing a channel', () => channel.close()).catch(() => undefined);
}

/** amqplib has no public way to its socket. */
const socketOf = (model: ChannelModel): Socket | undefined => (model.connection as { stream?: Socket }).stream;

/** Closes, and cuts the socket if the broker does not answer in time. */
async function closeModel(clock: Clock, model: ChannelModel, reason: string): Promise<void> {
  try {
    await withTimeout(clock, CLOSE_LIMIT_MS, 'closing the broker connection', () => model.close());
  } catch {
    // Closed already, or the broker is frozen. A kept socket would hold the process.
    socketOf(model)?.destroy(new Error(reason));
  }
}

interface OpenSession extends Session {
  onBlocked(listener: (isBlocked: boolean) => void): void;
  markClosed(error: Error): void;
}

function openSession(model: ChannelModel): OpenSession {
  let failure: Error | undefined;
  let isOpen = true;
  let resolveClosed = (): void => undefined;
  const closed = new Promise<void>((resolve) => {
    resolveClosed = resolve;
  });
  const markClosed = (error: Error): void => {
    failure ??= error;
    isOpen = false;
    resolveClosed();
  };
  model.on('error', (error: Error) => {
    failure ??= error;
  });
  model.on('close', (error?: Error) => markClosed(error ?? new Error('closed')));
  model.on('handler-error', (error: Error) => markClosed(error));
  return {
    model,
    brokerVersion: String(model.connection.serverProperties?.version ?? 'unknown'),
    closed,
    get isOpen() {
      return isOpen;
    },
    failure: () => failure,
    onBlocked(listener) {
      model.on('blocked', () => listener(true));
      model.on('unblocked', () => listener(false));
    },
    markClosed,
  };
}

export function createConnection(deps: ConnectionDeps): BrokerConnection {
  const { clock, log, metrics, retry } = deps;
  const ending = new AbortController();
  const opened = createLatch<OpenSession>();
  const writable = createLatch<OpenSession>();
  const rotation = rotateHosts(deps.hosts, deps.random);
  const report = reportOnce(log);
  let state: ConnectionState = { connected: false, blocked: false, since: clock.now(), reason: 'not connected yet' };
  let loop: Promise<void> = Promise.resolve();

  function become(next: Omit<ConnectionState, 'since'>): void {
    const isChange = next.connected !== state.connected || next.blocked !== state.blocked;
    state = { ...next, since: isChange ? clock.now() : state.since };
    metrics.gauge('agent_rpc_connected', next.connected ? 1 : 0);
  }

  async function dial(host: BrokerHost): Promise<OpenSession> {
    const broker = `${host.hostname}:${host.port}`;
    let model: ChannelModel;
    try {
      const [options, socket] = await dialArguments(host, deps.dial);
      model = await connect(options, socket);
      const stream = socketOf(model);
      if (stream !== undefined) writeTogether(stream);
    } catch (error) {
      throw error instanceof AgentError ? error : connectionError(broker, error);
    }
    const session = openSession(model);
    session.onBlocked((blocked) => {
      writable.set(blocked ? undefined : session);
      become({ connected: true, blocked, reason: blocked ? 'the broker is out of memory or disk and takes no messages' : `connected to ${broker}` });
      log.warn({ broker, blocked }, blocked ? 'broker takes no messages' : 'broker takes messages again');
    });
    log.info({ broker, brokerVersion: session.brokerVersion }, 'broker connected');
    return session;
  }

  /** One connection from dialling to its end; returns why it ended. */
  async function once(host: BrokerHost): Promise<AgentError> {
    const session = await dial(host);
    report.recovered();
    become({ connected: true, blocked: false, reason: `connected to ${host.hostname}:${host.port}` });
    opened.set(session);
    writable.set(session);
    const onEnd = (): void => session.markClosed(new Error('the agent stops'));
    ending.signal.addEventListener('abort', onEnd, { once: true });
    if (ending.signal.aborted) onEnd();
    await session.closed;
    ending.signal.removeEventListener('abort', onEnd);
    opened.set(undefined);
    writable.set(undefined);
    await closeModel(clock, session.model, 'closed');
    return connectionError(`${host.hostname}:${host.port}`, session.failure());
  }

  async function run(): Promise<void> {
    const backoff = fullJitter({ baseMs: retry.baseMs, maxMs: retry.maxMs, random: deps.random });
    while (!ending.signal.aborted) {
      const began = clock.monotonicMs();
      const error = await once(rotation.next()).catch((thrown: unknown) => (thrown instanceof AgentError ? thrown : disconnected('unexpected', thrown)));
      if (ending.signal.aborted) return;
      become({ connected: false, blocked: false, reason: error.message });
      metrics.count('agent_rpc_disconnects_total');
      // The channel whose queue was refused says so, and which option helps.
      if (codeOf(error) !== 'rpc-topology-refused') report.failed(error, 'broker not connected');
      if (clock.monotonicMs() - began > STABLE_MS) backoff.reset();
      await clock.sleep(backoff.next(), ending.signal).catch(() => undefined);
    }
  }

  return {
    closing: ending.signal,
    start() {
      loop = run();
    },
    state: () => state,
    wait: opened.wait,
    waitWritable: writable.wait,
    async scratch(session, kind, work) {
      const channel = kind === 'confirm' ? await session.model.createConfirmChannel() : await session.model.createChannel();
      // The refusal reaches us as the rejection of what was asked; without a listener the event would end the process.
      channel.on('error', () => undefined);
      try {
        return await work(channel);
      } finally {
        await closeChannel(clock, channel);
      }
    },
    drop(reason) {
      opened.get()?.markClosed(new Error(reason));
    },
    async close() {
      if (!ending.signal.aborted) ending.abort(disconnected('the agent stops'));
      opened.close(reasonOf(ending.signal));
      writable.close(reasonOf(ending.signal));
      await loop;
      become({ connected: false, blocked: false, reason: reasonOf(ending.signal).message });
    },
  };
}
