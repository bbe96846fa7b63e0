/** The steps that bring an existing instance's guest up from what Nova's database and the disks say (start, reboot). */
import { parseInstanceUuid } from '../lib/ids.js';
import type { Step } from '../journal/index.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { NetworkInfo, PluggedVif } from '../network/index.js';
import type { DiskInfo } from '../storage/index.js';
import type { GuestDefinition } from '../virt/index.js';
import type { ComputeDeps } from './deps.js';
import { guestDefinition } from './guest-definition.js';
import { defineGuest, plugVifs, startGuest } from './machine-steps.js';
import type { RescueAttachment } from './rescue/rescue-request.js';

/** What stop, start and reboot need of the row. nova-api sends start and stop without the flavor and the cache: load what is missing. */
export const powerAttributes = ['flavor', 'info_cache', 'metadata', 'system_metadata'] as const;

/** How a guest comes up that is to be rescued. */
export interface RescueSetup extends RescueAttachment {
  /** Of the rescue's own drive; known when the guest is defined. */
  readonly configDrivePath: () => string | null;
}

/**
 * Plug, define from current facts (stored slots stay), start. The config drive that the guest was built with is kept. A guest that has a rescue
 * disk comes up rescued, as `rescue` says or as it was defined before.
 */
export function bringUp(deps: ComputeDeps, instance: NovaObjectOf<'Instance'>, vifs: NetworkInfo, rescue?: RescueSetup): readonly Step[] {
  const uuid = parseInstanceUuid(instance.get('uuid'));
  let plugged: readonly PluggedVif[] = [];
  const definition = async (): Promise<GuestDefinition> => {
    const disks = await deps.storage.disks(uuid);
    const setup = rescue ?? rescueAsDefined(await deps.driver.definition(uuid), disks);
    return guestDefinition({
      instance,
      nameTemplate: deps.options.instanceNameTemplate,
      disks: setup === null || setup.keepsDisks ? disks : disks.filter(({ role }) => role === 'rescue' || role === 'root'),
      plugged,
      configDrivePath: setup === null ? await deps.configDrive.existing(uuid) : setup.configDrivePath(),
      hasVnc: deps.options.vnc !== null,
      capabilities: deps.driver.capabilities,
      ...(setup === null ? {} : { rescue: { bus: setup.bus, kind: setup.kind } }),
    });
  };
  return [
    plugVifs(deps, uuid, () => vifs, (result) => { plugged = result; }),
    defineGuest(deps, uuid, definition, { isNew: false }),
    startGuest(deps, uuid),
  ];
}

/** The rescue that a stored definition describes; null if there is none, or if its disk is gone. */
function rescueAsDefined(stored: GuestDefinition | undefined, disks: readonly DiskInfo[]): RescueSetup | null {
  const disk = stored?.disks.find(({ role }) => role === 'rescue');
  if (stored === undefined || disk === undefined || !disks.some(({ role }) => role === 'rescue')) return null;
  const path = stored.configDrive?.path ?? null;
  return { bus: disk.bus, kind: disk.kind, keepsDisks: stored.disks.length === disks.length, configDrivePath: () => path };
}
