/**
 * The instance's row of network_info. It is read anew before each write, because nova-api and other operations write it too, and the
 * instance object in hand is brought in line afterwards without marking it changed.
 */
import { networkInfoOf, type NovaObjectOf } from '../../objects/index.js';
import type { Conductor } from '../../conductor/index.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { RequestContext } from '../../rpc/context.js';
import type { NetworkInfo } from '../types.js';

type Instance = NovaObjectOf<'Instance'>;

export interface InfoCache {
  readonly vifs: NetworkInfo;
  save(vifs: NetworkInfo): Promise<void>;
}

/** Null when the row is gone: the instance is being deleted. AgentError `object-malformed` when the row holds no list: whose ports they are is not guessed. */
export async function openInfoCache(conductor: Conductor, context: RequestContext, instance: Instance): Promise<InfoCache | null> {
  const row = await conductor.infoCaches.byInstance(context, instance.get('uuid') as InstanceUuid);
  if (row === null) return null;
  return {
    vifs: networkInfoOf(row) as NetworkInfo,
    save: async (vifs) => {
      const text = JSON.stringify(vifs);
      row.set('network_info', text);
      await conductor.infoCaches.save(context, row);
      mirror(instance, text);
    },
  };
}

function mirror(instance: Instance, text: string): void {
  const held = instance.maybe('info_cache');
  if (held === undefined || held === null) return;
  held.set('network_info', text);
  held.resetChanges();
}

/** What the instance object in hand says. */
export const cachedVifs = (instance: Instance): NetworkInfo => networkInfoOf(instance.maybe('info_cache')) as NetworkInfo;
