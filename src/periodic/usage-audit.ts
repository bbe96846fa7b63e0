import type { ComputeDeps } from '../compute/index.js';
import { lastCompletedPeriod } from '../lib/audit-period.js';
import { createObject, toNovaTime } from '../objects/index.js';
import { isRemote } from '../rpc/index.js';
import type { Duty } from './duty.js';

/**
 * Tells, once a period of `instance_usage_audit_period` is over, what each instance of this host was in it (`compute.instance.exists`), and writes down
 * that it has, which `openstack` shows to admins as os-instance_usage_audit_log. What was begun is not done again, as in nova-compute: whoever bills
 * would count twice.
 */
export function usageAudit(deps: ComputeDeps, { isOn, period: unit }: { readonly isOn: boolean; readonly period: string }): Duty {
  const { clock, conductor, notifications, log, options: { host } } = deps;
  return {
    name: 'usage-audit',
    everySeconds: isOn ? 60 : 0,
    atStart: false,
    async run(signal) {
      const context = deps.ownContext();
      const period = lastCompletedPeriod(unit, clock.now());
      if (await conductor.usageAudits.hasBegun(context, period, host)) return;
      const instances = await conductor.instances.activeBetween(context, period, host);
      const audit = createObject(conductor.profile, 'TaskLog', {
        task_name: 'instance_usage_audit', host, period_beginning: toNovaTime(period.begin), period_ending: toNovaTime(period.end), task_items: instances.length,
        message: 'Instance usage audit started...',
      });
      try {
        await conductor.usageAudits.begin(context, audit);
      } catch (error) {
        if (isRemote(error, 'TaskAlreadyRunning')) return;
        throw error;
      }
      let errors = 0;
      for (const instance of instances) {
        if (signal.aborted) break; // the record stays as begun, and says so
        if (!(await notifications.exists({ rpc: 'usage_audit', context, args: {} }, instance, period))) errors += 1;
      }
      if (signal.aborted) return;
      audit.set('errors', errors);
      audit.set('message', `Instance usage audit ran for host ${host}, ${instances.length} instances.`);
      await conductor.usageAudits.end(context, audit);
      log.info({ begin: period.begin, end: period.end, instances: instances.length, errors }, 'usage of a period told');
    },
  };
}
