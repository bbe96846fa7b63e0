/** `nova-bhyve save allow UUID`: lets the next resume take a save whose bhyve, kernel or release is not the present one. It writes one file beside the save and starts nothing. */
import type { NodeView } from './node-view.js';
import { renderJson, type Output } from './output.js';
import { oneInstance } from './summarize.js';

/** Resolves with the exit code: 1 if there is no such instance. AgentError `save-missing`, `save-damaged`, `save-mismatch` for what cannot be allowed. */
export async function allowSave(node: NodeView, wanted: string, options: { json: boolean }, output: Output): Promise<number> {
  const uuid = await oneInstance(node, wanted, output);
  if (uuid === null) return 1;
  await node.driver.prepare();
  const overridden = await node.driver.allowSave(uuid);
  if (options.json) output.out(renderJson({ uuid, overridden }));
  else if (overridden === null) output.out('Nothing needs to be allowed: the save was made with this bhyve, kernel and processor.\n');
  else output.out(`The next resume of ${uuid} goes on although this differs from when it was saved: ${overridden}.\nIt is allowed once. If the guest does not come back, it is off and its save is kept; a hard reboot starts it anew.\n`);
  return 0;
}
