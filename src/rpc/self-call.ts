/**
 * Whether we are callable: a ping to our own queue through the broker, every report interval. A connection can look open and yet
 * deliver nothing (a queue that lost its consumer, a partitioned broker), and nobody else would notice.
 *
 *   misses: 1 ─▶ not callable   2 ─▶ rebuild the channels   4 ─▶ a new connection, and so on from 2
 */
import type { Clock } from '../lib/clock.js';
import type { Logger, Metrics } from '../observe/index.js';
import type { ConnectionState } from './connection.js';
import { adminContext } from './context.js';
import { hexId } from './envelope.js';
import type { RpcClient, RpcTarget } from './types.js';

export interface SelfCallDeps {
  readonly client: Pick<RpcClient, 'call'>;
  readonly target: RpcTarget;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly connection: { state(): ConnectionState; drop(reason: string): void };
  /** All workers are busy: a ping waits behind them, and rebuilding would not help. */
  readonly isSaturated: () => boolean;
  readonly rebuildChannels: (reason: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export interface SelfCall {
  /** Pings until the signal fires. */
  run(signal: AbortSignal): Promise<void>;
  state(): { readonly callable: boolean; readonly since: Date; readonly reason: string };
}

const REBUILD_AT = 2;
const RECONNECT_AT = 4;

export function createSelfCall(deps: SelfCallDeps): SelfCall {
  const { clock, log, metrics } = deps;
  let state = { callable: false, since: clock.now(), reason: 'not called yet' };
  let misses = 0;

  function become(callable: boolean, reason: string): void {
    if (callable !== state.callable) {
      state = { callable, since: clock.now(), reason };
      log[callable ? 'info' : 'warn']({ reason }, callable ? 'callable' : 'not callable');
    } else {
      state = { ...state, reason };
    }
    metrics.gauge('agent_rpc_callable', callable ? 1 : 0);
  }

  function onMiss(error: unknown): void {
    const { connected, blocked, reason } = deps.connection.state();
    // The connection's supervisor knows already, or a human must help the broker: rebuilding would only add to it.
    if (!connected || blocked) return become(false, reason);
    if (deps.isSaturated()) return become(false, 'all workers are busy');
    misses += 1;
    metrics.count('agent_rpc_self_call_misses_total');
    become(false, `${misses} of our own pings did not come back`);
    if (misses === REBUILD_AT) {
      log.warn({ err: error, misses }, 'rebuilding the channels');
      deps.rebuildChannels('our own pings did not come back');
    } else if (misses >= RECONNECT_AT) {
      misses = 0;
      log.warn({ err: error }, 'reconnecting');
      deps.connection.drop('our own pings did not come back');
    }
  }

  async function once(signal: AbortSignal): Promise<void> {
    const arg = hexId();
    try {
      await deps.client.call(deps.target, 'ping', { arg }, adminContext({ timestamp: clock.now() }), { timeoutMs: deps.timeoutMs, signal });
      misses = 0;
      become(true, 'our own ping came back');
    } catch (error) {
      if (!signal.aborted) onMiss(error);
    }
  }

  return {
    state: () => state,
    async run(signal) {
      while (!signal.aborted) {
        await once(signal);
        await clock.sleep(deps.intervalMs, signal).catch(() => undefined);
      }
    },
  };
}
