/**
 * What to do when Nova's record and the guest disagree about power (nova-contract 4.2). Pure: the caller re-reads row and
 * guest first and skips instances with a task. The guest is always right about power_state; vm_state follows Nova's rules.
 */
import { powerStates, type PowerState } from '../virt/index.js';
import { vmStates } from '../objects/index.js';

export type PowerSyncAction =
  | { readonly kind: 'none' }
  /** Only worth a log line. */
  | { readonly kind: 'note'; readonly text: string }
  /** Through the API's way: task powering-off, then stop. */
  | { readonly kind: 'stop' }
  /** The same without a graceful shutdown: a guest that must not run. */
  | { readonly kind: 'force-stop' };

export function decidePowerSync(vmState: string | null, guest: PowerState): PowerSyncAction {
  const isDown = guest === powerStates.shutdown || guest === powerStates.crashed;
  switch (vmState) {
    case vmStates.active:
      if (isDown || guest === powerStates.suspended) return { kind: 'stop' };
      if (guest === powerStates.paused) return { kind: 'note', text: 'guest of an active instance is paused' };
      if (guest === powerStates.noState) return { kind: 'note', text: 'guest of an active instance is absent' };
      return { kind: 'none' };
    case vmStates.stopped:
      return guest === powerStates.running || guest === powerStates.paused ? { kind: 'force-stop' } : { kind: 'none' };
    case vmStates.paused:
      return isDown ? { kind: 'force-stop' } : { kind: 'none' };
    case vmStates.softDeleted:
    case vmStates.deleted:
      return guest === powerStates.running ? { kind: 'note', text: 'guest of a deleted instance runs' } : { kind: 'none' };
    default:
      return { kind: 'none' };
  }
}
