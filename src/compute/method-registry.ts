import { registeredMethods } from './endpoint.js';
import type { Availability } from './operation.js';

export interface MethodEntry {
  readonly method: string;
  readonly status: Availability['status'];
  /** Why not; of a method that works: what it leaves out, or null. */
  readonly reason: string | null;
}

/** One entry per RPC method that is served, by name. Needs no configuration and no host. */
export function methodRegistry(): readonly MethodEntry[] {
  return registeredMethods()
    .map(({ rpc, availability }) => ({ method: rpc, status: availability.status, reason: availability.reason ?? null }))
    .sort((left, right) => (left.method < right.method ? -1 : 1));
}
