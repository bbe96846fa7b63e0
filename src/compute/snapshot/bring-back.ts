/**
 * The way back of a checkpoint with memory: its guest was saved and ended, and must go on from there, whatever became of the checkpoint. Never a cold start: that
 * would lose what the user is told nothing of. Where the guest cannot go on, its server becomes a suspended one: the save is kept, `openstack server resume` tries
 * again, and a hard reboot gives the save up.
 */
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { vmStates, type NovaObjectOf } from '../../objects/index.js';
import type { ComputeDeps } from '../deps.js';
import { actAll, letDisksGo, plugVifs, restoreGuest, saveGuest } from '../machine-steps.js';
import { saveState } from '../save-state.js';
import { oldVmStateKey } from '../suspend-instance.js';
import { recordFault } from '../wrappers.js';

/** Finishes a save that was cut off, and lets the guest go on; one that runs is only cleaned up after. A guest that ended without a save stays off. Idempotent. */
export async function bringBack(deps: ComputeDeps, instance: NovaObjectOf<'Instance'>): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  if (await deps.driver.isSaving(uuid)) await finishSave(deps, instance);
  const isRunning = (await deps.driver.state(uuid)).kind === 'running';
  if (!isRunning && !(await deps.driver.hasSave(uuid))) return;
  // The taps are gone if the host was restarted meanwhile.
  if (!isRunning) await actAll([plugVifs(deps, uuid, () => deps.ports.cached(instance), () => undefined)]);
  await actAll([restoreGuest(deps, uuid), letDisksGo(deps, uuid)]);
}

async function finishSave(deps: ComputeDeps, instance: NovaObjectOf<'Instance'>): Promise<void> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  try {
    await actAll([saveGuest(deps, uuid)]);
  } catch (err) {
    if (!(err instanceof AgentError)) throw err;
    deps.log.warn({ err, instance: uuid }, 'save of a guest came to nothing');
  }
}

/**
 * Whether the guest is off with a save that it did not go on from; then the row says suspended, without being saved yet. One that Nova knows as suspended is no
 * business of ours.
 */
export async function showIfLeftSaved(deps: Pick<ComputeDeps, 'driver'>, instance: NovaObjectOf<'Instance'>): Promise<boolean> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  if (instance.get('vm_state') === vmStates.suspended || (await deps.driver.state(uuid)).kind === 'running' || !(await deps.driver.hasSave(uuid))) return false;
  instance.set('vm_state', vmStates.suspended);
  instance.set('power_state', await deps.driver.powerState(uuid));
  instance.set('system_metadata', { ...instance.get('system_metadata'), [oldVmStateKey]: vmStates.active });
  return true;
}

/** The same after a restart, for whom nobody waits: a guest that cannot go on is a suspended server's, and its user is told so by the fault. */
export async function comeBack(deps: ComputeDeps, row: NovaObjectOf<'Instance'>): Promise<void> {
  try {
    await bringBack(deps, row);
    return;
  } catch (err) {
    deps.log.error({ err, instance: row.get('uuid') }, 'guest did not go on after an interrupted checkpoint');
    await recordFault(deps, deps.ownContext(), parseInstanceUuid(row.get('uuid')), err);
  }
  if (await showIfLeftSaved(deps, row)) await saveState(deps, deps.ownContext(), row, {});
}
