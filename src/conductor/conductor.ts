/**
 * How a compute reads and writes Nova's database. What can go wrong, and what happens then:
 *  - no answer (conductor restarting, broker away): harmless calls are asked again for `retryForMs`, see repeat.ts;
 *  - the conductor refuses a version: it names the one that it has, and we ask for that;
 *  - an object too new for it: never sent, see objects/versions.ts;
 *  - the release changes under us (control plane upgraded): negotiate() again after a reconnect.
 */
import type { Clock } from '../lib/clock.js';
import { assert } from '../lib/assert.js';
import { fullJitter } from '../lib/backoff.js';
import { codeOf } from '../lib/errors.js';
import { chooseProfile, createObject, profileNamed, type ReleaseProfile } from '../objects/index.js';
import type { Logger } from '../observe/index.js';
import { adminContext, type RequestContext } from '../rpc/context.js';
import { isRemote, isSilence, type RpcClient } from '../rpc/index.js';
import { blockDeviceCalls, infoCacheCalls, instanceCalls, migrationCalls } from './instance-calls.js';
import type { ConductorParts } from './parts.js';
import { actionCalls, consoleTokenCalls, faultCalls, groupCalls, usageAuditCalls, virtualInterfaceCalls } from './record-calls.js';
import { createRepeat } from './repeat.js';
import { computeNodeCalls, serviceCalls } from './rows.js';
import type { Conductor } from './types.js';
import { conductorTarget, createWireCalls, type WireCalls } from './wire-calls.js';

export interface ConductorDeps {
  readonly rpc: RpcClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long a call without answer is asked again; default 300 s. */
  readonly retryForMs?: number;
  /** Ends the waiting between attempts, for shutdown. */
  readonly signal?: AbortSignal;
  readonly random?: () => number;
}

const PING_LIMIT_MS = 10_000;
const SHORT_PINGS = 10;
/** An id that no row has. */
const NOBODY = '00000000-0000-0000-0000-000000000000';

export function createConductor(deps: ConductorDeps): Conductor {
  const calls = createWireCalls(deps);
  const repeat = createRepeat({
    clock: deps.clock, log: deps.log, forMs: deps.retryForMs ?? 300_000,
    ...(deps.signal === undefined ? {} : { signal: deps.signal }), ...(deps.random === undefined ? {} : { random: deps.random }),
  });
  const read: ConductorParts['read'] = (context, name, method, args, kwargs) =>
    repeat(`${name}.${method}`, () => calls.classCall(context, name, method, args, kwargs));
  let negotiated: ReleaseProfile | undefined;
  const parts: ConductorParts = { calls, repeat, read, profile: () => negotiated ?? profileNamed('zed') };
  const services = serviceCalls(parts);

  return {
    waitUntilAlive: (signal) => waitUntilAlive(deps, signal),
    async negotiate() {
      const context = adminContext({ timestamp: deps.clock.now() });
      const number = await services.minimumVersion(context, 'nova-conductor');
      const { profile, rival, isBeyondTable } = chooseProfile(number);
      const chosen = rival !== null && await repeat('release probe', () => understands(calls, context, rival)) ? rival : profile;
      if (isBeyondTable) deps.log.warn({ conductor: number, profile: chosen.name }, 'the cloud is newer than this agent; speaking the newest release that it knows');
      else deps.log.info({ conductor: number, profile: chosen.name }, 'release chosen');
      calls.use(chosen);
      negotiated = chosen;
      return chosen;
    },
    get profile() {
      assert(negotiated !== undefined, 'the release is not known before negotiate()');
      return negotiated;
    },
    services,
    computeNodes: computeNodeCalls(parts),
    instances: instanceCalls(parts),
    infoCaches: infoCacheCalls(parts),
    blockDevices: blockDeviceCalls(parts),
    actions: actionCalls(parts),
    faults: faultCalls(parts),
    migrations: migrationCalls(parts),
    virtualInterfaces: virtualInterfaceCalls(parts),
    consoleTokens: consoleTokenCalls(parts),
    usageAudits: usageAuditCalls(parts),
    groups: groupCalls(parts),
    rebuildElsewhere: (context, args) => deps.rpc.cast(
      { topic: 'conductor', namespace: 'compute_task', version: '1.19' }, 'build_instances', calls.toWire(args) as Record<string, unknown>, context),
    moveElsewhere: (context, args) => deps.rpc.cast(
      { topic: 'conductor', namespace: 'compute_task', version: '1.20' }, 'migrate_server', calls.toWire(args) as Record<string, unknown>, context),
    continueOn: (context, host, method, args) => deps.rpc.cast(
      { topic: parts.profile().hasComputeAltTopic ? 'compute-alt' : 'compute', server: host, version: '6.0' }, method, calls.toWire(args) as Record<string, unknown>, context),
    scheduler: schedulerCasts(deps, parts),
  };
}

/** Asks for ever: without a conductor a compute can do nothing (nova-contract 2.1). */
async function waitUntilAlive(deps: ConductorDeps, signal: AbortSignal): Promise<void> {
  const backoff = fullJitter({ baseMs: 500, maxMs: 5_000, ...(deps.random === undefined ? {} : { random: deps.random }) });
  const target = { topic: conductorTarget.topic, namespace: 'baseapi', version: '1.0' };
  for (let attempt = 1; ; attempt += 1) {
    try {
      const limit = attempt <= SHORT_PINGS ? { timeoutMs: PING_LIMIT_MS } : {};
      await deps.rpc.call(target, 'ping', { arg: 'nova-bhyve-agent' }, adminContext({ timestamp: deps.clock.now() }), { ...limit, signal });
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!isSilence(error)) throw error;
      deps.log.warn({ attempt, code: codeOf(error) }, 'the conductor does not answer yet');
      await deps.clock.sleep(backoff.next(), signal);
    }
  }
}

/** Whether the conductor has this release's Instance: a row that does not exist is looked for only by one that does. */
async function understands(calls: WireCalls, context: RequestContext, profile: ReleaseProfile): Promise<boolean> {
  try {
    await calls.classCallAt(profile, context, 'Instance', 'get_by_uuid', [NOBODY]);
    return true;
  } catch (error) {
    if (isRemote(error, 'InstanceNotFound')) return true;
    if (isRemote(error, 'IncompatibleObjectVersion')) return false;
    throw error;
  }
}

function schedulerCasts(deps: ConductorDeps, { calls, profile }: ConductorParts): Conductor['scheduler'] {
  const tell = async (context: RequestContext, method: string, args: Record<string, unknown>): Promise<void> => {
    try {
      await deps.rpc.cast({ topic: 'scheduler', fanout: true, version: '4.2' }, method, calls.toWire(args) as Record<string, unknown>, context);
    } catch (err) {
      deps.log.warn({ err, method }, 'the schedulers were not told; the next sync repairs their view');
    }
  };
  return {
    updateInstances(context, host, instances) {
      const list = createObject(profile(), 'InstanceList', { objects: [...instances] });
      return tell(context, 'update_instance_info', { host_name: host, instance_info: list });
    },
    deleteInstance: (context, host, uuid) => tell(context, 'delete_instance_info', { host_name: host, instance_uuid: uuid }),
    syncInstances: (context, host, uuids) => tell(context, 'sync_instance_info', { host_name: host, instance_uuids: [...uuids] }),
  };
}
