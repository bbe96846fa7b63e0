import { z } from 'zod';
import { isUuid, parseInstanceUuid, parsePortId, type InstanceUuid, type PortId } from '../lib/ids.js';
import { parseArgumentList, type NovaObjectOf } from '../objects/index.js';
import { elevated } from '../rpc/context.js';
import { codeOf } from '../lib/errors.js';
import { isInstanceGone } from './error-text.js';
import type { HostMethod, Operation } from './operation.js';

/** Events of one message; more than the API ever sends is an attack or a mistake. */
const mostEvents = 1000;

const args = z.looseObject({
  instances: z.array(z.unknown()).max(mostEvents).transform((list) => parseArgumentList('Instance', list)),
  events: z.array(z.unknown()).max(mostEvents).transform((list) => parseArgumentList('InstanceExternalEvent', list)),
});
type Args = z.infer<typeof args>;

/**
 * Neutron's words, through nova-api (nova-contract 6.12). Quick and beside everything else: a boot that holds the instance's gate
 * waits for one of these.
 */
export const externalInstanceEvent: HostMethod<Args> = { kind: 'host', rpc: 'external_instance_event', args, run: deliver };

async function deliver(operation: Operation<Args>): Promise<null> {
  const byUuid = new Map(operation.args.instances.map((instance) => [instance.get('uuid'), instance]));
  await Promise.all(operation.args.events.map(async (event) => {
    const instance = byUuid.get(event.get('instance_uuid'));
    if (instance === undefined) return;
    try {
      await deliverOne(operation, instance, event);
    } catch (err) {
      if (!isInstanceGone(err)) operation.log.warn({ err, event: event.get('name') }, 'external event not handled');
    }
  }));
  return null;
}

async function deliverOne({ context, deps, log }: Operation<Args>, instance: NovaObjectOf<'Instance'>, event: NovaObjectOf<'InstanceExternalEvent'>): Promise<void> {
  const uuid: InstanceUuid = parseInstanceUuid(instance.get('uuid'));
  const name = event.get('name');
  const tag = event.get('tag') ?? '';
  const port = isUuid(tag) ? parsePortId(tag) : undefined;
  switch (name) {
    case 'network-changed':
      await deps.ports.refresh(elevated(context), instance, port);
      return;
    case 'network-vif-deleted':
      // A server that is being deleted has no such vif any more: then the port went with it, and there is nothing to do.
      if (port === undefined || !deps.ports.cached(instance).some((vif) => vif.id === port)) return;
      await deps.ports.refresh(elevated(context), instance, port);
      await unplugIfFree(deps, uuid, port);
      return;
    default: {
      const isAwaited = deps.waiters.deliver(uuid, name, tag, event.get('status') === 'failed' ? 'failed' : 'completed');
      log.debug({ instance: uuid, event: name, tag, isAwaited }, 'external event');
    }
  }
}

/** A running guest holds its tap, and bhyve has no unplugging: the tap goes when the guest stops. */
async function unplugIfFree({ plugger, log }: Operation<Args>['deps'], instance: InstanceUuid, port: PortId): Promise<void> {
  try {
    await plugger.unplug(instance, port);
  } catch (err) {
    if (codeOf(err) !== 'tap-busy') throw err;
    log.warn({ err, instance, port }, 'port of a running guest was deleted; its tap goes when the guest stops');
  }
}
