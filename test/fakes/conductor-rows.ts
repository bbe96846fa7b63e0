/** The part of nova-conductor that network/ports uses: info caches and virtual interfaces, as rows in memory. */
import type { Conductor } from '../../src/conductor/index.js';
import { createObject, profileNamed, type NovaObjectOf } from '../../src/objects/index.js';

export interface ConductorRows {
  readonly conductor: Conductor;
  /** network_info text by instance; a missing row means that the instance is gone. */
  readonly caches: Map<string, string | null>;
  readonly interfaces: { port: string; instance: string; mac: string; tag: string | null }[];
  /** Each saved network_info, parsed. */
  readonly saves: unknown[];
  /** Throw here to make the next call of that name fail. */
  failOn: ((call: string) => Error | undefined) | undefined;
}

export const zed = profileNamed('zed');

export function createConductorRows(): ConductorRows {
  const attempt = (call: string): void => {
    const failure = rows.failOn?.(call);
    if (failure !== undefined) throw failure;
  };
  const rows: ConductorRows = {
    caches: new Map(), interfaces: [], saves: [], failOn: undefined,
    conductor: {
      infoCaches: {
        byInstance: async (_context, uuid) => {
          attempt('infoCaches.byInstance');
          const text = rows.caches.get(uuid);
          return text === undefined ? null : createObject(zed, 'InstanceInfoCache', { instance_uuid: uuid, network_info: text });
        },
        save: async (_context, cache) => {
          attempt('infoCaches.save');
          const text = cache.get('network_info');
          rows.caches.set(cache.get('instance_uuid'), text);
          rows.saves.push(JSON.parse(text ?? '[]'));
        },
      },
      virtualInterfaces: {
        create: async (_context, fields) => {
          attempt('virtualInterfaces.create');
          if (rows.interfaces.some((row) => row.port === fields.port)) throw new Error('a second row of one port');
          rows.interfaces.push(fields);
        },
        byInstance: async (_context, uuid) => rows.interfaces.filter((row) => row.instance === uuid).map((row, index) =>
          createObject(zed, 'VirtualInterface', { id: index + 1, uuid: row.port, instance_uuid: uuid, address: `${row.mac}/${row.port}`, tag: row.tag })),
        deleteByInstance: async (_context, uuid) => {
          attempt('virtualInterfaces.deleteByInstance');
          for (let index = rows.interfaces.length - 1; index >= 0; index -= 1) if (rows.interfaces[index]?.instance === uuid) rows.interfaces.splice(index, 1);
        },
      },
    } as Partial<Conductor> as Conductor,
  };
  return rows;
}

/** An instance as build_and_run_instance brings it, with a cache of its own. */
export function fakeInstance(uuid: string, fields: Partial<Parameters<typeof createObject<'Instance'>>[2]> = {}): NovaObjectOf<'Instance'> {
  const cache = createObject(zed, 'InstanceInfoCache', { instance_uuid: uuid, network_info: '[]' });
  cache.resetChanges();
  const instance = createObject(zed, 'Instance', { uuid, project_id: 'project', hostname: 'web-1', availability_zone: 'nova', vm_state: 'building', info_cache: cache, deleted: false, ...fields });
  instance.resetChanges();
  return instance;
}
