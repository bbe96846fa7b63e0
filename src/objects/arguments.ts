/** Objects in the arguments of an RPC request: checked against their schema, then read. */
import { AgentError } from '../lib/errors.js';
import { novaFaults } from '../lib/nova-faults.js';
import { isWireObject, parseObject } from './nova-object.js';
import { releaseProfiles } from './profiles.js';
import { wireSchema } from './schemas.js';
import { majorOf } from './versions.js';
import type { NovaObjectOf, ObjectName } from './types.js';

/** What a Python compute would raise on an argument of the wrong shape. Says where, never what was there. */
function badArgument(name: string, why: string): AgentError {
  const message = `bad argument: ${name}: ${why}`;
  return new AgentError('rpc-bad-argument', message, { wire: novaFaults.typeError(message) });
}

/**
 * Reads one object argument. AgentError `rpc-bad-argument` (the caller sees TypeError) when it is not such an object;
 * `object-other-major` when its major version is not the one that we know. The conductor could convert such an object, but it is not asked:
 * no release has one, and a conductor that does not know the version either asks itself until the whole cell stands still (wire.md 5).
 */
export function parseArgument<Name extends ObjectName>(name: Name, wire: unknown): NovaObjectOf<Name> {
  refuseOtherMajor(name, wire);
  const checked = wireSchema(name).safeParse(wire);
  if (!checked.success) {
    const issue = checked.error.issues[0];
    throw badArgument(name, `${issue?.path.join('/').replaceAll('nova_object.', '') ?? ''} ${issue?.message ?? 'unreadable'}`);
  }
  return parseObject(wire) as unknown as NovaObjectOf<Name>;
}

/** The same for an argument that may be null or absent. */
export const parseOptionalArgument = <Name extends ObjectName>(name: Name, wire: unknown): NovaObjectOf<Name> | null =>
  wire === null || wire === undefined ? null : parseArgument(name, wire);

/** The same for a plain list of objects. */
export function parseArgumentList<Name extends ObjectName>(name: Name, wire: unknown): NovaObjectOf<Name>[] {
  if (!Array.isArray(wire)) throw badArgument(name, 'not a list');
  return wire.map((element: unknown) => parseArgument(name, element));
}

function refuseOtherMajor(name: string, wire: unknown): void {
  if (!isWireObject(wire) || wire['nova_object.name'] !== name) return;
  const known = releaseProfiles.at(-1)?.objectVersions[name];
  const version: unknown = wire['nova_object.version'];
  if (known === undefined || typeof version !== 'string' || majorOf(version) === majorOf(known)) return;
  throw new AgentError('object-other-major', `${name} ${version} is of another major version than ${known}; it needs a newer agent`, { details: { name, version, known } });
}
