/**
 * Steps that change this machine for one instance, used by several methods. Each looks at the machine before it acts, and undoes
 * only what is marked as the instance's own.
 */
import type { InstanceUuid } from '../lib/ids.js';
import type { Step } from '../journal/index.js';
import type { NetworkInfo, PluggedVif } from '../network/index.js';
import type { GuestDefinition, StopOptions } from '../virt/index.js';
import type { ComputeDeps } from './deps.js';

type Deps = Pick<ComputeDeps, 'driver' | 'plugger' | 'storage' | 'log'>;

const notYet = async (): Promise<'not-done'> => 'not-done';

/** Ends the guest; a graceful one first when `options.graceMs` is not 0. No undo: a stopped guest is a safe state. */
export function endGuest(deps: Deps, instance: InstanceUuid, options: StopOptions): Step {
  return {
    name: 'end-guest',
    look: async () => ((await deps.driver.state(instance)).kind === 'running' ? 'not-done' : 'done'),
    act: async (signal) => {
      await deps.driver.stop(instance, { ...options, signal });
    },
  };
}

/** Whether the guest runs, and is frozen or not. */
const isPaused = async (deps: Deps, instance: InstanceUuid): Promise<boolean | null> => {
  const state = await deps.driver.state(instance);
  return state.kind === 'running' ? state.isPaused : null;
};

/** Freezes the running guest. No undo: unpausing is a request of its own, and a frozen guest is a safe state. */
export const freezeGuest = (deps: Deps, instance: InstanceUuid): Step => ({
  name: 'freeze-guest',
  look: async () => ((await isPaused(deps, instance)) === true ? 'done' : 'not-done'),
  act: () => deps.driver.pause(instance),
});

/** Lets the frozen guest go on. */
export const thawGuest = (deps: Deps, instance: InstanceUuid): Step => ({
  name: 'thaw-guest',
  look: async () => ((await isPaused(deps, instance)) === false ? 'done' : 'not-done'),
  act: () => deps.driver.unpause(instance),
});

/** The steps that somebody looks for in the journal: a guest that is being saved or brought back is not simply off. */
export const [saveStep, restoreStep] = ['save-guest', 'restore-guest'] as const;

/** Saves the running guest, which ends; its disks are held still. No undo: bringing it back is a request of its own, and a saved guest is a safe state. */
export const saveGuest = (deps: Deps, instance: InstanceUuid): Step => ({
  name: saveStep,
  look: async () => ((await deps.driver.state(instance)).kind !== 'running' && (await deps.driver.hasSave(instance)) ? 'done' : 'not-done'),
  act: (signal) => deps.driver.suspend(instance, { holdDisks: () => deps.storage.holdStill(instance), signal }),
});

/** Lets the saved guest go on; `onUp` is called when it does. No undo: a guest that went on has no way back into its save. */
export const restoreGuest = (deps: Deps, instance: InstanceUuid, onUp: () => void = () => undefined): Step => ({
  name: restoreStep,
  look: () => isUnsaved(deps, instance),
  act: async (signal) => deps.driver.resume(instance, { disks: await deps.storage.stillness(instance), signal, onUp }),
});

/** Frees what held the disks still. */
export const letDisksGo = (deps: Deps, instance: InstanceUuid): Step => ({ name: 'let-disks-go', look: notYet, act: () => deps.storage.letGo(instance) });

/** A guest that runs is done with its save, however it came up; what is left of that is taken away. */
const isUnsaved = async (deps: Deps, instance: InstanceUuid): Promise<'done' | 'not-done'> =>
  ((await deps.driver.state(instance)).kind === 'running' && !(await deps.driver.hasSave(instance)) ? 'done' : 'not-done');

/** Starts the defined guest, cold: a save of it is worth nothing from then on. */
export function startGuest(deps: Deps, instance: InstanceUuid): Step {
  return {
    name: 'start-guest',
    look: notYet, // the start looks itself, and leaves a guest that runs alone
    act: async () => {
      await deps.driver.start(instance);
      if (!(await deps.driver.hasSave(instance))) return;
      await deps.storage.letGo(instance);
      await deps.driver.dropSave(instance);
    },
    undo: async () => {
      await deps.driver.stop(instance, { graceMs: 0, retryMs: 0 });
    },
  };
}

