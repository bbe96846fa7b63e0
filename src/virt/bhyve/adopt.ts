/**
 * Taking guests over after a restart of the agent. Four cases (bhyve-facts 5.6): folder and proven process → adopted; folder and leftovers →
 * cleaned, with a verdict; folder only → it is off; process or vmm entry without a folder → not ours: reported, never touched.
 */
import { isUuid, type InstanceUuid } from '../../lib/ids.js';
import { sideBySide } from '../../lib/side-by-side.js';
import { filesAtOnce } from './guest-files.js';
import { putAway, type LifecycleDeps } from './lifecycle.js';
import { listProcesses, observeGuest } from './observe-guest.js';
import { isFromBoot } from './boot-id.js';
import { withdrawIfIdle } from './suspend-guest.js';
import type { Watch } from './watch.js';

export interface AdoptionReport {
  readonly adopted: readonly InstanceUuid[];
  readonly cleaned: readonly InstanceUuid[];
  /** Names under /dev/vmm that no folder explains. */
  readonly foreign: readonly string[];
}

export async function adoptGuests(deps: LifecycleDeps, watch: Watch): Promise<AdoptionReport> {
  const { host, files, log } = deps;
  const instances = await files.list();
  const all = await listProcesses(host);
  const outcomes = await sideBySide(instances, filesAtOnce, async (instance) => {
    try {
      return await adoptOne(deps, watch, instance, all);
    } catch (err) {
      log.error({ err, instance }, 'could not take a guest over; it is left as it is');
      return 'left';
    }
  });
  const [adopted, cleaned] = (['adopted', 'cleaned'] as const).map((wanted) => instances.filter((_instance, index) => outcomes[index] === wanted)) as [InstanceUuid[], InstanceUuid[]];
  const foreign = (await host.files.list(`${host.deviceRoot}/vmm`)).filter((name) => !isUuid(name) || !instances.includes(name as InstanceUuid));
  if (foreign.length > 0) log.warn({ foreign }, 'other machines run on this host; they are left alone');
  if (instances.length > 0) log.info({ adopted: adopted.length, cleaned: cleaned.length, defined: instances.length }, 'guests taken over');
  return { adopted, cleaned, foreign };
}

async function adoptOne(
  deps: LifecycleDeps, watch: Watch, instance: InstanceUuid, all: Parameters<typeof observeGuest>[2],
): Promise<'adopted' | 'cleaned' | 'off'> {
  const { files, log } = deps;
  const seen = await observeGuest(deps, instance, all);
  if (seen.kind === 'running' || seen.kind === 'coming-up') {
    // The stop that wrote it died with the agent; if it is wanted still, it is asked for again.
    await files.forget(instance, ['stopMarker']);
    await withdrawIfIdle(deps, instance);
    const isSupervised = seen.kind === 'coming-up' || seen.isSupervised;
    watch.note(instance, { kind: 'running', pid: seen.kind === 'running' ? seen.process.pid : null, isSupervised });
    if (!isSupervised) log.warn({ instance }, 'a guest has lost its supervisor; its exit status will not be known');
    return 'adopted';
  }
  watch.note(instance, { kind: 'stopped' });
  if (seen.kind === 'ended' && seen.verdict !== null && !seen.isSupervised) return 'off';
  if (seen.kind === 'left-over') {
    const isSame = seen.status !== undefined && isFromBoot(seen.status, await deps.boot());
    await putAway(deps, instance, false, isSame || seen.status === undefined ? 'guest and supervisor were killed' : 'the host restarted while the guest ran');
    return 'cleaned';
  }
  if (seen.kind === 'ended' && seen.isSupervised) await putAway(deps, instance, false);
  return 'off';
}

