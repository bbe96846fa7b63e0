import type { ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** Keeps logs bounded, closes idle consoles, and frees what is left in the graveyard. */
export const nodeUpkeep = (deps: ComputeDeps): Duty => ({
  name: 'node-upkeep',
  everySeconds: 30,
  atStart: true,
  async run() {
    await deps.driver.upkeep();
    await deps.storage.reap();
  },
});
