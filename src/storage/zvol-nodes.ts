/**
 * Device nodes of volumes. They appear some time after zfs(8) has returned, and on 13.2 sometimes never if volmode was set on
 * the volume itself (freebsd/README.md): volmode=dev is inherited from our fixed datasets, and nobody uses a node unseen.
 */
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { Host } from '../host/index.js';

const WAIT_MS = 15_000;
const POLL_MS = 50;

/** Absolute path of a volume's node. */
export const nodeOf = (host: Pick<Host, 'deviceRoot'>, dataset: string): string => `${host.deviceRoot}/zvol/${dataset}`;

/** The path, once it is there. AgentError `zvol-node-missing` (retry later) after 15 s. */
export async function waitForNode(deps: { host: Host; clock: Clock }, dataset: string, signal?: AbortSignal): Promise<string> {
  const path = nodeOf(deps.host, dataset);
  const deadline = deps.clock.monotonicMs() + WAIT_MS;
  while (!(await deps.host.files.exists(path))) {
    if (deps.clock.monotonicMs() >= deadline) {
      throw new AgentError('zvol-node-missing', 'the device node of a volume did not appear; see whether volmode of [zfs]root is dev', { retry: 'later', details: { dataset, path } });
    }
    await deps.clock.sleep(POLL_MS, signal);
  }
  return path;
}
