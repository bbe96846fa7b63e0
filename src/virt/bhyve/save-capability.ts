/**
 * Whether this host may save and restore guests. That bhyve was built with it says little: stock 13.2 saves without a word and cannot restore. So it is off
 * until a self-test has saved and restored a guest here, with this very bhyve and kernel; STATE/selftest/save-restore.json has what was found:
 *
 *   { "version": 1, "results": [ { "at": ISO 8601, "host": { cpuModel, cpuVendor, release, bhyve, kernel }, "family": "kern-structs", "models": ["virtio-blk", …],
 *     "isGood": true, "reason": "" }, … ] }
 *
 * A result counts for its host only, as named in save-identity.ts: an upgrade of FreeBSD makes it void. Of several the latest counts. A model of device that
 * no guest of the self-test had is not known to come back, and a guest that has one is refused.
 */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';
import { canSaveNvme, type HostCapabilities } from '../types.js';
import { saveIdentity, whyOtherHost, type SaveIdentity } from './save-identity.js';

const resultSchema = z.object({
  at: z.iso.datetime(), host: saveIdentity, family: z.enum(['structs', 'kern-structs', 'upb-json']), models: z.array(z.string()), isGood: z.boolean(), reason: z.string(),
});
const fileSchema = z.object({ version: z.literal(1), results: z.array(resultSchema).max(1000) });

/** One run of the self-test; `reason` says why it is not good. */
export type SelfTestResult = z.infer<typeof resultSchema>;

export const selfTestPath = (statePath: string): string => `${statePath}/selftest/save-restore.json`;

/** Text of the file. */
export const renderSelfTest = (results: readonly SelfTestResult[]): string => `${JSON.stringify({ version: 1, results }, null, 2)}\n`;

/** AgentError `bad-selftest-file` when it is damaged or of another version. */
export function parseSelfTest(text: string): readonly SelfTestResult[] {
  try {
    return fileSchema.parse(JSON.parse(text)).results;
  } catch (cause) {
    throw new AgentError('bad-selftest-file', 'save-restore.json cannot be read: run nova-bhyve selftest save-restore again', { cause });
  }
}

export type SaveRestore = HostCapabilities['saveRestore'];

/** AMD's part of the code is in every release, and nobody has vouched for it since its authors saw Linux guests freeze (D19495). */
const untested = (cpuVendor: string): string => `no self-test has restored a guest here${cpuVendor === 'AMD' ? ', and on AMD processors it is experimental until one has' : ''}`;

/** What the results say about this host. */
export function judgeSelfTest(results: readonly SelfTestResult[], now: SaveIdentity): SaveRestore {
  const none = { family: null, models: [] } as const;
  const latest = [...results].sort((a, b) => (a.at < b.at ? 1 : -1));
  const mine = latest.find(({ host }) => whyOtherHost(host, now) === null);
  if (mine === undefined) {
    const other = latest[0];
    const since = other === undefined ? '' : `; the last self-test was with something else: ${whyOtherHost(other.host, now)}`;
    return { status: 'untested', reason: `${untested(now.cpuVendor)}${since}`, ...none };
  }
  if (!mine.isGood) return { status: 'impossible', reason: `the self-test failed: ${mine.reason}`, ...none };
  return { status: 'ready', reason: `self-test passed on ${mine.at}`, family: mine.family, models: mine.models };
}

/** Reads the file, and has the host read by `identity` if there is a result to compare it with. A host that was built without, and one where the operator does not want it (`unwanted` says why), are not asked further. */
export async function readSaveRestore(
  host: Host, statePath: string, capabilities: HostCapabilities, unwanted: string | null, identity: () => Promise<SaveIdentity>,
): Promise<SaveRestore> {
  const impossible = (reason: string): SaveRestore => ({ status: 'impossible', reason, family: null, models: [] });
  if (!capabilities.hasSnapshot) return impossible('this FreeBSD is built without BHYVE_SNAPSHOT');
  if (unwanted !== null) return impossible(unwanted);
  try {
    const text = await host.files.readText(selfTestPath(statePath));
    if (text === undefined) return { status: 'untested', reason: untested(capabilities.cpuVendor), family: null, models: [] };
    return judgeSelfTest(parseSelfTest(text), await identity());
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return { status: 'untested', reason: error.message, family: null, models: [] };
  }
}

function nvmeFinding({ saveRestore }: HostCapabilities): HostCapabilities['findings'][number] {
  const isOk = canSaveNvme(saveRestore);
  const advice = 'servers with an NVMe disk (image property bhyve_disk_bus=nvme) run here and are not suspended';
  return { probe: 'NVMe disks in a save', answer: isOk ? 'came back in the self-test' : 'bhyve does not save them', isOk, advice: isOk ? null : advice };
}

/** The same with lines for `nova-bhyve check`. */
export function withFinding(capabilities: HostCapabilities): HostCapabilities {
  const { status, reason } = capabilities.saveRestore;
  const advice = capabilities.hasSnapshot && status === 'untested' ? 'run nova-bhyve selftest save-restore; until it has passed, suspend is refused' : 'suspend and resume are refused';
  const suspend = { probe: 'suspend and resume', answer: reason, isOk: status === 'ready', advice: status === 'ready' ? null : advice };
  return { ...capabilities, findings: [...capabilities.findings, suspend, ...(status === 'ready' ? [nvmeFinding(capabilities)] : [])] };
}
