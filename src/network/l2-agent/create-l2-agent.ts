/** The loop and the memory of the L2 agent; the theory is in index.ts. */
import { abortable } from '../../lib/abort.js';
import { fullJitter } from '../../lib/backoff.js';
import type { Clock } from '../../lib/clock.js';
import { codeOf } from '../../lib/errors.js';
import type { PortId } from '../../lib/ids.js';
import { KeyedMutex } from '../../lib/keyed-mutex.js';
import type { HealthAnswer, Logger, Metrics } from '../../observe/index.js';
import { isSilence, type RpcClient } from '../../rpc/index.js';
import type { L2Agent } from '../types.js';
import { createNeutronRpc, type ReportAnswer } from './neutron-rpc.js';

export interface L2AgentDeps {
  readonly client: RpcClient;
  /** As in Neutron's `binding:host_id`: Nova's [DEFAULT]host. */
  readonly host: string;
  /** physical network → bridge, `[l2_agent]bridge_mappings`. */
  readonly bridgeMappings: Readonly<Record<string, string>>;
  /** physical network → interface; one without a bridge can carry VLANs, so Neutron must hear of it too. */
  readonly interfaceMappings: Readonly<Record<string, string>>;
  /** The ports whose taps we made (Plugger.listOwned), to compare with Neutron. */
  readonly listDevices: () => Promise<readonly PortId[]>;
  /** Default 30 s; must be well below Neutron's agent_down_time of 75 s. */
  readonly reportIntervalMs?: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly random?: () => number;
}

export interface L2AgentService extends L2Agent {
  /** Whether Neutron answered our last report. */
  health(): HealthAnswer;
}

type Wanted = 'up' | 'down';

const DETAILS_BATCH = 50;

export function createL2Agent(deps: L2AgentDeps): L2AgentService {
  const { clock, metrics } = deps;
  const log = deps.log.child({ part: 'l2-agent' });
  const intervalMs = deps.reportIntervalMs ?? 30_000;
  const neutron = createNeutronRpc({ client: deps.client, host: deps.host, reportTimeoutMs: intervalMs, clock });
  // Physical networks that only have an interface are for VLANs, whose bridges are made as needed; the name says nothing to Neutron.
  const bridgeMappings = { ...Object.fromEntries(Object.keys(deps.interfaceMappings).map((network) => [network, `br-${network}`])), ...deps.bridgeMappings };
  const ports = new KeyedMutex<PortId>();
  /** What Neutron has not been told yet; at most one entry a port. */
  const untold = new Map<PortId, Wanted>();
  /** Those of them that were complained about already. */
  const complained = new Set<PortId>();
  let answeredOnce = false;
  let mustCompare = true;
  let settling: Promise<void> | undefined;
  let health: HealthAnswer = { ok: false, since: clock.now().toISOString(), reason: 'not reported yet' };

  function become(ok: boolean, reason: string): void {
    if (ok !== health.ok) {
      health = { ok, since: clock.now().toISOString(), reason };
      log[ok ? 'info' : 'warn']({ reason }, ok ? 'neutron takes our reports' : 'neutron does not take our reports');
    } else {
      health = { ...health, reason };
    }
    metrics.gauge('agent_l2_reporting', ok ? 1 : 0);
  }

  /** Tells Neutron what is wanted last for this port; what fails stays in `untold`. */
  const tell = (port: PortId): Promise<void> => ports.run(port, async () => {
    const wanted = untold.get(port);
    if (wanted === undefined) return;
    try {
      await neutron.announce(port, wanted);
      if (untold.get(port) === wanted) untold.delete(port);
      complained.delete(port);
      log.debug({ port, wanted }, 'device announced');
    } catch (err) {
      metrics.count('agent_l2_announce_failures_total');
      log[complained.has(port) ? 'debug' : 'warn']({ err, port, wanted }, 'device not announced; it will be repeated');
      complained.add(port);
    } finally {
      metrics.gauge('agent_l2_untold', untold.size);
    }
  });

  function want(port: PortId, wanted: Wanted): Promise<void> {
    untold.set(port, wanted);
    return tell(port);
  }

  /** Announces all devices that we own as Neutron's own record says they should be. */
  async function compare(): Promise<void> {
    const owned = await deps.listDevices();
    for (let first = 0; first < owned.length; first += DETAILS_BATCH) {
      const batch = owned.slice(first, first + DETAILS_BATCH);
      const segments = await neutron.details(batch);
      for (const port of batch) {
        const segment = segments.get(port);
        if (segment === undefined) log.warn({ port }, 'neutron has a port of ours not bound here; its tap is left alone');
        else if (!untold.has(port)) untold.set(port, segment.isAdminUp ? 'up' : 'down');
      }
    }
    if (owned.length > 0) log.info({ devices: owned.length }, 'devices compared with neutron');
  }

  function onAnswer(answer: ReportAnswer): void {
    if (answer === null) return become(false, 'neutron ignored our report: its clock is ahead of ours, or it has just begun');
    answeredOnce = true;
    if (answer !== 'alive') mustCompare = true;
    become(true, `neutron answered "${answer}"`);
  }

  function onFailure(err: unknown): void {
    const reason = isSilence(err) ? 'neutron did not answer' : `the report failed: ${codeOf(err) ?? 'unexpected error, see the log'}`;
    log[isSilence(err) || reason === health.reason ? 'debug' : 'warn']({ err }, 'report failed');
    become(false, reason);
  }

  /** Compares if need be, and tells what is untold. */
  async function settle(): Promise<void> {
    if (mustCompare && health.ok) {
      await compare();
      mustCompare = false;
    }
    for (const port of [...untold.keys()]) await tell(port);
  }

  /**
   * One turn; rejects when Neutron did not answer. Reports have a queue of their own in Neutron, and without one for 75 s it binds no port
   * here: when the queue for ports is slow, what goes on there is left to go on, and the next report is not kept waiting.
   */
  async function turn(signal: AbortSignal): Promise<void> {
    const devices = (await deps.listDevices()).length;
    onAnswer(await neutron.report({ bridgeMappings, devices, isFirst: !answeredOnce }));
    settling ??= settle().finally(() => {
      settling = undefined;
    });
    await abortable(doneOrAfter(settling, intervalMs), signal);
  }

  /** Rejects as `work` does while somebody waits; what fails later is begun again by the next turn. */
  function doneOrAfter(work: Promise<void>, ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = clock.after(ms, resolve);
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  return {
    health: () => health,
    async run(signal) {
      const backoff = fullJitter({ baseMs: 1_000, maxMs: intervalMs, random: deps.random ?? Math.random });
      while (!signal.aborted) {
        let waitMs: number | undefined;
        try {
          await turn(signal);
          const isSettled = health.ok && untold.size === 0;
          if (isSettled) backoff.reset();
          // What is still under way has used up the interval.
          waitMs = settling !== undefined ? 0 : isSettled ? intervalMs : undefined;
        } catch (err) {
          if (signal.aborted) return;
          onFailure(err);
        }
        await clock.sleep(waitMs ?? backoff.next(), signal).catch(() => undefined);
      }
    },
    async segmentOf(port) {
      return (await neutron.details([port])).get(port) ?? null;
    },
    deviceUp: (port) => want(port, 'up'),
    deviceDown: (port) => want(port, 'down'),
  };
}
