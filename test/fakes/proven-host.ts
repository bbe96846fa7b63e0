/** A fake host whose bhyve can save guests, and on which a self-test has brought them back. */
import type { VirtualClock } from './virtual-clock.js';
import { createBhyveHost, type BhyveHost } from './bhyve-host.js';
import { renderSelfTest } from '../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../src/virt/bhyve/save-identity.js';

export async function createProvenHost(clock: VirtualClock, statePath: string): Promise<BhyveHost> {
  const host = createBhyveHost(clock);
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: 'Usage: bhyvectl --vm=<vmname>\n       [--suspend=<filename>]\n' });
  const identity = await readSaveIdentity(host, { cpuModel: 'AMD EPYC Processor', cpuVendor: 'AMD', release: '13.2-RELEASE' });
  host.outside.put(`${statePath}/selftest/save-restore.json`, renderSelfTest([{
    at: '2026-11-23T03:00:00.000Z', host: identity, family: 'kern-structs', models: ['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'ahci', 'fbuf', 'xhci'], isGood: true, reason: '',
  }]));
  return host;
}
