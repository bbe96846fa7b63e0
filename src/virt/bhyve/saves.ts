/** The driver's methods about saved guests; the theory is in suspend-guest.ts and resume-guest.ts. */
import type { InstanceUuid } from '../../lib/ids.js';
import type { HypervisorDriver } from '../types.js';
import type { LifecycleDeps } from './lifecycle.js';
import { resumeGuest } from './resume-guest.js';
import { whyNotSavable } from './savable.js';
import { hasSave, suspendGuest } from './suspend-guest.js';

/** What the driver gives them. */
export interface SavesDeps {
  readonly lifecycle: LifecycleDeps;
  readonly withGuest: <T>(instance: InstanceUuid, work: () => Promise<T>) => Promise<T>;
  readonly noteStopped: (instance: InstanceUuid) => void;
  readonly noteRunning: (instance: InstanceUuid, pid: number) => void;
  readonly lookAtSelfTest: () => Promise<unknown>;
  readonly closeConsole: (instance: InstanceUuid) => Promise<void>;
}

export function createSaves(deps: SavesDeps): Pick<HypervisorDriver, 'whyNoSuspend' | 'suspend' | 'hasSave' | 'resume' | 'dropSave'> {
  const { lifecycle, withGuest } = deps;
  return {
    async whyNoSuspend(instance) {
      await deps.lookAtSelfTest();
      return whyNotSavable(lifecycle, instance);
    },
    suspend: (instance, options) => withGuest(instance, async () => {
      await deps.lookAtSelfTest();
      await suspendGuest(lifecycle, instance, options);
      await deps.closeConsole(instance);
      deps.noteStopped(instance);
    }),
    hasSave: (instance) => hasSave(lifecycle, instance),
    resume: (instance, options) => withGuest(instance, async () => deps.noteRunning(instance, await resumeGuest(lifecycle, instance, options))),
    dropSave: (instance) => withGuest(instance, () => lifecycle.files.forget(instance, ['save', 'partialSave'])),
  };
}
