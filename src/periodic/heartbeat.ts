/**
 * "I am here": report_count rises in the service row (nova-contract 2.16). On a monotonic timer, because the API calls us down after
 * service_down_time. It never ends by itself; a failed beat is logged once until one gets through.
 */
import type { Clock } from '../lib/clock.js';
import type { Conductor } from '../conductor/index.js';
import type { Logger } from '../observe/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import { isRemote } from '../rpc/index.js';

export interface HeartbeatDeps {
  readonly conductor: Pick<Conductor, 'services'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly ownContext: () => RequestContext;
  readonly intervalMs: number;
}

/** Beats at once, and then until the signal fires. */
export async function runHeartbeat(deps: HeartbeatDeps, service: NovaObjectOf<'Service'>, signal: AbortSignal): Promise<void> {
  let isFailing = false;
  let dueMs = deps.clock.monotonicMs(); // nova-compute waits 5 s before its first; by then we may have been called down for that long
  while (!signal.aborted) {
    try {
      await deps.clock.sleep(Math.max(0, dueMs - deps.clock.monotonicMs()), signal);
    } catch {
      return; // the agent is stopping
    }
    dueMs = deps.clock.monotonicMs() + deps.intervalMs;
    try {
      service.set('report_count', service.get('report_count') + 1);
      await deps.conductor.services.save(deps.ownContext(), service);
      if (isFailing) deps.log.info('heartbeat gets through again');
      isFailing = false;
    } catch (err) {
      if (!isFailing) deps.log.warn({ err }, isRemote(err, 'ServiceNotFound') ? 'service row was deleted by an operator; restart the agent to make it anew' : 'heartbeat failed');
      isFailing = true;
    }
  }
}
