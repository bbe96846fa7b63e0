import type { ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** Tells the schedulers which instances are here (scheduler_instance_sync_interval); some filters use it. */
export const schedulerSync = (deps: ComputeDeps, everySeconds: number): Duty => ({
  name: 'scheduler-sync',
  everySeconds: deps.options.trackInstanceChanges ? everySeconds : 0,
  atStart: false,
  async run() {
    const context = deps.ownContext();
    await deps.conductor.scheduler.syncInstances(context, deps.options.host, await deps.conductor.instances.uuidsByHost(context, deps.options.host));
  },
});
