/** What a node has that it should not have when no guest exists. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { until } from './engine.js';
import { kindOf } from './stand-ins/lib/ifconfig-show.js';
import { readLinks } from './stand-ins/lib/ip.js';
import { openNode, type StandInNode } from './stand-ins/lib/lab-node.js';
import { listProcesses } from './stand-ins/lib/processes.js';
import { createDatasets } from './stand-ins/lib/zfs-datasets.js';
import { openZfsFuse } from './stand-ins/lib/zfs-fuse.js';

export async function findLeaks(path: string): Promise<string[]> {
  const node = openNode(path);
  return [...(await datasets(node)), ...interfaces(node), ...processes(node), ...entries(join(node.dev, 'vmm'), 'vmm node'), ...entries(join(path, 'state/instances'), 'instance folder'), ...volumes(node)];
}

/** Waits until nothing is left, or nothing of a kind: some goes a moment after the guest. Throws with what stays. */
export async function waitClean(node: { leaks(): Promise<string[]> }, kind = /./): Promise<void> {
  let left: readonly string[] = [];
  await until(async () => (left = (await node.leaks()).filter((line) => kind.test(line))).length === 0, 60_000, () => `left behind: ${left.join('; ')}`);
}

/** Below the root only the image cache may have anything; the other fixed children are empty. */
async function datasets(node: StandInNode): Promise<string[]> {
  const engine = await openZfsFuse();
  try {
    const root = `${node.pool}/nova`;
    const reader = createDatasets(engine, node);
    const left = (await reader.tree(root)).filter(({ name }) => name !== root && !/^(images|instances|graveyard)$|^images\//.test(name.slice(root.length + 1)));
    return left.map(({ name, kind }) => `dataset ${name} (${kind})`);
  } finally {
    engine.close();
  }
}

function interfaces(node: StandInNode): string[] {
  return readLinks(node).filter((link) => {
    const kind = kindOf(link);
    return kind === 'tap' || (kind === 'vlan' && !link.ifname.startsWith('fabric')) || (kind === 'bridge' && link.ifname !== 'br-physnet1');
  }).map((link) => `interface ${link.ifname}`);
}

/** Guests, their supervisors and console readers, and engines that outlived them. */
function processes(node: StandInNode): string[] {
  const visible = listProcesses(node).filter(({ title }) => /^bhyve(:| )|supervisor|^dd bs=4096 count=256|instances\//.test(title)).map(({ pid, title }) => `process ${pid} ${title.slice(0, 100)}`);
  return [...visible, ...engines(node)];
}

function engines(node: StandInNode): string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      if (!environment.includes(`LAB_NODE=${node.path}`) || !environment.includes('LAB_HIDDEN=1')) return [];
      return [`process ${pid} (qemu behind a guest)`];
    } catch {
      return []; // gone
    }
  });
}

const entries = (folder: string, what: string): string[] => (existsSync(folder) ? readdirSync(folder).map((name) => `${what} ${name}`) : []);

function volumes(node: StandInNode): string[] {
  const top = join(node.dev, 'zvol');
  if (!existsSync(top)) return [];
  return readdirSync(top, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isSymbolicLink() && !join(entry.parentPath, entry.name).startsWith(join(top, node.pool, 'nova/images')))
    .map((entry) => `device node ${join(entry.parentPath, entry.name).slice(node.dev.length + 1)}`);
}
