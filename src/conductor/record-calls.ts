/** Small records: action events, faults, virtual interfaces, console tokens, audits of usage, server groups. */
import { AgentError } from '../lib/errors.js';
import { createObject, isNovaObject, toNovaMicroTime, type NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import { isRemote } from '../rpc/index.js';
import { membersOf, objectOf, type ConductorParts } from './parts.js';
import type { Conductor } from './types.js';

export function actionCalls({ calls, read }: ConductorParts): Conductor['actions'] {
  return {
    async eventStart(context, uuid, event, host) {
      await read(context, 'InstanceActionEvent', 'event_start', [uuid, event], { want_result: false, host });
    },
    async eventFinish(context, uuid, event, failure) {
      const kwargs = { exc_val: failure?.message ?? null, exc_tb: failure?.trace ?? null, want_result: false };
      await read(context, 'InstanceActionEvent', 'event_finish_with_failure', [uuid, event], kwargs);
    },
    async actionStart(context, uuid, action) {
      await calls.classCall(context, 'InstanceAction', 'action_start', [uuid, action], { want_result: false });
    },
  };
}

export function faultCalls({ calls, repeat, profile }: ConductorParts): Conductor['faults'] {
  return {
    create: (context, fault) => repeat('InstanceFault.create', async () => {
      const object = createObject(profile(), 'InstanceFault', {
        instance_uuid: fault.instance, code: fault.code, message: fault.message, details: fault.details, host: fault.host,
      });
      await calls.action(context, object, 'create');
    }),
  };
}

export function virtualInterfaceCalls({ calls, read, repeat, profile }: ConductorParts): Conductor['virtualInterfaces'] {
  return {
    create: (context, { port, instance, mac, tag }) => repeat('VirtualInterface.create', async (isRepeat) => {
      const object = createObject(profile(), 'VirtualInterface', { address: `${mac}/${port}`, instance_uuid: instance, uuid: port, tag });
      try {
        await calls.action(context, object, 'create');
      } catch (error) {
        // A second row of the same port is refused; one that is there now is the first attempt's.
        if (!isRepeat || !isRemote(error, 'VirtualInterfaceCreateException')) throw error;
        if ((await read(context, 'VirtualInterface', 'get_by_uuid', [port])) === null) throw error;
      }
    }),
    async byInstance(context, uuid) {
      return membersOf('VirtualInterface', await read(context, 'VirtualInterfaceList', 'get_by_instance_uuid', [uuid]));
    },
    async deleteByInstance(context, uuid) {
      await read(context, 'VirtualInterface', 'delete_by_instance_uuid', [uuid]);
    },
  };
}

export function consoleTokenCalls({ calls, read, profile }: ConductorParts): Conductor['consoleTokens'] {
  return {
    async authorize(context, fields) {
      const token = createObject(profile(), 'ConsoleAuthToken', {
        console_type: fields.consoleType, host: fields.host, port: fields.port, internal_access_path: null, instance_uuid: fields.instance,
        access_url_base: fields.accessUrlBase,
      });
      const answer = await calls.action(context, token, 'authorize', [fields.ttlSeconds]);
      if (typeof answer !== 'string') throw new AgentError('conductor-answer-malformed', 'the conductor gave no console token');
      return answer;
    },
    async cleanForInstance(context, uuid) {
      await read(context, 'ConsoleAuthToken', 'clean_console_auths_for_instance', [uuid]);
    },
    async cleanExpired(context) {
      await read(context, 'ConsoleAuthToken', 'clean_expired_console_auths', []);
    },
  };
}

/** The name under which nova-compute writes down that usage was told. */
const usageAudit = 'instance_usage_audit';

export function usageAuditCalls({ calls, read, repeat }: ConductorParts): Conductor['usageAudits'] {
  return {
    async hasBegun(context, { begin, end }, host) {
      return (await read(context, 'TaskLog', 'get', [usageAudit, toNovaMicroTime(begin), toNovaMicroTime(end), host])) !== null;
    },
    async begin(context, audit) {
      await calls.action(context, audit, 'begin_task');
    },
    end: (context, audit) => repeat('TaskLog.end_task', async () => void await calls.action(context, audit, 'end_task')),
  };
}

export function groupCalls({ read }: ConductorParts): Conductor['groups'] {
  const get = async (context: RequestContext, method: string, key: string): Promise<NovaObjectOf<'InstanceGroup'> | null> => {
    try {
      const group = await read(context, 'InstanceGroup', method, [key]);
      return isNovaObject(group) ? objectOf('InstanceGroup', group) : null;
    } catch (error) {
      if (isRemote(error, 'InstanceGroupNotFound')) return null;
      throw error;
    }
  };
  return {
    byName: (context, name) => get(context, 'get_by_name', name),
    byUuid: (context, uuid) => get(context, 'get_by_uuid', uuid),
  };
}
