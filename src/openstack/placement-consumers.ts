/** Allocations of consumers (instances and migrations) in Placement. The agent never makes allocations for servers. */
import { z } from 'zod';
import { AgentError } from '../lib/errors.js';
import type { Clock } from '../lib/clock.js';
import { faultTypeOfError } from './failure.js';
import { parsed, type PlacementCall } from './placement.js';
import type { Allocations, PlacementClient } from './types.js';

type ConsumerCalls = Pick<PlacementClient, 'allocationsOf' | 'allocationsOnProvider' | 'removeAllocations' | 'deleteAllocations' | 'putAllocations'
  | 'moveAllocations' | 'removeProviderFromAllocations'>;

const Resources = z.record(z.string(), z.object({ resources: z.record(z.string(), z.number()) }));
const ConsumerBody = z.object({
  allocations: Resources, project_id: z.string().optional(), user_id: z.string().optional(), consumer_generation: z.number().nullish(),
});
const ProviderBody = z.object({ allocations: Resources });

/** Attempts of a write that loses a race. */
const writeAttempts = 4;

export function createConsumerCalls(call: PlacementCall, clock: Clock, random: () => number): ConsumerCalls {
  const path = (consumer: string): string => `/allocations/${consumer}`;
  const calls: ConsumerCalls = {
    allocationsOf: async (consumer) => {
      const body = parsed(ConsumerBody, (await call('GET', path(consumer), { version: '1.28' })).body);
      return { allocations: body.allocations, projectId: body.project_id ?? null, userId: body.user_id ?? null, consumerGeneration: body.consumer_generation ?? null };
    },
    allocationsOnProvider: async (uuid) => parsed(ProviderBody, (await call('GET', `/resource_providers/${uuid}/allocations`, { version: '1.0' })).body).allocations,
    removeAllocations: async (consumer) => {
      const current = await calls.allocationsOf(consumer);
      if (Object.keys(current.allocations).length === 0) return false;
      await calls.putAllocations(consumer, { ...current, allocations: {} });
      return true;
    },
    deleteAllocations: async (consumer) => {
      await call('DELETE', path(consumer), { version: '1.28', notFoundIsFine: true });
    },
    putAllocations: async (consumer, allocations) => {
      await writeWithRetries({
        write: () => call('PUT', path(consumer), { version: '1.28', body: bodyOf(allocations) }),
        isStale: async () => (await calls.allocationsOf(consumer)).consumerGeneration !== allocations.consumerGeneration,
        clock, random });
    },
    moveAllocations: async (from, to) => {
      const source = await calls.allocationsOf(from);
      if (Object.keys(source.allocations).length === 0) return;
      const target = await calls.allocationsOf(to);
      const body = { [from]: bodyOf({ ...source, allocations: {} }), [to]: bodyOf({ ...source, consumerGeneration: target.consumerGeneration }) };
      await writeWithRetries({
        write: () => call('POST', '/allocations', { version: '1.28', body }),
        isStale: async () => (await calls.allocationsOf(from)).consumerGeneration !== source.consumerGeneration
          || (await calls.allocationsOf(to)).consumerGeneration !== target.consumerGeneration,
        clock, random });
    },
    removeProviderFromAllocations: async (consumer, provider) => {
      const current = await calls.allocationsOf(consumer);
      if (current.allocations[provider] === undefined) return;
      const left = Object.fromEntries(Object.entries(current.allocations).filter(([uuid]) => uuid !== provider));
      await calls.putAllocations(consumer, { ...current, allocations: left });
    },
  };
  return calls;
}

function bodyOf(allocations: Allocations): unknown {
  // `generation` of the provider, which a GET returns, must not be sent back.
  const perProvider = Object.fromEntries(Object.entries(allocations.allocations).map(([provider, { resources }]) => [provider, { resources }]));
  return { allocations: perProvider, project_id: allocations.projectId, user_id: allocations.userId, consumer_generation: allocations.consumerGeneration };
}

/**
 * A write that lost a race about a provider is repeated; one that lost a race about the consumer ends at once as
 * `placement-generation-conflict`: somebody else changed the consumer, and the caller must look again. Placement gives both the
 * same code, so the consumer's generation is read to tell them apart.
 */
async function writeWithRetries(work: { write: () => Promise<unknown>; isStale: () => Promise<boolean>; clock: Clock; random: () => number }): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work.write();
      return;
    } catch (error) {
      if (faultTypeOfError(error) !== 'placement.concurrent_update') throw error;
      if (attempt >= writeAttempts || (await work.isStale())) {
        throw new AgentError('placement-generation-conflict', 'somebody else changed the allocations', { retry: 'later', cause: error });
      }
      await work.clock.sleep(work.random() * 2_000 * attempt);
    }
  }
}
