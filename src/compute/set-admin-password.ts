import { z } from 'zod';
import { parseInstanceUuid } from '../lib/ids.js';
import { novaFaults, refuse } from '../lib/nova-faults.js';
import { taskStates } from '../objects/index.js';
import { powerStates } from '../virt/index.js';
import { instanceArgument, type InstanceMethod, type Operation } from './operation.js';
import { saveState } from './save-state.js';

const args = z.looseObject({ instance: instanceArgument });
type Args = z.infer<typeof args>;

/**
 * Nobody inside the guest could be told a password: refused, in the words that nova-api makes a 501 or (for a guest that is off) a 409 of. The
 * password is never looked at. The task is given up with the state that Nova expects, so that a delete which came meanwhile keeps its own.
 */
export const setAdminPassword: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'set_admin_password',
  availability: { status: 'refused', reason: 'there is no agent in the guest that could do it' },
  args,
  wrappers: { revertsTask: false, event: 'compute_set_admin_password', recordsFault: true },
  gate: null, // nothing is touched
  isJournalled: true, // a lost refusal would leave the task set for ever
  resumeTasks: [taskStates.updatingPassword],
  run: refusePassword,
};

async function refusePassword({ args: { instance }, context, deps, log }: Operation<Args>): Promise<never> {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const isRunning = (await deps.driver.powerState(uuid)) === powerStates.running;
  await saveState(deps, context, instance, { taskState: null }, taskStates.updatingPassword);
  log.info({ outcome: 'refused', reason: 'no guest agent' }, 'request refused');
  throw refuse(isRunning
    ? novaFaults.notImplemented('Setting a password is not supported: no agent in the guest is there to do it')
    : novaFaults.instancePasswordSetFailed(uuid, `instance ${uuid} is not running`));
}
