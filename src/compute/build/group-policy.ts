/**
 * The late check of server-group policies (nova-contract 6.2.6): two builds can pass the scheduler at the same time; the host they
 * land on decides. One check at a time per group.
 */
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { KeyedMutex } from '../../lib/keyed-mutex.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { RequestContext } from '../../rpc/context.js';
import { elevated } from '../../rpc/context.js';
import { isUuid } from '../../lib/ids.js';
import type { ComputeDeps } from '../deps.js';

const perGroup = (): KeyedMutex<string> => new KeyedMutex<string>();

/** Makes the check; one of these per agent, because the mutexes live in it. */
export function createGroupPolicy(): GroupPolicy {
  const mutex = perGroup();
  return {
    async check(deps, context, instance, hint) {
      if (deps.options.isGroupPolicyUpcallDisabled || hint === null) return;
      await mutex.run(hint, () => checkNow(deps, context, instance, hint));
    },
  };
}

export interface GroupPolicy {
  /** Throws AgentError `group-policy-violated` (a reschedule that does not count as a failure). `hint` is scheduler_hints.group. */
  check(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, hint: string | null): Promise<void>;
}

async function checkNow(deps: ComputeDeps, context: RequestContext, instance: NovaObjectOf<'Instance'>, hint: string): Promise<void> {
  const admin = elevated(context);
  const group = isUuid(hint) ? await deps.conductor.groups.byUuid(admin, hint) : await deps.conductor.groups.byName(context, hint);
  if (group === null) return;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const policy = group.get('policy');
  const members = new Set(group.get('members'));
  if (policy === 'anti-affinity') {
    const here = [...await membersHere(deps, admin)].filter((one) => one !== uuid && members.has(one));
    const most = Number(group.get('_rules')?.['max_server_per_host'] ?? 1);
    if (here.length >= most) throw violation(uuid, 'Anti-affinity instance group policy was violated.');
  } else if (policy === 'affinity') {
    const hosts = new Set<string>();
    for (const member of members) {
      if (member === uuid) continue;
      const other = await memberHost(deps, admin, member);
      if (other !== null) hosts.add(other);
    }
    if (hosts.size > 0 && !hosts.has(deps.options.host)) throw violation(uuid, 'Affinity instance group policy was violated.');
  }
}

/** Statuses of migrations that Nova does not count as on their way (nova.objects.MigrationList.get_in_progress_by_host_and_node). */
const notMoving: ReadonlySet<string | null> = new Set(['accepted', 'error']);

/** Instances of this host, and those that are moving to or from it. */
async function membersHere({ conductor, options }: ComputeDeps, context: RequestContext): Promise<ReadonlySet<string>> {
  const [instances, migrations] = await Promise.all([
    conductor.instances.uuidsByHost(context, options.host), conductor.migrations.inProgressAndError(context, options.host, options.node),
  ]);
  const moving = migrations.filter((migration) => !notMoving.has(migration.get('status'))).flatMap((migration) => migration.maybe('instance_uuid') ?? []);
  return new Set<string>([...instances, ...moving]);
}

async function memberHost(deps: ComputeDeps, context: RequestContext, member: string): Promise<string | null> {
  const [found] = await deps.conductor.instances.byFilters(context, { uuid: [member], deleted: false });
  return found?.get('host') ?? null;
}

const violation = (uuid: string, reason: string): AgentError =>
  new AgentError('group-policy-violated', reason, { wire: novaFaults.rescheduled(uuid, reason) });
