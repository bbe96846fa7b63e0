/**
 * What a move to this host writes (nova-contract 9): the migration's destination, and the record on the instance of what the move changes
 * besides the flavor. Guests here have neither NUMA placement nor passthrough devices, so old and new of these are nothing.
 */
import type { Conductor } from '../../conductor/index.js';
import { createObject, type NovaObjectOf } from '../../objects/index.js';
import type { RequestContext } from '../../rpc/context.js';

export interface MoveClaim {
  readonly migration: NovaObjectOf<'Migration'>;
  /** The flavor that the instance is to have. */
  readonly flavor: NovaObjectOf<'Flavor'>;
  /** The node that the scheduler chose; null: whichever is here. */
  readonly node: string | null;
}

export interface MoveTarget { readonly host: string; readonly node: string; readonly hostIp: string; readonly computeId: number }

type Deps = Pick<Conductor, 'profile' | 'migrations' | 'instances'>;

/** Saves the migration with its destination. */
export async function aimMigration(conductor: Deps, context: RequestContext, migration: NovaObjectOf<'Migration'>, target: MoveTarget): Promise<void> {
  migration.set('dest_compute', target.host);
  migration.set('dest_node', target.node);
  migration.set('dest_host', target.hostIp);
  if (conductor.profile.hasComputeId) migration.set('dest_compute_id', target.computeId);
  migration.set('status', 'pre-migrating');
  await conductor.migrations.save(context, migration);
}

/** Saves the instance with the record of the move; an earlier one's is replaced. */
export async function recordMove(conductor: Deps, context: RequestContext, instance: NovaObjectOf<'Instance'>, migration: NovaObjectOf<'Migration'>): Promise<void> {
  const requests = instance.maybe('pci_requests') ?? null;
  instance.set('migration_context', createObject(conductor.profile, 'MigrationContext', {
    instance_uuid: instance.get('uuid'), migration_id: migration.get('id'),
    old_numa_topology: null, new_numa_topology: null, old_pci_devices: null, new_pci_devices: null, old_pci_requests: requests, new_pci_requests: requests,
    old_resources: null, new_resources: null,
  }));
  await conductor.instances.save(context, instance);
}

/** Saves a new status of the migration. */
export async function saveStatus(conductor: Pick<Conductor, 'migrations'>, context: RequestContext, migration: NovaObjectOf<'Migration'>, status: string): Promise<void> {
  migration.set('status', status);
  await conductor.migrations.save(context, migration);
}
