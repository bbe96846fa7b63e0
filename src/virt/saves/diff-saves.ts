import { leavesOf } from './describe-save.js';
import { freeName } from './free-name.js';
import type { IntegerType, SavedPart, SaveMeta, StateNode } from './types.js';

/**
 * One thing in which two saves differ; null: only the other has it. Values are numbers or words; of a part of a stock save and of a buffer it is the number of
 * bytes, with `firstByte` for buffers: the first one that differs.
 */
export interface SaveChange {
  readonly path: string;
  readonly type: IntegerType | 'b64' | 'bytes' | 'count' | 'word';
  readonly before: bigint | string | null;
  readonly after: bigint | string | null;
  readonly firstByte?: number;
}

/** What is compared: a member of the state, the size of something, a count, a word. */
type Field = Exclude<StateNode, { kind: 'group' }> | { readonly kind: 'size' | 'count'; readonly value: bigint } | { readonly kind: 'word'; readonly value: string };

/**
 * What differs between two saves, in the order of the first, then what only the second has: the guest, the sizes of parts (stock families; their contents are not in
 * the description), every member (upb-json). [] = nothing.
 */
export function diffSaves(before: SaveMeta, after: SaveMeta): readonly SaveChange[] {
  const [one, other] = [fieldsOf(before), fieldsOf(after)];
  const changes: SaveChange[] = [];
  for (const path of new Set([...one.keys(), ...other.keys()])) {
    const [was, is] = [one.get(path), other.get(path)];
    if (was !== undefined && is !== undefined && isSame(was, is)) continue;
    changes.push({ path, type: typeOf((is ?? was)!), before: shown(was), after: shown(is), ...firstByte(was, is) });
  }
  return changes;
}

function fieldsOf(meta: SaveMeta): Map<string, Field> {
  const fields = new Map<string, Field>([
    ['family', { kind: 'word', value: meta.family }], ['guest', { kind: 'word', value: meta.guestName }],
    ['vcpus', { kind: 'count', value: BigInt(meta.vcpus) }], ['memory', { kind: 'size', value: meta.memoryBytes }],
  ]);
  const add = (parts: readonly SavedPart[], kind: string): void => {
    for (const { name, bytes } of parts) if (bytes !== null) fields.set(freeName(fields, `${kind}.${name}`), { kind: 'size', value: bytes });
  };
  add(meta.kernel, 'kernel');
  add(meta.devices, 'devices');
  for (const [path, leaf] of leavesOf(meta.state)) fields.set(path, leaf);
  return fields;
}

const contentOf = (field: Field): bigint | string => (field.kind === 'bytes' ? field.base64 : field.value);
const typeOf = (field: Field): SaveChange['type'] => (field.kind === 'integer' ? field.type : field.kind === 'bytes' ? 'b64' : field.kind === 'size' ? 'bytes' : field.kind);
const isSame = (was: Field, is: Field): boolean => typeOf(was) === typeOf(is) && contentOf(was) === contentOf(is);
const shown = (field: Field | undefined): bigint | string | null => (field === undefined ? null : field.kind === 'bytes' ? BigInt(field.bytes) : field.value);

function firstByte(was: Field | undefined, is: Field | undefined): { firstByte?: number } {
  if (was?.kind !== 'bytes' || is?.kind !== 'bytes') return {};
  const [one, other] = [Buffer.from(was.base64, 'base64'), Buffer.from(is.base64, 'base64')];
  const at = one.findIndex((byte, index) => byte !== other[index]);
  return { firstByte: at === -1 ? one.length : at };
}
