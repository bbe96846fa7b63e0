/** Comparing object versions, and bringing what we send down to what its reader knows. */
import { AgentError } from '../lib/errors.js';
import { isWireObject } from './nova-object.js';
import type { WireObject } from './types.js';

const numbers = (version: string): number[] => version.split('.').map(Number);

/** Below 0, 0, above 0 as `left` is older, the same or newer; a third component counts. */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [numbers(left), numbers(right)];
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The first component. */
export const majorOf = (version: string): number => numbers(version)[0] ?? 0;

/**
 * The same wire value with no object in it newer than `versions` say. An object that a newer peer gave us must not reach
 * a conductor as it is: one that it does not know makes it ask itself for a backport, for ever (wire.md 5). Within a major
 * version fields are only added, and a reader takes the fields that it knows by name whatever the number says, so the
 * number alone is lowered and nothing is lost. AgentError `object-too-new` when the major differs.
 * Objects without an entry are left alone: a reader that has no such class answers with an error at once.
 */
export function fitToVersions(value: unknown, versions: Readonly<Record<string, string>>): unknown {
  if (Array.isArray(value)) return value.map((element: unknown) => fitToVersions(element, versions));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, element]: [string, unknown]) => [key, fitToVersions(element, versions)]);
  const fitted = Object.fromEntries(entries) as Record<string, unknown>;
  return isWireObject(fitted) ? lowered(fitted, versions) : fitted;
}

function lowered(object: WireObject, versions: Readonly<Record<string, string>>): WireObject {
  const name = object['nova_object.name'];
  const has = object['nova_object.version'];
  const limit = Object.hasOwn(versions, name) ? versions[name] : undefined;
  if (limit === undefined || compareVersions(has, limit) <= 0) return object;
  if (majorOf(has) !== majorOf(limit)) {
    throw new AgentError('object-too-new', `${name} ${has} cannot be sent to a conductor that knows ${limit}`, { details: { name, has, limit } });
  }
  return { ...object, 'nova_object.version': limit };
}
