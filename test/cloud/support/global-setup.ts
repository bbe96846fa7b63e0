/**
 * Brings the lab up once for all cloud tests, and says what it is doing: the first time this takes minutes. The tests want the node for themselves, so
 * servers that are on it, say from `npm run lab`, are deleted.
 */
import { createProgress } from '../../setup/progress.mjs';
import { bringUpLab } from './lab-session.js';

export async function setup(): Promise<void> {
  const { phase } = createProgress();
  const { cloud } = await bringUpLab(phase);
  const servers = await cloud.servers.list();
  if (servers.length === 0) return;
  await phase('servers of before', async (note) => {
    note(`deleting ${servers.map(({ name }) => name).join(', ')}`);
    await Promise.all(servers.map(async ({ id }) => {
      await cloud.servers.remove(id, cloud.admin);
      await cloud.servers.waitGone(id);
    }));
  });
}
