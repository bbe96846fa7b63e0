import { parseInstanceUuid } from '../lib/ids.js';
import type { InstanceMethod, Operation } from './operation.js';
import { onlyInstance, type OnlyInstance } from './questions.js';

/** An NMI for the guest, whose kernel may make a dump of it. No state changes: what comes of it is the guest's business (nova-contract 6.4). */
export const triggerCrashDump: InstanceMethod<OnlyInstance> = {
  kind: 'instance',
  rpc: 'trigger_crash_dump',
  availability: { status: 'works', reason: 'on amd64' },
  args: onlyInstance,
  wrappers: { revertsTask: false, event: 'compute_trigger_crash_dump', recordsFault: true },
  gate: 'crash-dump',
  isJournalled: false, // given twice it would be two dumps
  run: trigger,
};

async function trigger({ args: { instance }, deps, log }: Operation<OnlyInstance>): Promise<null> {
  await deps.driver.injectNmi(parseInstanceUuid(instance.get('uuid')));
  log.info('guest was given an NMI');
  return null;
}
