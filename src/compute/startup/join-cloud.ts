/**
 * The part of the start-up that needs everything made (nova-contract 2.7 to 2.14). Order matters: other services judge this host by
 * what exists at each moment. Nothing is consumed from the queues before this is through.
 *
 *   guests adopted ─▶ evacuated guests removed ─▶ journal settled ─▶ instances recovered ─▶ lost builds marked
 *     ─▶ schedulers told ─▶ service row ─▶ first audit (ComputeNode, provider)
 */
import { parseInstanceUuid, type InstanceUuid } from '../../lib/ids.js';
import { codeOf } from '../../lib/errors.js';
import { vmStates, type NovaObjectOf } from '../../objects/index.js';
import { isRemote } from '../../rpc/index.js';
import type { ComputeDeps } from '../deps.js';
import { removeFromMachine } from '../machine-steps.js';
import { watchGuests } from '../power-state.js';
import { saveState } from '../save-state.js';
import { settleJournal, type planJournal } from './finish-journal.js';
import { recoverInstances, recoveryAttributes } from './recover-instances.js';

/** Returns the service row, whose report_count the heartbeat goes on with. */
export async function joinCloud(deps: ComputeDeps, service: NovaObjectOf<'Service'> | null, plan: ReturnType<typeof planJournal>): Promise<NovaObjectOf<'Service'>> {
  const context = deps.ownContext();
  const instances = await deps.conductor.instances.byHost(context, deps.options.host, recoveryAttributes);
  await deps.driver.adopt();
  const evacuated = await finishEvacuations(deps);
  await settleJournal(deps, plan, instances);
  const ours = instances.filter((instance) => !evacuated.has(parseInstanceUuid(instance.get('uuid'))));
  await recoverInstances(deps, ours, plan.instances);
  watchGuests(deps);
  await markLostBuilds(deps, new Set([...instances.map((instance) => parseInstanceUuid(instance.get('uuid'))), ...plan.instances]));
  if (instances.length > 0 && deps.options.trackInstanceChanges) await deps.conductor.scheduler.updateInstances(context, deps.options.host, instances);
  const row = await registerService(deps, service);
  await deps.tracker.audit(context, { startup: true });
  return row;
}

/** Guests that were evacuated while this host was away must not run twice (nova-contract 2.9). */
async function finishEvacuations(deps: ComputeDeps): Promise<ReadonlySet<InstanceUuid>> {
  const context = deps.ownContext('yes');
  const migrations = await deps.conductor.migrations.byFilters(context, {
    source_compute: deps.options.host, status: ['accepted', 'pre-migrating', 'done'], migration_type: 'evacuation',
  });
  const gone = new Set<InstanceUuid>();
  for (const migration of migrations) {
    const uuid = parseInstanceUuid(migration.get('instance_uuid'));
    try {
      await removeFromMachine(deps, uuid);
      await deps.placement.removeProviderFromAllocations(uuid, deps.tracker.providerUuid);
      migration.set('status', 'completed');
      await deps.conductor.migrations.save(context, migration);
      gone.add(uuid);
      deps.log.info({ instance: uuid }, 'evacuated instance removed from this host');
    } catch (err) {
      deps.log.error({ err, instance: uuid }, 'evacuated instance not removed');
    }
  }
  return gone;
}

/** Instances whose build died before the claim: no host in the row, but an allocation on our provider (nova-contract 2.11). */
async function markLostBuilds(deps: ComputeDeps, known: ReadonlySet<InstanceUuid>): Promise<void> {
  const context = deps.ownContext();
  const consumers = await allocationsHere(deps);
  const lost = consumers.filter((consumer) => !known.has(consumer as InstanceUuid));
  if (lost.length === 0) return;
  for (const instance of await deps.conductor.instances.byFilters(context, { uuid: lost, vm_state: vmStates.building, deleted: false })) {
    deps.log.warn({ instance: instance.get('uuid') }, 'build was lost before its claim; set to error');
    await saveState(deps, context, instance, { vmState: vmStates.error, taskState: null });
  }
}

async function allocationsHere(deps: ComputeDeps): Promise<string[]> {
  try {
    return Object.keys(await deps.placement.allocationsOnProvider(deps.tracker.providerUuid));
  } catch (error) {
    if (codeOf(error) === 'http-not-found') return []; // a new host: no provider yet
    throw error;
  }
}

async function registerService(deps: ComputeDeps, service: NovaObjectOf<'Service'> | null): Promise<NovaObjectOf<'Service'>> {
  const context = deps.ownContext();
  const { host } = deps.options;
  const version = deps.conductor.profile.serviceVersion;
  if (service !== null) {
    if (service.get('version') !== version) {
      service.set('version', version);
      await deps.conductor.services.save(context, service);
    }
    return service;
  }
  try {
    return await deps.conductor.services.create(context, { host, binary: 'nova-compute', topic: 'compute', reportCount: 0, version });
  } catch (error) {
    if (!isRemote(error, 'ServiceTopicExists', 'ServiceBinaryExists')) throw error;
    const row = await deps.conductor.services.byHostAndBinary(context, host, 'nova-compute');
    if (row === null) throw error;
    return row;
  }
}
