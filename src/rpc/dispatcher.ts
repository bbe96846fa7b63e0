/** Which method a request means, by oslo.messaging's rules: namespace, then version, then name, then the arguments' names. */
import { AgentError } from '../lib/errors.js';
import { novaFaults, refuse } from '../lib/nova-faults.js';
import type { IncomingRequest } from './envelope.js';
import type { RpcEndpoint, RpcMethod } from './types.js';

function parseVersion(text: string): { major: number; minor: number } | undefined {
  const match = /^(\d+)\.(\d+)$/.exec(text);
  return match === null ? undefined : { major: Number(match[1]), minor: Number(match[2]) };
}

/** Same major, and the request asks for no newer minor than is served. */
export function isCompatible(served: string, requested: string): boolean {
  const [ours, theirs] = [parseVersion(served), parseVersion(requested)];
  return ours !== undefined && theirs !== undefined && ours.major === theirs.major && theirs.minor <= ours.minor;
}

function checkArguments(method: RpcMethod, args: Readonly<Record<string, unknown>>): void {
  if (method.parameters === undefined) return;
  const { required, optional } = method.parameters;
  const unexpected = Object.keys(args).find((name) => !required.includes(name) && !optional.includes(name));
  if (unexpected !== undefined) throw refuse(novaFaults.typeError(`${method.rpc}() got an unexpected keyword argument '${unexpected}'`));
  const missing = required.find((name) => !(name in args));
  if (missing !== undefined) throw refuse(novaFaults.typeError(`${method.rpc}() missing a required argument: '${missing}'`));
}

/**
 * Throws an AgentError whose `wire` is what the caller must see: UnsupportedVersion when no endpoint of that namespace serves the
 * version, NoSuchMethod when one does but has no such method, TypeError for wrong arguments of a method that lists its own.
 */
export function findMethod(endpoints: readonly RpcEndpoint[], request: IncomingRequest): RpcMethod {
  const { method: name, version, args } = request.message;
  const compatible = endpoints.filter((endpoint) => endpoint.namespace === request.namespace && isCompatible(endpoint.version, version));
  if (compatible.length === 0) throw refuse(novaFaults.unsupportedVersion(version, name));
  for (const endpoint of compatible) {
    const method = endpoint.methods.get(name);
    if (method === undefined) continue;
    checkArguments(method, args);
    return method;
  }
  throw refuse(novaFaults.noSuchMethod(name));
}

/** Two methods of one name in a namespace and major would hide each other. Throws AgentError `bad-endpoints`. */
export function checkEndpoints(endpoints: readonly RpcEndpoint[]): void {
  const seen = new Set<string>();
  for (const endpoint of endpoints) {
    const version = parseVersion(endpoint.version);
    if (version === undefined) throw new AgentError('bad-endpoints', `an endpoint has the version ${endpoint.version}`);
    for (const [name, method] of endpoint.methods) {
      const key = `${endpoint.namespace ?? ''}/${version.major}/${name}`;
      if (seen.has(key) || method.rpc !== name) throw new AgentError('bad-endpoints', `the method ${name} is served twice or under another name`);
      seen.add(key);
    }
  }
}
