/**
 * Seeing from outside how a save goes. bhyvectl returns at once and its exit code says nothing (64 for every request that it sent, on 13.2), and bhyve does not
 * tell either: it ends when the save is done, or lets the guest go on when it is not. Between, the processors of the guest stand still and the files grow.
 *
 *   guest has ended                                          over
 *   no file grows, but the guest's processors do something   it goes on: the save failed, or was never begun
 *   neither                                                  bhyve is at it (draining a disk, say): waited for, the files decide nothing
 */
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import { readStoredSpec } from './define-guest.js';
import { parseStats } from './diagnostics.js';
import type { LifecycleDeps } from './lifecycle.js';
import { observeGuest } from './observe-guest.js';
import { bhyveFiles, placeOf } from './partial-save.js';
import { saveLimitMs } from './savable.js';

const pollMs = 200;
const lookMs = 1000;
/** Files that have not grown for this long do not grow. */
const quietMs = 10_000;
/** After the limit, for a save that neither ends nor fails. */
const graceMs = 60_000;

export type SaveOutcome = 'ended' | 'goes-on';

/** Octets of the files that bhyve writes. */
async function bytesWritten(deps: LifecycleDeps, instance: InstanceUuid): Promise<bigint> {
  const place = await placeOf(deps, instance);
  let sum = 0n;
  for (const name of bhyveFiles) sum += (await deps.host.files.sizeBytes(`${place}/${name}`)) ?? 0n;
  return sum;
}

/** Cycles that the guest's processors ran in all; they stand still while bhyve saves. */
async function cyclesRun({ host }: LifecycleDeps, instance: InstanceUuid, vcpus: number): Promise<bigint> {
  let sum = 0n;
  for (let id = 0; id < vcpus; id += 1) {
    const { stdout } = await host.run('bhyvectl', [`--vm=${instance}`, `--cpu=${id}`, '--get-stats'], { okExits: 'any' });
    sum += parseStats(stdout).get('vcpu total runtime') ?? 0n;
  }
  return sum;
}

const hasEnded = async (deps: LifecycleDeps, instance: InstanceUuid): Promise<boolean> => {
  const { kind } = await observeGuest(deps, instance);
  return kind === 'ended' || kind === 'left-over';
};

/**
 * Waits until the guest has ended or goes on. AgentError `guest-suspend-unfinished` when bhyve does neither for a minute past the limit: nothing is touched then,
 * because it may still come to its end. `signal` ends the waiting, not the save.
 */
export async function watchSave(deps: LifecycleDeps, instance: InstanceUuid, signal: AbortSignal): Promise<SaveOutcome> {
  const spec = await readStoredSpec(deps.files, instance);
  const { clock } = deps;
  const limit = clock.monotonicMs() + saveLimitMs(spec) + graceMs;
  let seen = { bytes: await bytesWritten(deps, instance), cycles: -1n, sinceMs: clock.monotonicMs() };
  for (let lookedMs = clock.monotonicMs(); clock.monotonicMs() < limit;) {
    await clock.sleep(pollMs, signal);
    if ((await deps.files.readVerdict(instance)) !== undefined) return 'ended';
    if (clock.monotonicMs() - lookedMs < lookMs) continue;
    lookedMs = clock.monotonicMs();
    if (await hasEnded(deps, instance)) return 'ended';
    const bytes = await bytesWritten(deps, instance);
    if (bytes !== seen.bytes) seen = { bytes, cycles: -1n, sinceMs: lookedMs };
    else if (lookedMs - seen.sinceMs >= quietMs) {
      const cycles = await cyclesRun(deps, instance, spec.definition.vcpus);
      if (seen.cycles !== -1n && cycles > seen.cycles) return 'goes-on';
      seen = { ...seen, cycles };
    }
  }
  throw new AgentError('guest-suspend-unfinished', `bhyve of ${instance} neither finished saving the guest nor lets it go on: see bhyve.log`, {
    wire: novaFaults.instanceSuspendFailure('the host neither finished saving it nor lets it go on'),
  });
}
