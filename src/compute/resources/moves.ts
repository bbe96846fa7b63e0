/**
 * Usage of instances that are on their way in or out (nova-contract 9): the source keeps the old flavor's place until the move
 * is confirmed, the destination holds the new one's from the claim on. Pure.
 */
import { isBootFromVolume, taskStates, vmStates, type NovaObjectOf } from '../../objects/index.js';
import { usageOf, type Usage } from './usage.js';

export interface MovePlan {
  /** To be counted beside the tracked instances, by instance. */
  readonly usages: Map<string, Usage>;
  /** Left over from an earlier move of an instance that is now in another one: to be marked as failed. */
  readonly stale: readonly NovaObjectOf<'Migration'>[];
}

interface Place { readonly host: string; readonly node: string }

/** `instances` by uuid, those of other hosts included; `tracked` are counted here already. */
export function planMoves(
  migrations: readonly NovaObjectOf<'Migration'>[], instances: ReadonlyMap<string, NovaObjectOf<'Instance'>>, tracked: ReadonlySet<string>, here: Place,
): MovePlan {
  const moving = migrations.filter((migration) => {
    const instance = instances.get(migration.get('instance_uuid') ?? '');
    return instance !== undefined && isMoving(instance);
  });
  // The instance itself knows which move it is in. Only then does the newest count: a stale one may have been written to later.
  const isForgotten = (migration: NovaObjectOf<'Migration'>): boolean => {
    const current = instances.get(migration.get('instance_uuid') ?? '')?.maybe('migration_context')?.maybe('migration_id');
    return current !== undefined && current !== migration.get('id');
  };
  const usages = new Map<string, Usage>();
  for (const migration of newestOfEach(moving.filter((one) => !isForgotten(one)))) {
    const instance = instances.get(migration.get('instance_uuid') ?? '');
    const flavor = instance === undefined ? null : flavorHere(migration, instance, tracked.has(instance.get('uuid')), here);
    if (instance !== undefined && flavor !== null) usages.set(instance.get('uuid'), usageOf(flavor, isBootFromVolume(instance, [])));
  }
  return { usages, stale: moving.filter((one) => isForgotten(one) && one.maybe('status') !== 'error') };
}

/** Which flavor's place this host holds for the move, besides a tracked instance's own. */
function flavorHere(
  migration: NovaObjectOf<'Migration'>, instance: NovaObjectOf<'Instance'>, isTracked: boolean, here: Place,
): NovaObjectOf<'Flavor'> | null {
  const isIncoming = migration.maybe('dest_compute') === here.host && migration.maybe('dest_node') === here.node;
  const isOutgoing = migration.maybe('source_compute') === here.host && migration.maybe('source_node') === here.node;
  const isResize = ['resize', 'migration'].includes(migration.maybe('migration_type') ?? '');
  const old = (isResize ? instance.maybe('old_flavor') : instance.maybe('flavor')) ?? null;
  const next = (isResize ? instance.maybe('new_flavor') : instance.maybe('flavor')) ?? null;
  if (isIncoming && isOutgoing) return instance.maybe('instance_type_id') === migration.maybe('old_instance_type_id') ? next : old;
  if (isTracked) return null;
  return isIncoming ? next : isOutgoing ? old : null;
}

function newestOfEach(migrations: readonly NovaObjectOf<'Migration'>[]): Iterable<NovaObjectOf<'Migration'>> {
  const newest = new Map<string, NovaObjectOf<'Migration'>>();
  for (const migration of migrations) {
    const uuid = migration.get('instance_uuid') ?? '';
    const other = newest.get(uuid);
    if (other === undefined || timeOf(migration) > timeOf(other)) newest.set(uuid, migration);
  }
  return newest.values();
}

/** ISO texts of one form compare as times. */
const timeOf = (migration: NovaObjectOf<'Migration'>): string => migration.maybe('updated_at') ?? migration.maybe('created_at') ?? '';

const resizeTasks = new Set<string | null>([
  taskStates.resizePrep, taskStates.resizeMigrating, taskStates.resizeMigrated, taskStates.resizeFinish,
  taskStates.rebuilding, taskStates.rebuildBlockDeviceMapping, taskStates.rebuildSpawning,
]);

function isMoving(instance: NovaObjectOf<'Instance'>): boolean {
  const [vmState, taskState] = [instance.get('vm_state'), instance.get('task_state')];
  if (vmState === vmStates.resized) return true;
  if (vmState === vmStates.active && taskState === taskStates.migrating) return true;
  if (vmState === vmStates.paused && taskState === taskStates.migrating) return true;
  return (vmState === vmStates.active || vmState === vmStates.stopped) && resizeTasks.has(taskState);
}
