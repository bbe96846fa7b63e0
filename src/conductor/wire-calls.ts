/**
 * The two calls that everything else is made of (wire.md 5): a class method and a method of an object. Both go to topic
 * `conductor`, version 3.0. Nothing leaves here that is newer than the profile.
 */
import { AgentError } from '../lib/errors.js';
import { fitToVersions, isNovaObject, isWireObject, manifestOf, parseObject, profileNamed, type NovaObject, type ReleaseProfile } from '../objects/index.js';
import type { Logger } from '../observe/index.js';
import type { RequestContext } from '../rpc/context.js';
import { isRemote, type RpcClient } from '../rpc/index.js';

export interface WireCalls {
  /** One round trip of a class method; objects in the answer are read. */
  classCall(context: RequestContext, name: string, method: string, args: readonly unknown[], kwargs?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** The same at another release's versions; a refusal of them is thrown. */
  classCallAt(profile: ReleaseProfile, context: RequestContext, name: string, method: string, args: readonly unknown[]): Promise<unknown>;
  /** One round trip of an object's method; its updates are merged into `object`. */
  action(context: RequestContext, object: NovaObject, method: string, args?: readonly unknown[], kwargs?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Any value with objects in it, in wire form and not newer than the profile. */
  toWire(value: unknown): unknown;
  /** From now on asks for and sends at most the versions of this release. */
  use(profile: ReleaseProfile): void;
}

export const conductorTarget = { topic: 'conductor', version: '3.0' } as const;

/** A manifest can be wrong in each of a few objects; more rounds than this mean that the conductor contradicts itself. */
const MAX_LOWERINGS = 4;

export function createWireCalls(deps: { rpc: RpcClient; log: Logger }): WireCalls {
  // Before the release is known the oldest versions are used: every conductor knows those.
  let versions: Readonly<Record<string, string>> = profileNamed('zed').objectVersions;

  const toWire = (value: unknown): unknown => fitToVersions(render(value), versions);

  const call = (method: string, message: Readonly<Record<string, unknown>>, context: RequestContext): Promise<unknown> =>
    deps.rpc.call(conductorTarget, method, message, context);

  /** The conductor named the version that it has; from now on we ask for that one. */
  function learn(error: unknown): boolean {
    if (!isRemote(error, 'IncompatibleObjectVersion')) return false;
    const { objname, supported } = error.kwargs;
    if (typeof objname !== 'string' || typeof supported !== 'string' || versions[objname] === supported) return false;
    deps.log.warn({ object: objname, asked: versions[objname], supported }, 'the conductor knows an older object than its release should');
    versions = { ...versions, [objname]: supported };
    return true;
  }

  async function callClass(
    asked: Readonly<Record<string, string>>, context: RequestContext, name: string, method: string, args: readonly unknown[], kwargs: Readonly<Record<string, unknown>>,
  ): Promise<unknown> {
    const message = { objname: name, objmethod: method, object_versions: manifestOf(asked, name), args: toWire(args), kwargs: toWire(kwargs) };
    return read(await call('object_class_action_versions', message, context));
  }

  return {
    toWire,
    use(profile) {
      versions = profile.objectVersions;
    },
    classCallAt: (profile, context, name, method, args) => callClass(profile.objectVersions, context, name, method, args, {}),
    async classCall(context, name, method, args, kwargs = {}) {
      for (let round = 0; ; round += 1) {
        try {
          return await callClass(versions, context, name, method, args, kwargs);
        } catch (error) {
          if (round >= MAX_LOWERINGS || !learn(error)) throw error;
        }
      }
    },
    async action(context, object, method, args = [], kwargs = {}) {
      const since = object.revision();
      const message = { objinst: toWire(object), objmethod: method, args: toWire(args), kwargs: toWire(kwargs) };
      const answer = await call('object_action', message, context);
      const [updates, result] = Array.isArray(answer) ? (answer as unknown[]) : [];
      if (typeof updates !== 'object' || updates === null) {
        throw new AgentError('conductor-answer-malformed', `${object.objectName}.${method} was not answered with updates`);
      }
      object.applyUpdates(updates as Record<string, unknown>, since);
      return read(result);
    },
  };
}

const read = (value: unknown): unknown => (isWireObject(value) ? parseObject(value) : value);

function render(value: unknown): unknown {
  if (isNovaObject(value)) return value.toWire();
  if (Array.isArray(value)) return value.map(render);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, element]) => [key, render(element)]));
}
