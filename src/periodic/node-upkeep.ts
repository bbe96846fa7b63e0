import type { ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** Keeps console logs bounded and frees what is left in the graveyard. */
export const nodeUpkeep = (deps: ComputeDeps): Duty => ({
  name: 'node-upkeep',
  everySeconds: 30,
  atStart: true,
  async run() {
    await deps.driver.trimConsoleLogs();
    await deps.storage.reap();
  },
});
