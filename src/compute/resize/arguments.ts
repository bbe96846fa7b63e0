/** Arguments that the methods of a resize have in common. */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { parseArgument, type NovaObjectOf } from '../../objects/index.js';
import { anything, instanceArgument, type Availability } from '../operation.js';

export const migrationArgument = z.unknown().transform((value) => parseArgument('Migration', value));
export const flavorArgument = z.unknown().transform((value) => parseArgument('Flavor', value));

/** Moves between hosts are refused in prep_resize, and offered to another host. */
export const sameHostOnly: Availability = { status: 'works', reason: 'on the same host (allow_resize_to_same_host); disks only grow' };

/** What confirm and the two parts of a revert get. */
export const moveArguments = z.looseObject({ instance: instanceArgument, migration: migrationArgument, request_spec: anything.optional() });
export type MoveArguments = z.infer<typeof moveArguments>;

/** What a move needs of the row beside what its messages bring. */
export const moveAttributes = ['flavor', 'info_cache', 'metadata', 'system_metadata', 'migration_context', 'pci_requests', 'numa_topology'] as const;

/** The vm_state before the move: a server that was stopped is not started by it. */
export const oldVmState = (instance: NovaObjectOf<'Instance'>): string => instance.get('system_metadata')['old_vm_state'] ?? 'active';

/** A flavor that `prep_resize` or `resize_instance` left on the row. */
export function stashedFlavor(instance: NovaObjectOf<'Instance'>, which: 'old_flavor' | 'new_flavor'): NovaObjectOf<'Flavor'> {
  const flavor = instance.maybe(which) ?? null;
  if (flavor === null) throw new AgentError('object-field-unset', `the instance does not say its ${which}`, { details: { instance: instance.get('uuid') } });
  return flavor;
}
