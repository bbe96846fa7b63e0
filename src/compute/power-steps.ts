/** The steps that bring an existing instance's guest up from what Nova's database and the disks say (start, reboot). */
import { parseInstanceUuid } from '../lib/ids.js';
import type { Step } from '../journal/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { NetworkInfo, PluggedVif } from '../network/index.js';
import type { ComputeDeps } from './deps.js';
import { guestDefinition } from './guest-definition.js';
import { defineGuest, plugVifs, startGuest } from './machine-steps.js';

/** What stop, start and reboot need of the row. nova-api sends start and stop without the flavor and the cache: load what is missing. */
export const powerAttributes = ['flavor', 'info_cache', 'metadata', 'system_metadata'] as const;

/** Plug, define from current facts (stored slots stay), start. The config drive that the guest was built with is kept. */
export function bringUp(deps: ComputeDeps, instance: NovaObjectOf<'Instance'>, vifs: NetworkInfo): readonly Step[] {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  let plugged: readonly PluggedVif[] = [];
  const definition = async (): ReturnType<Parameters<typeof defineGuest>[2]> => {
    const stored = await deps.driver.definition(uuid);
    return guestDefinition({
      instance,
      nameTemplate: deps.options.instanceNameTemplate,
      disks: await deps.storage.disks(uuid),
      plugged,
      configDrivePath: stored?.configDrive?.path ?? null,
      hasVnc: deps.options.vnc !== null,
      capabilities: deps.driver.capabilities,
    });
  };
  return [
    plugVifs(deps, uuid, () => vifs, (result) => { plugged = result; }),
    defineGuest(deps, uuid, definition, { isNew: false }),
    startGuest(deps, uuid),
  ];
}
