/** The machine's half of going back: disks, then a guest of the old flavor unless the server was stopped. The row has the old flavor already. */
import { parseInstanceUuid } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import type { NetworkInfo } from '../../network/index.js';
import { vmStates, type NovaObjectOf } from '../../objects/index.js';
import type { ComputeDeps } from '../deps.js';
import { endGuest } from '../machine-steps.js';
import { bringUp } from '../power-steps.js';
import { oldVmState } from './arguments.js';
import { forgetKept, remakeSwap, revertDisks } from './disk-steps.js';

/** The steps in their order. A guest that runs is ended by force: what it wrote since the resize goes with the disks. */
export function putBackSteps(deps: ComputeDeps, instance: NovaObjectOf<'Instance'>, migration: NovaObjectOf<'Migration'>, vifs: NetworkInfo): readonly Step[] {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const move = migration.get('uuid');
  return [
    endGuest(deps, uuid, { graceMs: 0, retryMs: 0 }),
    revertDisks(deps, uuid, move),
    remakeSwap(deps, uuid, instance.get('flavor'), move),
    forgetKept(deps, uuid, move),
    ...(oldVmState(instance) === vmStates.stopped ? [] : bringUp(deps, instance, vifs)),
  ];
}
