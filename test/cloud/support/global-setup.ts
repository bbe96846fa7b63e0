/** Brings the lab up once for all cloud tests, and says what it is doing: the first time this takes minutes. */
import { createProgress } from '../../setup/progress.mjs';
import { bringUpLab } from './lab-session.js';

export async function setup(): Promise<void> {
  const progress = createProgress();
  await bringUpLab(progress.phase);
}
