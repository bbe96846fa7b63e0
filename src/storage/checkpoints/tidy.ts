/**
 * Frees what deleted nodes have left. ZFS destroys no snapshot that has clones, so the place where two lines part stays until one of them is gone:
 *
 *   an unwanted snapshot without clones                    is destroyed
 *   a branch without nodes                                 is buried
 *   a branch with unwanted ones only, which have clones    gives them to a clone of its newest (zfs promote), and is then a branch without nodes
 *
 * One change at a time, each from a fresh look, so that it may be cut off anywhere. What is refused (busy, held by an operator, cloned by somebody, a conflict
 * of names) is left for the next time: only space is at stake.
 */
import { AgentError, codeOf } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { bury, type InstanceDisksDeps } from '../instance-disks.js';
import type { DiskRole } from '../types.js';
import { isWanted, readDiskTree, type DiskTree } from './disk-tree.js';

export type TidyAction =
  | { readonly kind: 'destroy'; readonly snapshot: string }
  | { readonly kind: 'promote'; readonly clone: string }
  | { readonly kind: 'bury'; readonly branch: string; readonly role: DiskRole };

const keyOf = (action: TidyAction): string => JSON.stringify(action);

/** What can be done now, in the order in which it should be tried. */
export function tidyActions(tree: DiskTree): readonly TidyAction[] {
  const clonesOf = (snapshot: string): DiskTree['disks'] => tree.disks.filter(({ origin }) => origin === snapshot);
  const unwanted = tree.snapshots.filter(({ checkpoint }) => !isWanted(tree, checkpoint));
  const destroyed = unwanted.filter(({ name }) => clonesOf(name).length === 0).map(({ name }): TidyAction => ({ kind: 'destroy', snapshot: name }));
  const branches = tree.disks.filter(({ place }) => place === 'branch').flatMap((branch): TidyAction[] => {
    const nodes = tree.snapshots.filter(({ disk }) => disk === branch);
    const newest = nodes.at(-1);
    if (newest === undefined) return [{ kind: 'bury', branch: branch.name, role: branch.role }];
    if (nodes.some(({ checkpoint }) => isWanted(tree, checkpoint))) return [];
    // A successor is not a disk yet: it may be thrown away.
    return clonesOf(newest.name).filter(({ place }) => place !== 'successor').slice(0, 1).map(({ name }) => ({ kind: 'promote', clone: name }));
  });
  return [...destroyed, ...branches];
}

/** Ends when nothing is left that could be done. */
export async function tidy(deps: InstanceDisksDeps, instance: InstanceUuid): Promise<void> {
  const refused = new Set<string>();
  for (;;) {
    const action = tidyActions(await readDiskTree(deps, instance)).find((one) => !refused.has(keyOf(one)));
    if (action === undefined) return;
    refused.add(keyOf(action)); // also one that did nothing is not tried twice
    try {
      await apply(deps, instance, action);
    } catch (err) {
      if (!(err instanceof AgentError)) throw err;
      // A grave that is not reaped yet may depend on it.
      const isExpected = codeOf(err) === 'zfs-has-dependents' || codeOf(err) === 'zfs-busy';
      deps.log[isExpected ? 'debug' : 'warn']({ err, instance, action }, 'left of a deleted checkpoint; it will be tried again');
    }
  }
}

function apply(deps: InstanceDisksDeps, instance: InstanceUuid, action: TidyAction): Promise<void> {
  switch (action.kind) {
    case 'destroy': return deps.zfs.destroySnapshot(action.snapshot);
    case 'promote': return deps.zfs.promote(action.clone);
    case 'bury': return bury(deps, action.branch, { kind: 'disk', instance, role: action.role });
  }
}
