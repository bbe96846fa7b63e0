import type { ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** Frees copies of disks whose operation is over: left by a crash, or by a pool that was busy at the wrong moment. */
export const leftSnapshots = (deps: ComputeDeps): Duty => ({
  name: 'left-snapshots',
  everySeconds: 600,
  atStart: true,
  async run() {
    await deps.storage.dropLeftSnapshots((operation) => deps.journal.operation(operation)?.outcome === null);
  },
});
