/** What a move changes on the instance's row. Sets only; the caller saves. */
import type { NovaObjectOf } from '../../objects/index.js';

/** The row has the flavor, and copies of its amounts. */
export function setFlavor(instance: NovaObjectOf<'Instance'>, flavor: NovaObjectOf<'Flavor'>): void {
  instance.set('instance_type_id', flavor.get('id'));
  instance.set('memory_mb', flavor.get('memory_mb'));
  instance.set('vcpus', flavor.get('vcpus'));
  instance.set('root_gb', flavor.get('root_gb'));
  instance.set('ephemeral_gb', flavor.get('ephemeral_gb'));
  instance.set('flavor', flavor);
}

/** The row forgets the flavors of the move and the state before it. The tracker reads them, so this comes last. */
export function clearStash(instance: NovaObjectOf<'Instance'>): void {
  const { old_vm_state: _state, ...metadata } = instance.get('system_metadata');
  instance.set('old_flavor', null);
  instance.set('new_flavor', null);
  instance.set('system_metadata', metadata);
}
