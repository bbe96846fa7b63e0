/** Service and ComputeNode rows. */
import type { NovaObjectOf } from '../objects/index.js';
import { createObject } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import { isRemote } from '../rpc/index.js';
import type { Repeat } from './repeat.js';
import { membersOf, objectOf, type ConductorParts } from './parts.js';
import type { Conductor } from './types.js';

export function serviceCalls({ calls, read, repeat, profile }: ConductorParts): Conductor['services'] {
  const byHostAndBinary = async (context: RequestContext, host: string, binary: string): Promise<NovaObjectOf<'Service'> | null> => {
    const service = await read(context, 'Service', 'get_by_host_and_binary', [host, binary]);
    return service === null ? null : objectOf('Service', service);
  };
  return {
    async minimumVersion(context, binary) {
      return Number(await read(context, 'Service', 'get_minimum_version', [binary]));
    },
    byHostAndBinary,
    async byComputeHost(context, host) {
      return objectOf('Service', await read(context, 'Service', 'get_by_compute_host', [host]));
    },
    // Repeatable: host, topic and binary are unique, so a second row is refused and the first one read.
    create: (context, fields) => repeat('Service.create', async () => {
      const service = createObject(profile(), 'Service', {
        host: fields.host, binary: fields.binary, topic: fields.topic, report_count: fields.reportCount, version: fields.version,
      });
      try {
        await calls.action(context, service, 'create');
        return service;
      } catch (error) {
        if (!isRemote(error, 'ServiceTopicExists', 'ServiceBinaryExists')) throw error;
        const existing = await byHostAndBinary(context, fields.host, fields.binary);
        if (existing === null) throw error;
        return existing;
      }
    }),
    async save(context, service) {
      await calls.action(context, service, 'save');
    },
  };
}

export function computeNodeCalls({ calls, read, repeat, profile }: ConductorParts): Conductor['computeNodes'] {
  const orNull = (work: Promise<unknown>): Promise<NovaObjectOf<'ComputeNode'> | null> =>
    work.then((node) => objectOf('ComputeNode', node), (error: unknown) => {
      if (isRemote(error, 'ComputeHostNotFound')) return null;
      throw error;
    });
  const nodes: Conductor['computeNodes'] = {
    async byUuids(context, uuids) {
      return membersOf('ComputeNode', await read(context, 'ComputeNodeList', 'get_all_by_uuids', [uuids]));
    },
    async byHost(context, host) {
      const list = await read(context, 'ComputeNodeList', 'get_all_by_host', [host]).catch((error: unknown) => {
        if (isRemote(error, 'ComputeHostNotFound')) return null;
        throw error;
      });
      return list === null ? [] : membersOf('ComputeNode', list);
    },
    byHostAndNodename: (context, host, node) => orNull(read(context, 'ComputeNode', 'get_by_host_and_nodename', [host, node])),
    byUuid: (context, uuid) => orNull(read(context, 'ComputeNode', 'get_by_uuid', [uuid])),
    // Not repeatable blindly (Zed makes the uuid itself): before a second attempt we look whether the first one made the row.
    create: (context, node) => repeat('ComputeNode.create', async (isRepeat) => {
      const made = isRepeat ? await find(context, node) : null;
      if (made === null) await calls.action(context, node, 'create');
      else {
        node.takeFrom(made);
        node.resetChanges();
      }
    }),
    // Repeatable: columns are set to values that are ours alone.
    save: (context, node) => repeat('ComputeNode.save', async () => void await calls.action(context, node, 'save')),
    destroy: (context, node) => destroyOnce(repeat, 'ComputeNode.destroy', 'ComputeHostNotFound', () => calls.action(context, node, 'destroy')),
  };
  const find = (context: RequestContext, node: NovaObjectOf<'ComputeNode'>): Promise<NovaObjectOf<'ComputeNode'> | null> =>
    profile().hasStableNodeIdentity && node.isSet('uuid')
      ? nodes.byUuid(context, node.get('uuid'))
      : nodes.byHostAndNodename(context, node.get('host') ?? '', node.get('hypervisor_hostname'));
  return nodes;
}

/** Repeatable: that the row is gone at a repeat means that the first attempt removed it. */
export async function destroyOnce(repeat: Repeat, what: string, goneClass: string, destroy: () => Promise<unknown>): Promise<void> {
  await repeat(what, async (isRepeat) => {
    try {
      await destroy();
    } catch (error) {
      if (!isRepeat || !isRemote(error, goneClass)) throw error;
    }
  });
}

