import type { IntegerType, SaveFamily, SaveMeta, StateNode } from './types.js';

/** `bytes` null: the state is in the members instead. */
export interface PartSize {
  readonly name: string;
  readonly bytes: bigint | null;
}

/** One member of upb-json's state: its path (`kernel.vm.vcpus.vcpus@0.nextrip`), its type, and the value or, for b64, the decoded length. */
export type StateMember =
  | { readonly path: string; readonly type: IntegerType; readonly value: bigint }
  | { readonly path: string; readonly type: 'b64'; readonly bytes: number };

export interface SaveDescription {
  readonly family: SaveFamily;
  readonly guestName: string;
  readonly vcpus: number;
  readonly memoryBytes: bigint;
  readonly kernel: readonly PartSize[];
  readonly devices: readonly PartSize[];
  /** In the order of the file; empty for the stock families, whose state no one but the bhyve that wrote it can read. */
  readonly members: readonly StateMember[];
}

/** What a human may want to see of a save. Never contents of buffers: they may be memory of the guest. */
export function describeSave(meta: SaveMeta): SaveDescription {
  const size = ({ name, bytes }: PartSize): PartSize => ({ name, bytes });
  const members = [...leavesOf(meta.state)].map(([path, node]): StateMember =>
    (node.kind === 'integer' ? { path, type: node.type, value: node.value } : { path, type: 'b64', bytes: node.bytes }));
  const { family, guestName, vcpus, memoryBytes } = meta;
  return { family, guestName, vcpus, memoryBytes, kernel: meta.kernel.map(size), devices: meta.devices.map(size), members };
}

/** All members with a value, by path, in the order of the file. */
export function leavesOf(state: StateNode | null): ReadonlyMap<string, Exclude<StateNode, { kind: 'group' }>> {
  const leaves = new Map<string, Exclude<StateNode, { kind: 'group' }>>();
  const walk = (node: StateNode, path: string): void => {
    if (node.kind !== 'group') leaves.set(path, node);
    else for (const [name, child] of node.members) walk(child, path === '' ? name : `${path}.${name}`);
  };
  if (state !== null) walk(state, '');
  return leaves;
}
