/** Instance rows and what hangs on them: info cache, block devices, migrations. */
import { createObject, isNovaObject, toNovaTime, type NovaObjectOf } from '../objects/index.js';
import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import type { RequestContext } from '../rpc/context.js';
import { isRemote } from '../rpc/index.js';
import { membersOf, objectOf, type ConductorParts } from './parts.js';
import { destroyOnce } from './rows.js';
import type { Conductor, ExpectedTaskState, SaveOptions } from './types.js';

const attrs = (expected: readonly string[] | undefined): Record<string, unknown> => (expected === undefined ? {} : { expected_attrs: [...expected] });

/** Nova takes null for "do not check"; that there is no task is [null]. */
const stateArgument = (expected: ExpectedTaskState): unknown => (expected === null ? [null] : expected);

const saveArguments = (options: SaveOptions): Record<string, unknown> =>
  options.expectedTaskState === undefined ? {} : { expected_task_state: stateArgument(options.expectedTaskState) };

export function instanceCalls({ calls, read, repeat }: ConductorParts): Conductor['instances'] {
  const byUuid = async (context: RequestContext, uuid: InstanceUuid, expected?: readonly string[]): Promise<NovaObjectOf<'Instance'>> =>
    objectOf('Instance', await read(context, 'Instance', 'get_by_uuid', [uuid], attrs(expected)));
  const list = async (context: RequestContext, method: string, args: readonly unknown[], expected?: readonly string[]): Promise<NovaObjectOf<'Instance'>[]> =>
    membersOf('Instance', await read(context, 'InstanceList', method, args, attrs(expected)));

  /** Whether the row has every column that we meant to write; if so the object takes the row over. */
  async function isWritten(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<boolean> {
    const row = await byUuid(context, instance.get('uuid') as InstanceUuid);
    const wanted = instance as NovaObjectOf<never>;
    const columns = [...instance.changes].filter((field) => row.isSet(field as 'host') && !isNovaObject(wanted.get(field as never)));
    const isSame = columns.every((field) => JSON.stringify(row.get(field as 'host')) === JSON.stringify(wanted.get(field as never)));
    if (!isSame || columns.length === 0) return false;
    instance.takeFrom(row);
    instance.resetChanges();
    return true;
  }

  return {
    byUuid,
    byHost: (context, host, expected) => list(context, 'get_by_host', [host], expected),
    byHostAndNode: (context, host, node, expected) => list(context, 'get_by_host_and_node', [host, node], expected),
    byFilters: (context, filters, expected) => list(context, 'get_by_filters', [filters], expected),
    async uuidsByHost(context, host) {
      const uuids = await read(context, 'InstanceList', 'get_uuids_by_host', [host]);
      return Array.isArray(uuids) ? uuids.map(parseInstanceUuid) : [];
    },
    // Repeatable: columns are set to values. With an expected state the first attempt may have moved it on; then the row decides.
    save: (context, instance, options = {}) => repeat('Instance.save', async (isRepeat) => {
      try {
        await calls.action(context, instance, 'save', [], saveArguments(options));
      } catch (error) {
        if (!isRepeat || !isRemote(error, 'UnexpectedTaskStateError') || !(await isWritten(context, instance))) throw error;
      }
    }),
    async activeBetween(context, { begin, end }, host) {
      const kwargs = { host, expected_attrs: ['system_metadata', 'info_cache', 'metadata', 'flavor'] };
      return membersOf('Instance', await read(context, 'InstanceList', '_get_active_by_window_joined', [toNovaTime(begin), toNovaTime(end)], kwargs));
    },
    refresh: (context, instance) => repeat('Instance.refresh', async () => void await calls.action(context, instance, 'refresh')),
    destroy: (context, instance) => destroyOnce(repeat, 'Instance.destroy', 'InstanceNotFound', () => calls.action(context, instance, 'destroy')),
    async load(context, instance, wanted) {
      const missing = wanted.filter((attr) => !instance.isSet(attr as 'host'));
      if (missing.length === 0) return;
      instance.takeFrom(await byUuid(context, instance.get('uuid') as InstanceUuid, missing), missing);
    },
    // Repeatable: Nova takes it as done when there is nothing to delete.
    dropMigrationContext: (context, instance) => repeat('Instance.drop_migration_context', async () => void await calls.action(context, instance, 'drop_migration_context')),
  };
}

export function infoCacheCalls({ calls, read, repeat, profile }: ConductorParts): Conductor['infoCaches'] {
  return {
    async byInstance(context, uuid) {
      try {
        return objectOf('InstanceInfoCache', await read(context, 'InstanceInfoCache', 'get_by_instance_uuid', [uuid]));
      } catch (error) {
        if (isRemote(error, 'InstanceInfoCacheNotFound')) return null;
        throw error;
      }
    },
    // Repeatable: one column. Sent as Nova sends it, as a small object of its own: the row is found by instance_uuid.
    save: (context, cache) => repeat('InstanceInfoCache.save', async () => {
      const update = createObject(profile(), 'InstanceInfoCache', { instance_uuid: cache.get('instance_uuid'), network_info: cache.get('network_info') });
      await calls.action(context, update, 'save');
      cache.takeFrom(update);
      cache.resetChanges();
    }),
  };
}

export function blockDeviceCalls({ calls, read, repeat }: ConductorParts): Conductor['blockDevices'] {
  return {
    async byInstance(context, uuid) {
      return membersOf('BlockDeviceMapping', await read(context, 'BlockDeviceMappingList', 'get_by_instance_uuid', [uuid]));
    },
    // Repeatable: columns are set to values.
    save: (context, mapping) => repeat('BlockDeviceMapping.save', async () => void await calls.action(context, mapping, 'save')),
  };
}

export function migrationCalls({ calls, read, repeat }: ConductorParts): Conductor['migrations'] {
  return {
    async byFilters(context, filters) {
      return membersOf('Migration', await read(context, 'MigrationList', 'get_by_filters', [filters]));
    },
    async inProgressAndError(context, host, node) {
      return membersOf('Migration', await read(context, 'MigrationList', 'get_in_progress_and_error', [host, node]));
    },
    async unconfirmed(context, host, seconds) {
      return membersOf('Migration', await read(context, 'MigrationList', 'get_unconfirmed_by_dest_compute', [seconds, host]));
    },
    async byId(context, id, instance) {
      try {
        return objectOf('Migration', await read(context, 'Migration', 'get_by_id_and_instance', [id, instance]));
      } catch (error) {
        if (isRemote(error, 'MigrationNotFoundForInstance') || isRemote(error, 'MigrationNotFound')) return null;
        throw error;
      }
    },
    // Repeatable: columns are set to values.
    save: (context, migration) => repeat('Migration.save', async () => void await calls.action(context, migration, 'save')),
  };
}
