/**
 * Waiting for Neutron's word that a vif is wired (nova-contract 10.3): register before plugging, wait after it. Only vifs that
 * are not active yet are waited for; a timeout of 0 never waits.
 *
 * The word is a cast, and a broker that restarts loses it. So a wait that takes longer than an event ever does asks Neutron itself.
 */
import { AgentError } from '../lib/errors.js';
import { withTimeout } from '../lib/clock.js';
import { parseInstanceUuid, type PortId } from '../lib/ids.js';
import { novaFaults } from '../lib/nova-faults.js';
import { shuttingDown } from '../instances/index.js';
import type { NetworkInfo } from '../network/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { ComputeDeps } from './deps.js';

export interface PlugWait {
  /** Resolves when all are plugged; AgentError `vif-plug-timeout` (wire VirtualInterfaceCreateException) if fatal. */
  wait(signal: AbortSignal): Promise<void>;
  cancel(): void;
}

type Deps = Pick<ComputeDeps, 'waiters' | 'options' | 'clock' | 'log' | 'ports'>;

const askEveryMs = 10_000;

/** Registers for the plug event of each vif that is down. Call before plugging. */
export function expectPlugged(deps: Deps, context: RequestContext, row: NovaObjectOf<'Instance'>, vifs: NetworkInfo): PlugWait {
  const instance = parseInstanceUuid(row.get('uuid'));
  const { vifPluggingTimeoutMs, isVifPluggingFatal } = deps.options;
  const waiters = vifPluggingTimeoutMs === 0 ? []
    : vifs.filter((vif) => !vif.active).map((vif) => deps.waiters.expect(instance, 'network-vif-plugged', vif.id));
  const cancel = (): void => waiters.forEach((waiter) => waiter.cancel());

  const all = async (): Promise<void> => {
    for (const waiter of waiters) {
      const status = await waiter.arrived;
      if (status === 'failed') throw plugError(`Neutron reported that port ${waiter.tag} failed`);
      if (status === 'stopping') throw shuttingDown();
      if (status === 'cancelled') throw new AgentError('instance-deleted', 'the wait for plug events was given up');
    }
  };

  /** What Neutron calls wired counts as an event that came. */
  const askNeutron = async (): Promise<void> => {
    try {
      const wired = await deps.ports.wired(context, row);
      for (const { tag } of waiters) {
        if (wired.has(tag as PortId) && deps.waiters.deliver(instance, 'network-vif-plugged', tag, 'completed')) {
          deps.log.warn({ instance, port: tag }, 'vif is plugged, but its event did not come');
        }
      }
    } catch (err) {
      deps.log.debug({ err, instance }, 'Neutron could not be asked for the ports; the wait goes on');
    }
  };
  /** Asks again and again until the function that it gives is called. */
  const keepAsking = (): (() => void) => {
    let isOver = false;
    let timer = deps.clock.after(askEveryMs, ask);
    function ask(): void {
      void askNeutron().then(() => {
        if (!isOver) timer = deps.clock.after(askEveryMs, ask);
      });
    }
    return () => {
      isOver = true;
      timer.cancel();
    };
  };

  return {
    cancel,
    async wait(signal) {
      if (waiters.length === 0) return;
      const stopAsking = keepAsking();
      try {
        await withTimeout(deps.clock, vifPluggingTimeoutMs, 'waiting for Neutron to plug the vifs', all, signal);
      } catch (error) {
        cancel();
        const isPlugTrouble = error instanceof AgentError && (error.code === 'timeout' || error.code === 'vif-plug-failed');
        if (!isPlugTrouble) throw error;
        if (isVifPluggingFatal) throw error.code === 'timeout' ? plugError('Neutron did not report the vifs as plugged in time', error) : error;
        deps.log.warn({ err: error, instance }, 'vifs not reported as plugged; going on');
      } finally {
        stopAsking();
      }
    },
  };
}

const plugError = (text: string, cause?: unknown): AgentError =>
  new AgentError('vif-plug-failed', text, { wire: novaFaults.virtualInterfaceCreateException(), cause });
