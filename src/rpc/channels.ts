/**
 * Channels that come back. A channel is set up anew after the connection returned, after the broker closed it (a refused declaration,
 * a timeout of an acknowledgement) and after one of its consumers was cancelled (its queue was deleted).
 *
 *   waiting for the connection ─▶ setting up ─▶ ready ─▶ lost ─▶ full jitter ─▶ (again)
 */
import type { Channel, ChannelModel } from 'amqplib';
import { abortable, reasonOf } from '../lib/abort.js';
import { fullJitter } from '../lib/backoff.js';
import type { AgentError } from '../lib/errors.js';
import type { Clock } from '../lib/clock.js';
import type { Logger, Metrics } from '../observe/index.js';
import { disconnected, isRefusal } from './broker-errors.js';
import { closeChannel, type BrokerConnection, type RetryOptions, type Session } from './connection.js';
import { createLatch } from './latch.js';
import { reportOnce } from './report-once.js';

export interface ChannelSpec<C extends Channel> {
  /** For logs. */
  readonly name: string;
  readonly open: (model: ChannelModel) => Promise<C>;
  /** Declares and consumes. `rebuild` throws the channel away and starts again. */
  readonly setup: (channel: C, session: Session, rebuild: (reason: string) => void) => Promise<void>;
  /** The channel was ready and is gone; called once per loss. */
  readonly lost?: (reason: AgentError) => void;
}

export interface SupervisedChannel<C extends Channel> {
  readonly current: () => C | undefined;
  readonly wait: (signal: AbortSignal) => Promise<C>;
  readonly rebuild: (reason: string) => void;
  /** Closes the channel and ends the supervision. */
  readonly close: () => Promise<void>;
}

export interface ChannelDeps {
  readonly connection: BrokerConnection;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly random: () => number;
}

const STABLE_MS = 10_000;

/** One channel's end: closed by the broker, with its connection, or given up by us. */
function watch(channel: Channel, session: Session): { ended: Promise<Error>; giveUp: (reason: string) => void } {
  let resolveEnd = (_error: Error): void => undefined;
  const ended = new Promise<Error>((resolve) => {
    resolveEnd = resolve;
  });
  channel.on('error', (error: Error) => resolveEnd(error));
  channel.on('handler-error', (error: Error) => resolveEnd(error));
  channel.on('close', () => resolveEnd(session.failure() ?? new Error('the channel was closed')));
  void session.closed.then(() => resolveEnd(session.failure() ?? new Error('the connection was closed')));
  return { ended, giveUp: (reason) => resolveEnd(new Error(reason)) };
}

export function superviseChannel<C extends Channel>(spec: ChannelSpec<C>, deps: ChannelDeps): SupervisedChannel<C> {
  const { clock, connection, retry } = deps;
  const log = deps.log.child({ channel: spec.name });
  const ending = new AbortController();
  const signal = AbortSignal.any([ending.signal, connection.closing]);
  const ready = createLatch<C>();
  const report = reportOnce(log);
  let giveUpCurrent: ((reason: string) => void) | undefined;

  async function once(session: Session): Promise<Error> {
    const channel = await spec.open(session.model);
    const { ended, giveUp } = watch(channel, session);
    giveUpCurrent = giveUp;
    let wasReady = false;
    try {
      // Not raced with the channel's end: a refused declaration ends the channel, but only the setup knows what was refused.
      await abortable(spec.setup(channel, session, giveUp), signal);
      wasReady = true;
      report.recovered();
      ready.set(channel);
      log.debug('channel ready');
      return await abortable(ended, signal);
    } finally {
      giveUpCurrent = undefined;
      ready.set(undefined);
      if (wasReady) spec.lost?.(disconnected(`the ${spec.name} channel was lost`, undefined, true));
      await closeChannel(clock, channel);
    }
  }

  async function run(): Promise<void> {
    const backoff = fullJitter({ baseMs: retry.baseMs, maxMs: retry.maxMs, random: deps.random });
    while (!signal.aborted) {
      const session = await connection.wait(signal);
      const began = clock.monotonicMs();
      const error = await once(session).catch((thrown: unknown) => (thrown instanceof Error ? thrown : new Error(String(thrown))));
      if (signal.aborted) return;
      deps.metrics.count('agent_rpc_channel_losses_total', { channel: spec.name });
      // A channel that went with its connection is the connection's news, except when it was the cause of that.
      if (session.isOpen || isRefusal(error)) report.failed(error, 'channel lost');
      if (clock.monotonicMs() - began > STABLE_MS) backoff.reset();
      await clock.sleep(isRefusal(error) ? retry.refusedMs : backoff.next(), signal);
    }
  }

  const loop = run().catch((error: unknown) => {
    if (!signal.aborted) log.error({ err: error }, 'channel supervision ended');
  }).finally(() => ready.close(reasonOf(signal)));

  return {
    current: ready.get,
    wait: ready.wait,
    rebuild: (reason) => giveUpCurrent?.(reason),
    async close() {
      if (!ending.signal.aborted) ending.abort(disconnected(`the ${spec.name} channel is closed`));
      ready.close(reasonOf(ending.signal));
      await loop;
    },
  };
}
