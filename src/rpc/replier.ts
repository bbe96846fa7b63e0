/** Answers to calls: result, failure, and "still alive" for monitored calls. */
import type { Clock } from '../lib/clock.js';
import { AgentError, codeOf } from '../lib/errors.js';
import type { Logger, Metrics } from '../observe/index.js';
import { renderReply, wrap, type ReplyAddress } from './envelope.js';
import { encodeFailure } from './failure.js';
import type { Publisher } from './publisher.js';

export interface Replier {
  /** Never rejects: a caller that is gone is logged. `result` must be JSON. */
  succeed(to: ReplyAddress, method: string, result: unknown): Promise<void>;
  fail(to: ReplyAddress, method: string, error: unknown): Promise<void>;
  /** Tells a monitoring caller that we are at work until `end` is called. */
  keepAlive(to: ReplyAddress): { end(): void };
}

/** oslo's kombu_missing_consumer_retry_timeout, and how long it then forgets the caller. */
const DELIVERY_LIMIT_MS = 60_000;
const FORGOTTEN_MS = 60_000;
const RETRY_MS = 250;
const MAX_FORGOTTEN = 1024;

export function createReplier(deps: { publisher: Publisher; clock: Clock; log: Logger; metrics: Metrics }): Replier {
  const { publisher, clock, log, metrics } = deps;
  /** Reply queues that were not there for a minute, and until when we do not try them again. */
  const forgotten = new Map<string, number>();

  function isForgotten(queue: string): boolean {
    const until = forgotten.get(queue);
    if (until === undefined) return false;
    if (until > clock.monotonicMs()) return true;
    forgotten.delete(queue);
    return false;
  }

  function forget(queue: string): void {
    if (forgotten.size >= MAX_FORGOTTEN) forgotten.delete(forgotten.keys().next().value!);
    forgotten.set(queue, clock.monotonicMs() + FORGOTTEN_MS);
  }

  async function deliver(to: ReplyAddress, outcome: Parameters<typeof renderReply>[1], limitMs: number): Promise<void> {
    if (isForgotten(to.queue)) return;
    const inner = renderReply(to.callId, outcome);
    const message = { exchange: null, routingKey: to.queue, body: wrap(inner), messageId: String(inner['_unique_id']), mandatory: true };
    const controller = new AbortController();
    const timer = clock.after(limitMs, () => controller.abort(new AgentError('rpc-timeout', 'the reply could not be delivered', { retry: 'later' })));
    try {
      await untilDelivered(message, controller.signal);
    } catch (error) {
      if (!outcome.isEnding) return log.debug({ err: error }, 'sign of life not delivered');
      if (codeOf(error) === 'rpc-timeout') forget(to.queue);
      metrics.count('agent_rpc_replies_lost_total');
      log.warn({ err: error, queue: to.queue }, 'reply not delivered');
    } finally {
      timer.cancel();
    }
  }

  /** A lost connection does not lose the reply: the same message is sent again, and the caller ignores a second copy. */
  async function untilDelivered(message: Parameters<Publisher['publish']>[0], signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        return await publisher.publishUntilRouted(() => message, signal);
      } catch (error) {
        if (signal.aborted || codeOf(error) !== 'rpc-disconnected') throw error;
        await clock.sleep(RETRY_MS, signal);
      }
    }
  }

  return {
    async succeed(to, method, result) {
      let text: unknown;
      try {
        text = JSON.parse(JSON.stringify(result ?? null));
      } catch (error) {
        log.error({ err: error, rpc: method }, 'result is not JSON');
        return deliver(to, { failure: encodeFailure(error, method), isEnding: true }, DELIVERY_LIMIT_MS);
      }
      return deliver(to, { result: text, isEnding: true }, DELIVERY_LIMIT_MS);
    },
    fail: (to, method, error) => deliver(to, { failure: encodeFailure(error, method), isEnding: true }, DELIVERY_LIMIT_MS),
    keepAlive(to) {
      if (to.monitorMs === null) return { end: () => undefined };
      const intervalMs = to.monitorMs / 2;
      let timer = clock.after(intervalMs, function beat() {
        void deliver(to, { isEnding: false }, intervalMs);
        timer = clock.after(intervalMs, beat);
      });
      return { end: () => timer.cancel() };
    },
  };
}
