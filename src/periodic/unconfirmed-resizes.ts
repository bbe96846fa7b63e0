import type { InstanceUuid } from '../lib/ids.js';
import { confirmAsApi, isInstanceGone, type ComputeDeps } from '../compute/index.js';
import { taskStates, vmStates, type NovaObjectOf } from '../objects/index.js';
import type { Duty } from './duty.js';
import { perServer } from './per-server.js';

const attributes = ['flavor', 'info_cache', 'metadata', 'system_metadata'] as const;

/** Confirms resizes that nobody confirmed for longer than resize_confirm_window; 0 means never. */
export const unconfirmedResizes = (deps: ComputeDeps, windowSeconds: number): Duty => perServer(deps, {
  name: 'unconfirmed-resizes',
  everySeconds: windowSeconds > 0 ? 60 : 0,
  kind: 'resize',
  failure: 'resize not confirmed; the next round tries again',
  find: () => deps.conductor.migrations.unconfirmed(deps.ownContext(), deps.options.host, windowSeconds),
  uuidOf: (migration) => migration.get('instance_uuid'),
  isDue: () => true, // the conductor chose by time
  act: (uuid, migration) => confirm(deps, uuid, migration),
});

/** What Nova does with each: confirm it, wait for whoever works on it, or mark a migration that can never be confirmed. */
async function confirm(deps: ComputeDeps, uuid: InstanceUuid, migration: NovaObjectOf<'Migration'>): Promise<void> {
  const context = deps.ownContext();
  const instance = await rowOf(deps, uuid);
  const task = instance?.get('task_state') ?? null;
  if (task === taskStates.deleting || task === taskStates.softDeleting || task === taskStates.resizeFinish) return;
  if (instance === null || instance.get('vm_state') !== vmStates.resized || task !== null) {
    deps.log.warn({ instance: uuid, migration: migration.get('id') }, 'migration set to error: its instance is not waiting for a confirmation');
    migration.set('status', 'error');
    return deps.conductor.migrations.save(context, migration);
  }
  if (migration.get('source_compute') !== deps.options.host) return; // the other end's to confirm
  await confirmAsApi(deps, context, instance, migration);
  deps.log.info({ instance: uuid, migration: migration.get('id') }, 'resize confirmed by resize_confirm_window');
}

async function rowOf(deps: ComputeDeps, uuid: InstanceUuid): Promise<NovaObjectOf<'Instance'> | null> {
  try {
    return await deps.conductor.instances.byUuid(deps.ownContext(), uuid, attributes);
  } catch (error) {
    if (isInstanceGone(error)) return null;
    throw error;
  }
}