/**
 * Writes the machine's definition; not for a running guest, whose definition stays as it is until it ends. Only a new guest's
 * folder is taken away by the undo.
 */
export function defineGuest(deps: Deps, instance: InstanceUuid, definition: () => Promise<GuestDefinition>, options: { isNew: boolean }): Step {
  const step: Step = {
    name: 'define-guest',
    look: async () => ((await deps.driver.state(instance)).kind === 'running' ? 'done' : 'not-done'),
    act: async () => deps.driver.define(await definition()),
  };
  // A definition that was written anew is no worse than the old one: it stays, and the steps before it can be undone.
  return { ...step, undo: () => (options.isNew ? deps.driver.destroy(instance) : Promise.resolve()) };
}

/**
 * Makes (or waits for) a tap for each vif and tells `onPlugged` what came of it. Plugging is idempotent, so it is always repeated.
 */
export function plugVifs(deps: Deps, instance: InstanceUuid, vifs: () => NetworkInfo, onPlugged: (plugged: readonly PluggedVif[]) => void): Step {
  return {
    name: 'plug-vifs',
    look: notYet,
    act: async (signal) => {
      const plugged: PluggedVif[] = [];
      for (const vif of vifs()) plugged.push(await deps.plugger.plug(instance, vif, signal));
      onPlugged(plugged);
    },
    undo: () => unplugAll(deps, instance),
  };
}

/** Removes every tap that is marked as this instance's. */
export async function unplugAll(deps: Pick<Deps, 'plugger'>, instance: InstanceUuid): Promise<void> {
  for (const tap of await deps.plugger.listOwned()) {
    if (tap.instance === instance) await deps.plugger.unplug(instance, tap.port);
  }
}

export function unplugVifs(deps: Deps, instance: InstanceUuid): Step {
  return {
    name: 'unplug-vifs',
    look: async () => ((await deps.plugger.listOwned()).some((tap) => tap.instance === instance) ? 'not-done' : 'done'),
    act: () => unplugAll(deps, instance),
  };
}

/** Moves the disks to the graveyard: gone for the instance, freed later by the reaper. */
export function buryDisks(deps: Deps, instance: InstanceUuid): Step {
  return {
    name: 'bury-disks',
    look: async () => ((await deps.storage.instancesWithDisks()).includes(instance) ? 'not-done' : 'done'),
    act: () => deps.storage.buryDisks(instance),
  };
}

/** Removes the instance's folder: definition, variable store, console log, config drive. */
export function removeFolder(deps: Deps, instance: InstanceUuid): Step {
  return {
    name: 'remove-folder',
    look: async () => ((await deps.driver.list()).includes(instance) ? 'not-done' : 'done'),
    act: () => deps.driver.destroy(instance),
  };
}

/**
 * Everything of an instance that can be on this machine, taken away in the order in which things depend on each other: guest, taps,
 * disks, folder. The folder goes last because it says what the others belong to.
 */
export const removalSteps = (deps: Deps, instance: InstanceUuid): readonly Step[] => [
  endGuest(deps, instance, { graceMs: 0, retryMs: 0 }),
  unplugVifs(deps, instance),
  buryDisks(deps, instance),
  removeFolder(deps, instance),
];

/** Steps at once and without a journal entry: for work that only goes forward, and for the way back. */
export async function actAll(steps: readonly Step[], signal = new AbortController().signal): Promise<void> {
  for (const step of steps) if ((await step.look()) !== 'done') await step.act(signal);
}

/** For the undoing of an interrupted build and for the running-deleted duty. */
export const removeFromMachine = (deps: Deps, instance: InstanceUuid): Promise<void> => actAll(removalSteps(deps, instance));

/** Frees the graveyard in the background of an operation; the periodic duty gets what is still busy. */
export async function reapQuietly(deps: Deps): Promise<void> {
  try {
    await deps.storage.reap();
  } catch (err) {
    deps.log.warn({ err }, 'graveyard not reaped; the periodic duty will try again');
  }
}
