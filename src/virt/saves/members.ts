/** Typed access to what was read, with the path in the fault. */
import { damaged } from './damaged.js';
import type { ExactJson } from './exact-json.js';

export type JsonObject = ReadonlyMap<string, ExactJson>;

/** As far as bhyve's own numbers go (it reads them as int64). */
export const maxInteger = 2n ** 63n - 1n;

const under = (path: string, key: string): string => (path === '' ? key : `${path}.${key}`);

/** `value` as an object. Like all here: AgentError `save-damaged` with `path` if it is something else. */
export function asObject(value: ExactJson, path: string): JsonObject {
  if (!(value instanceof Map)) throw damaged(path, 'is not an object');
  return value as JsonObject;
}

/** `value` as a list. */
export function asList(value: ExactJson, path: string): readonly ExactJson[] {
  if (!Array.isArray(value)) throw damaged(path, 'is not a list');
  return value as readonly ExactJson[];
}

/** A member that must be there. */
export function member(object: JsonObject, key: string, path: string): ExactJson {
  const value = object.get(key);
  if (value === undefined) throw damaged(under(path, key), 'is missing');
  return value;
}

/** A whole number from `min` to `max`. */
export function integerMember(object: JsonObject, key: string, path: string, min: bigint, max: bigint): bigint {
  const value = member(object, key, path);
  if (typeof value !== 'bigint') throw damaged(under(path, key), 'is not a number');
  if (value < min || value > max) throw damaged(under(path, key), `is ${value}, not from ${min} to ${max}`);
  return value;
}

/** A name that is safe to print and to compare: 1 to 229 visible ASCII characters (as long as vmm(4) lets the name of a guest be). */
export function nameMember(object: JsonObject, key: string, path: string): string {
  const value = member(object, key, path);
  if (typeof value !== 'string' || !/^[\x21-\x7e]{1,229}$/.test(value)) throw damaged(under(path, key), 'is not a name');
  return value;
}
