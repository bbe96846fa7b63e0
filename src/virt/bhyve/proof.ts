/**
 * Which processes belong to a guest. A pid alone proves nothing. A guest's bhyve is ours if its title is exactly `bhyve: UUID` and
 *  - its parent is the supervisor that runs out of the guest's folder, or
 *  - the status file of this boot names its pid, and it started when that file says (the supervisor was killed, the guest lives on).
 * A process with the right title and neither of these is a stranger: reported, never signalled, never started over.
 */
import type { ProcessInfo, ProcessProof } from '../../host/index.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { isFromBoot } from './boot-id.js';
import type { SupervisorStatus } from './verdict.js';

/** Seconds by which ps and date may disagree about a start: ps adds the boot time, which moves when the clock is set. */
const startToleranceSeconds = 5;

export interface GuestProcesses {
  readonly guest: ProcessInfo | undefined;
  readonly supervisor: ProcessInfo | undefined;
  readonly consoleReaders: readonly ProcessInfo[];
  readonly strangers: readonly ProcessInfo[];
}

export interface Whose {
  readonly instance: InstanceUuid;
  /** The guest's supervisor script, absolute. */
  readonly supervisorPath: string;
  readonly status: SupervisorStatus | undefined;
  readonly boot: string;
}

export const guestTitle = (instance: InstanceUuid): string => `bhyve: ${instance}`;

/** What a signal to a guest's bhyve is sent by. */
export const proofOfGuest = (instance: InstanceUuid, process: ProcessInfo): ProcessProof => ({
  pid: process.pid, startedAtSeconds: process.startedAtSeconds, command: guestTitle(instance),
});

/** ps says T for a process that SIGSTOP has stopped: a paused guest. */
export const isStopped = (process: ProcessInfo): boolean => process.state.startsWith('T');

/** Whether the status file says that `process` is the guest's bhyve; the title is checked as well. */
export function isNamedByStatus(process: ProcessInfo, { instance, status, boot }: Whose): boolean {
  return status !== undefined && isFromBoot(status, boot) && process.pid === status.pid && process.command === guestTitle(instance)
    && (process.parentPid === status.supervisorPid || Math.abs(process.startedAtSeconds - status.sinceSeconds) <= startToleranceSeconds);
}

/** A process list of one moment, sorted once, so that looking at each of many guests does not go through all of it for each. */
export interface SortedProcesses {
  /** By their whole title or command line. */
  readonly byCommand: ReadonlyMap<string, readonly ProcessInfo[]>;
  /** Shells, by the script that they run. */
  readonly byScript: ReadonlyMap<string, readonly ProcessInfo[]>;
}

export function sortProcesses(all: readonly ProcessInfo[]): SortedProcesses {
  const [byCommand, byScript] = [new Map<string, ProcessInfo[]>(), new Map<string, ProcessInfo[]>()];
  const put = (map: Map<string, ProcessInfo[]>, key: string, process: ProcessInfo): void => {
    const same = map.get(key);
    if (same === undefined) map.set(key, [process]);
    else same.push(process);
  };
  for (const process of all) {
    put(byCommand, process.command, process);
    const script = scriptOf(process.command);
    if (script !== undefined) put(byScript, script, process);
  }
  return { byCommand, byScript };
}

/** What of a process list belongs to one guest. */
export function findGuestProcesses(all: SortedProcesses, whose: Whose): GuestProcesses {
  const scripts = all.byScript.get(whose.supervisorPath) ?? [];
  const isReader = ({ command }: ProcessInfo): boolean => command.includes(`${whose.supervisorPath} --console `);
  const supervisorPids = new Set(scripts.filter((process) => !isReader(process)).map(({ pid }) => pid));
  const supervisor = scripts.find((process) => supervisorPids.has(process.pid) && !supervisorPids.has(process.parentPid));
  const titled = all.byCommand.get(guestTitle(whose.instance)) ?? [];
  const guest = titled.find((process) => supervisorPids.has(process.parentPid) || isNamedByStatus(process, whose));
  return { guest, supervisor, consoleReaders: scripts.filter(isReader), strangers: titled.filter((process) => process !== guest) };
}

/** SCRIPT of `/bin/sh SCRIPT …`; not of `daemon … /bin/sh SCRIPT …`, nor of an editor that has the file open. */
function scriptOf(command: string): string | undefined {
  const [shell, path] = command.split(' ', 2);
  return shell === 'sh' || shell?.endsWith('/sh') === true ? path : undefined;
}
