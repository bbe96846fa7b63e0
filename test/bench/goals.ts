/**
 * Every figure that the benchmark gives, and what it must be. The goals are here and nowhere else. A ratio is always ours divided by what
 * is beside it: the peer (Debian's nova-compute with Nova's fake driver), the bare echo, the same process earlier on, or the plain writing and reading of as much on the same disk.
 */
export type Goal = { readonly atMost: number } | { readonly atLeast: number };

export interface Figure {
  readonly title: string;
  readonly unit: string;
  /** Null: shown, not judged. */
  readonly goal: Goal | null;
  /** What stands in the second column. */
  readonly beside: 'peer' | 'bare echo' | 'before' | 'with 10 guests' | 'plain disk';
  /** False: takes too long for --quick. */
  readonly isQuick: boolean;
}

const figure = (title: string, unit: string, goal: Goal | null = null, beside: Figure['beside'] = 'peer'): Figure => ({ title, unit, goal, beside, isQuick: true });
const growth = (title: string): Figure => ({ title, unit: 'ms', goal: null, beside: 'with 10 guests', isQuick: false });

const still = (title: string, isQuick = true): Figure => ({ ...figure(title, 'ms', null, 'plain disk'), isQuick });

/** "Flat" means: within the noise of a garbage-collected heap. */
const flat: Goal = { atMost: 1.1 };

export const figures = {
  'rss-idle': figure('resident memory, idle', 'MiB', { atMost: 0.5 }),
  'start-to-up': figure('process start until Nova says up', 's', { atMost: 0.2 }),
  'start-cpu': figure('  processor time for it', 's'),
  'ping-p50': figure('RPC ping, median', 'ms'),
  'ping-one-at-a-time': figure('RPC pings, one at a time', 'calls/s'),
  'ping-32-in-flight': figure('RPC pings, 32 in flight', 'calls/s', { atLeast: 3 }),
  'ping-cpu': figure('  processor time a call, 32 in flight', 'ms', { atMost: 0.25 }),
  'ping-p50-over-echo': figure('RPC ping, median, over the floor', 'ms', { atMost: 1.25 }, 'bare echo'),
  'ping-32-over-echo': figure('RPC pings, 32 in flight, over the floor', 'calls/s', { atLeast: 0.8 }, 'bare echo'),
  'diagnostics-p50': figure('get_instance_diagnostics, median', 'ms'),
  'diagnostics-one-at-a-time': figure('get_instance_diagnostics, one at a time', 'calls/s'),
  'diagnostics-32-in-flight': figure('get_instance_diagnostics, 32 in flight', 'calls/s'),
  'boot-p50': figure('boot, API to ACTIVE, median', 's', { atMost: 1 }),
  'boot-cpu': figure('  processor time a boot, with the commands run', 's', { atMost: 0.5 }),
  'boot-commands-cpu': figure('  of it the commands', 's'),
  'boots-at-once-wall': figure('boots at once until all are ACTIVE', 's', { atMost: 1 }),
  'boots-at-once-cpu': figure('  processor time a boot, with the commands run', 's', { atMost: 0.5 }),
  'boots-at-once-commands-cpu': figure('  of it the commands', 's'),
  'flat-rss': figure('resident memory after 200 guests and 2,000 operations', 'MiB', flat, 'before'),
  'flat-idle-cpu': figure('  processor time of an idle minute', 's', flat, 'before'),
  'start-100-guests': growth('start to serving with 100 guests'),
  'start-500-guests': growth('start to serving with 500 guests'),
  'audit-100-guests': growth('resource audit with 100 guests'),
  'audit-500-guests': growth('resource audit with 500 guests'),
  'power-sync-100-guests': growth('power sync with 100 guests'),
  'power-sync-500-guests': growth('power sync with 500 guests'),
  'save-suspend-128': still('suspend, 128 MiB of memory'),
  'save-suspend-512': still('suspend, 512 MiB'),
  'save-suspend-2048': still('suspend, 2 GiB', false),
  'save-resume-128': still('resume until it is up, 128 MiB'),
  'save-resume-512': still('resume until it is up, 512 MiB'),
  'save-resume-2048': still('resume until it is up, 2 GiB', false),
  'save-checkpoint-128': still('stop for a checkpoint with memory, 128 MiB'),
  'save-checkpoint-512': still('stop for a checkpoint with memory, 512 MiB'),
  'save-checkpoint-2048': still('stop for a checkpoint with memory, 2 GiB', false),
} as const satisfies Readonly<Record<string, Figure>>;

export type FigureName = keyof typeof figures;
