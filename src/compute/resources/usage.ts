/**
 * What instances use, and what the ComputeNode row says of it. Pure: the row's fields are computed anew from all that is
 * tracked, never by adding to what they were, so a lost update cannot leave a wrong number behind.
 */
import { flavorOf, isBootFromVolume, taskStates, vmStates, type NovaObjectOf } from '../../objects/index.js';

/** What one flavor takes from the host. */
export interface Usage {
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** Root, ephemeral and swap; a fraction when swap is no whole GiB. */
  readonly diskGiB: number;
}

/** What the scheduler counts of one instance. */
export interface TrackedInstance {
  readonly vmState: string | null;
  readonly taskState: string | null;
  readonly osType: string | null;
  readonly projectId: string | null;
  readonly usage: Usage;
}

/** The root disk of a boot-from-volume instance is not on this host. */
export function usageOf(flavor: NovaObjectOf<'Flavor'>, isRootElsewhere: boolean): Usage {
  const rootGiB = isRootElsewhere ? 0 : flavor.get('root_gb');
  return {
    vcpus: flavor.get('vcpus'),
    memoryMiB: flavor.get('memory_mb'),
    diskGiB: rootGiB + (flavor.maybe('ephemeral_gb') ?? 0) + (flavor.maybe('swap') ?? 0) / 1024,
  };
}

/** AgentError `object-field-unset` when the instance came without flavor or states. */
export function trackedOf(instance: NovaObjectOf<'Instance'>): TrackedInstance {
  return {
    ...statesOf(instance),
    usage: usageOf(flavorOf(instance), isBootFromVolume(instance, [])),
  };
}

/** The states alone, for an instance whose usage is known. */
export const statesOf = (instance: NovaObjectOf<'Instance'>): Omit<TrackedInstance, 'usage'> => ({
  vmState: instance.get('vm_state'),
  taskState: instance.get('task_state'),
  osType: instance.maybe('os_type') ?? null,
  projectId: instance.maybe('project_id') ?? null,
});

/** Whether an instance in this state still has its place on the host: all but deleted and offloaded ones. */
export const holdsResources = (instance: NovaObjectOf<'Instance'>): boolean => {
  const vmState = instance.get('vm_state');
  return vmState !== vmStates.deleted && (vmState !== vmStates.shelvedOffloaded || instance.get('task_state') === taskStates.spawning);
};

/** What the host has, in Nova's units. */
export interface HostTotals {
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly diskGiB: number;
}

/** Kept for the host itself: counted as used in the row, as `reserved` in Placement. */
export interface Reserved {
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

export interface Accounts {
  readonly fields: {
    readonly vcpus_used: number; readonly memory_mb_used: number; readonly local_gb_used: number; readonly free_ram_mb: number; readonly free_disk_gb: number;
    readonly running_vms: number; readonly current_workload: number;
  };
  /** Keys and texts as the scheduler's weighers know them. */
  readonly stats: Readonly<Record<string, string>>;
}

/** The row's amounts and stats. `moving` are usages of migrations on top of the tracked instances; free amounts may be negative. */
export function accountFor(
  totals: HostTotals, reserved: Reserved, tracked: readonly TrackedInstance[], moving: readonly Usage[], failedBuilds: number,
): Accounts {
  const usages = [...tracked.map(({ usage }) => usage), ...moving];
  const sum = (of: (usage: Usage) => number): number => usages.reduce((total, usage) => total + of(usage), 0);
  const memoryUsed = reserved.memoryMiB + sum(({ memoryMiB }) => memoryMiB);
  const diskUsed = Math.floor(reserved.diskMiB / 1024 + sum(({ diskGiB }) => diskGiB));
  const counts = countStates(tracked);
  return {
    fields: {
      vcpus_used: reserved.vcpus + sum(({ vcpus }) => vcpus),
      memory_mb_used: memoryUsed,
      local_gb_used: diskUsed,
      free_ram_mb: totals.memoryMiB - memoryUsed,
      free_disk_gb: totals.diskGiB - diskUsed,
      running_vms: tracked.length,
      current_workload: tracked.filter(({ taskState }) => taskState !== null).length,
    },
    stats: {
      failed_builds: String(failedBuilds),
      ...(tracked.length === 0 ? {} : { num_instances: String(tracked.length), ...texts(counts), io_workload: String(ioWorkload(counts)) }),
    },
  };
}

const texts = (counts: ReadonlyMap<string, number>): Record<string, string> => Object.fromEntries([...counts].map(([key, count]) => [key, String(count)]));

/** An absent value counts under the word that Python prints for it. */
const word = (value: string | null): string => value ?? 'None';

function countStates(tracked: readonly TrackedInstance[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { vmState, taskState, osType, projectId } of tracked) {
    for (const key of [`num_vm_${word(vmState)}`, `num_task_${word(taskState)}`, `num_os_type_${word(osType)}`, `num_proj_${word(projectId)}`]) {
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  return counts;
}

/** States that load the host's disks and network; the scheduler's I/O filter and weigher read the sum. */
const ioHeavy = [
  `num_vm_${vmStates.building}`,
  ...[taskStates.resizeMigrating, taskStates.rebuilding, taskStates.resizePrep, taskStates.imageSnapshot, taskStates.imageBackup, taskStates.rescuing,
    taskStates.unshelving].map((state) => `num_task_${state}`),
];

const ioWorkload = (counts: ReadonlyMap<string, number>): number => ioHeavy.reduce((total, key) => total + (counts.get(key) ?? 0), 0);
