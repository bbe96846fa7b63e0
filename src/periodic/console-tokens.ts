import type { ComputeDeps } from '../compute/index.js';
import type { Duty } from './duty.js';

/** Removes expired console tokens (every 300 s, as Nova does). */
export const consoleTokens = (deps: ComputeDeps): Duty => ({
  name: 'console-tokens',
  everySeconds: deps.options.vnc === null && deps.options.serial === null ? 0 : 300,
  atStart: false,
  run: () => deps.conductor.consoleTokens.cleanExpired(deps.ownContext()),
});
