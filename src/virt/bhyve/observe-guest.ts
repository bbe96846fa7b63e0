/**
 * What the machine says about one guest right now. A process list that the caller has, then files (a verdict needs no process list), then ps with proof.
 *
 *   below its supervisor in a list        → running
 *   verdict there                         → ended
 *   status there, process proven          → running
 *   supervisor alive, neither             → coming up (between two runs, or just started)
 *   nothing alive, status or vmm entry    → left over: the supervisor was killed, or the host rebooted
 *   nothing                               → ended or never started
 */
import type { Host, ProcessInfo } from '../../host/index.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { GuestFiles } from './guest-files.js';
import { findGuestProcesses, isNamedByStatus, sortProcesses, type GuestProcesses, type SortedProcesses, type Whose } from './proof.js';
import type { StoredVerdict, SupervisorStatus } from './verdict.js';

export type Observation =
  | { readonly kind: 'ended'; readonly verdict: StoredVerdict | null; readonly isSupervised: boolean }
  | { readonly kind: 'running'; readonly process: ProcessInfo; readonly status: SupervisorStatus | undefined; readonly isSupervised: boolean }
  | { readonly kind: 'coming-up'; readonly status: SupervisorStatus | undefined }
  | { readonly kind: 'left-over'; readonly hasVmm: boolean; readonly status: SupervisorStatus | undefined };

export interface ObserveDeps {
  readonly host: Host;
  readonly files: GuestFiles;
  readonly boot: () => Promise<string>;
}

export const vmmEntry = (host: Pick<Host, 'deviceRoot'>, instance: InstanceUuid): string => `${host.deviceRoot}/vmm/${instance}`;

async function whose({ files, boot }: ObserveDeps, instance: InstanceUuid): Promise<Whose> {
  return { instance, supervisorPath: files.paths(instance).supervisor, status: await files.readStatus(instance), boot: await boot() };
}

/** The guest's processes out of a process list; takes its own if none is given. */
export async function guestProcesses(deps: ObserveDeps, instance: InstanceUuid, all?: SortedProcesses): Promise<GuestProcesses> {
  return findGuestProcesses(all ?? (await listProcesses(deps.host)), await whose(deps, instance));
}

/** The processes of this moment, sorted for looks at many guests. */
export const listProcesses = async (host: Pick<Host, 'processes'>): Promise<SortedProcesses> => sortProcesses(await host.processes.list());

/** One look. `all` is a process list of this moment, if the caller has one. */
export async function observeGuest(deps: ObserveDeps, instance: InstanceUuid, all?: SortedProcesses): Promise<Observation> {
  const { host, files } = deps;
  const below = all === undefined ? undefined : findGuestProcesses(all, { instance, supervisorPath: files.paths(instance).supervisor, status: undefined, boot: '' });
  // Below its supervisor it is ours whatever the files say (proof.ts): a look at hundreds of guests that are well reads none.
  if (below?.guest !== undefined && below.supervisor !== undefined) return { kind: 'running', process: below.guest, status: undefined, isSupervised: true };
  const verdict = await files.readVerdict(instance);
  const who = await whose(deps, instance);
  if (verdict !== undefined) return { kind: 'ended', verdict, isSupervised: who.status !== undefined };
  if (all === undefined && who.status !== undefined) {
    // The usual case costs one ps of one process.
    const process = await host.processes.find(who.status.pid);
    if (process !== undefined && isNamedByStatus(process, who)) return { kind: 'running', process, status: who.status, isSupervised: true };
  }
  const found = findGuestProcesses(all ?? (await listProcesses(host)), who);
  if (found.guest !== undefined) return { kind: 'running', process: found.guest, status: who.status, isSupervised: found.supervisor !== undefined };
  // The verdict may have come while we looked.
  const late = await files.readVerdict(instance);
  if (late !== undefined) return { kind: 'ended', verdict: late, isSupervised: found.supervisor !== undefined };
  if (found.supervisor !== undefined) return { kind: 'coming-up', status: who.status };
  const hasVmm = await host.files.exists(vmmEntry(host, instance));
  if (hasVmm || who.status !== undefined) return { kind: 'left-over', hasVmm, status: who.status };
  return { kind: 'ended', verdict: null, isSupervised: false };
}
