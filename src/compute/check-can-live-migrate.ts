/**
 * Live migration is refused here so that the server stays as it is: MigrationPreCheckError makes the conductor try the next host and
 * end in NoValidHost; any other class would put the server into ERROR (nova-contract 6.9).
 */
import { novaFaults, refuse } from '../lib/nova-faults.js';
import type { InstanceMethod } from './operation.js';
import { onlyInstance, questionWrappers, type OnlyInstance } from './questions.js';

const reason = 'live migration is not supported by this host yet';

const refusal = (rpc: string, event: string): InstanceMethod<OnlyInstance> => ({
  kind: 'instance',
  rpc,
  availability: { status: 'refused', reason },
  args: onlyInstance,
  wrappers: { ...questionWrappers, event },
  gate: null,
  isJournalled: false,
  run: () => Promise.reject(refuse(novaFaults.migrationPreCheckError(reason))),
});

export const checkCanLiveMigrateDestination = refusal('check_can_live_migrate_destination', 'compute_check_can_live_migrate_destination');
export const checkCanLiveMigrateSource = refusal('check_can_live_migrate_source', 'compute_check_can_live_migrate_source');
