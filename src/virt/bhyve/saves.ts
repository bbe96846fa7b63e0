/** The driver's methods about saved guests; the theory is in suspend-guest.ts, resume-guest.ts and kept-checkpoints.ts. */
import type { InstanceUuid } from '../../lib/ids.js';
import type { HypervisorDriver, KeptCheckpoints } from '../types.js';
import { allowSave } from './allow-save.js';
import { importKept, keptFiles, seal } from './carry-checkpoint.js';
import { dropKept, keepSave, keepVariables, keptCheckpoints, putBackSave, putBackVariables } from './kept-checkpoints.js';
import type { LifecycleDeps } from './lifecycle.js';
import { dropPartial } from './partial-save.js';
import { resumeGuest } from './resume-guest.js';
import { whyNotSavable } from './savable.js';
import { hasSave, isSaving, suspendGuest } from './suspend-guest.js';
import { whyNoReturn } from './why-no-return.js';

/** What the driver gives them. */
export interface SavesDeps {
  readonly lifecycle: LifecycleDeps;
  readonly withGuest: <T>(instance: InstanceUuid, work: () => Promise<T>) => Promise<T>;
  readonly noteStopped: (instance: InstanceUuid) => void;
  readonly noteRunning: (instance: InstanceUuid, pid: number) => void;
  readonly lookAtSelfTest: () => Promise<unknown>;
  readonly closeConsole: (instance: InstanceUuid) => Promise<void>;
}

async function dropSave(lifecycle: LifecycleDeps, instance: InstanceUuid): Promise<void> {
  await dropPartial(lifecycle, instance);
  await lifecycle.files.forget(instance, ['save']);
}

type Saves = Pick<HypervisorDriver, 'whyNoSuspend' | 'suspend' | 'isSaving' | 'hasSave' | 'resume' | 'allowSave' | 'dropSave'>;

export function createSaves(deps: SavesDeps): Saves & KeptCheckpoints {
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
    isSaving: (instance) => isSaving(lifecycle, instance),
    hasSave: (instance) => hasSave(lifecycle, instance),
    resume: (instance, options) => withGuest(instance, async () => deps.noteRunning(instance, await resumeGuest(lifecycle, instance, options))),
    allowSave: (instance) => withGuest(instance, () => allowSave(lifecycle, instance)),
    dropSave: (instance) => withGuest(instance, () => dropSave(lifecycle, instance)),
    keepSave: (instance, checkpoint) => withGuest(instance, () => keepSave(lifecycle, instance, checkpoint)),
    keepVariables: (instance, checkpoint) => withGuest(instance, () => keepVariables(lifecycle, instance, checkpoint)),
    whyNoReturn: (instance, checkpoint, memory, signal) => whyNoReturn(lifecycle, instance, checkpoint, memory, signal),
    putBackSave: (instance, checkpoint, disks) => withGuest(instance, () => putBackSave(lifecycle, instance, checkpoint, disks)),
    putBackVariables: (instance, checkpoint) => withGuest(instance, () => putBackVariables(lifecycle, instance, checkpoint)),
    keptFiles: (instance, checkpoint) => keptFiles(lifecycle, instance, checkpoint),
    importKept: (instance, checkpoint, files, options) => withGuest(instance, () => importKept(lifecycle, instance, checkpoint, files, options)),
    seal: (instance, checkpoint, memory) => seal(lifecycle, instance, checkpoint, memory),
    kept: (instance) => keptCheckpoints(lifecycle, instance),
    dropKept: (instance, checkpoint) => withGuest(instance, () => dropKept(lifecycle, instance, checkpoint)),
  };
}
