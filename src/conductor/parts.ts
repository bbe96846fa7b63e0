/** What the groups of calls share. */
import { AgentError } from '../lib/errors.js';
import { isNovaObject, type NovaObjectOf, type ObjectName, type ReleaseProfile } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { Repeat } from './repeat.js';
import type { WireCalls } from './wire-calls.js';

export interface ConductorParts {
  readonly calls: WireCalls;
  readonly repeat: Repeat;
  /** A class call that only reads, or that leaves the same state when done twice: repeated. */
  readonly read: (context: RequestContext, name: string, method: string, args: readonly unknown[], kwargs?: Readonly<Record<string, unknown>>) => Promise<unknown>;
  /** The release spoken now; before negotiation the oldest. */
  readonly profile: () => ReleaseProfile;
}

/** An answer that must be one object of this name. AgentError `conductor-answer-malformed`. */
export function objectOf<Name extends ObjectName>(name: Name, answer: unknown): NovaObjectOf<Name> {
  if (isNovaObject(answer) && answer.objectName === name) return answer as NovaObjectOf<Name>;
  throw new AgentError('conductor-answer-malformed', `the conductor answered something else than a ${name}`);
}

/** The members of a list object. */
export function membersOf<Name extends ObjectName>(name: Name, answer: unknown): NovaObjectOf<Name>[] {
  const members: unknown = isNovaObject(answer) ? answer.maybe('objects') : undefined;
  if (!Array.isArray(members)) throw new AgentError('conductor-answer-malformed', `the conductor answered something else than a list of ${name}`);
  return members.map((member: unknown) => objectOf(name, member));
}
