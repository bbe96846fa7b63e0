/**
 * How far bhyve reaches once it runs, and so how far a guest that breaks out of it, and where it can write a save. Told by what its program holds, since nothing else
 * says it: with Capsicum it imports cap_enter(2), and one that takes the folder of a save from bhyvectl knows the key `fddir` of that request (snapshot.c of 15.1).
 * FreeBSD 13.2 leaves Capsicum out of builds with BHYVE_SNAPSHOT (its Makefile: WITHOUT_CAPSICUM); FreeBSD-UPB's branch has it and opens the folder of the first disk.
 */
import type { Host } from '../../host/index.js';
import type { HostCapabilities } from '../types.js';

type Sandbox = HostCapabilities['sandbox'];

/** bhyve is below 2 MiB everywhere. */
const maxProgramBytes = 16 * 1024 * 1024;

/** [bhyve] save_location: `disk` and `state` are the operator's word against what the program holds. */
export type SaveLocation = 'auto' | 'state' | 'disk';

/** AgentError `file-too-large`, `file-failed` for a program that cannot be read. */
export async function readSandbox(host: Pick<Host, 'files' | 'toolPath'>, location: SaveLocation): Promise<Sandbox> {
  if (location === 'disk') return 'first-disk';
  const path = host.toolPath('bhyve');
  const program = path === undefined ? undefined : await host.files.readText(path, maxProgramBytes);
  if (program === undefined) return 'unknown';
  if (!program.includes('cap_enter')) return 'none';
  return location === 'state' || program.includes('fddir') ? 'folder' : 'first-disk';
}

const answers: Readonly<Record<Sandbox, string>> = {
  none: 'none: a guest that breaks out of its bhyve is root on this host', folder: 'Capsicum', unknown: 'unknown: the program of bhyve cannot be read',
  'first-disk': "Capsicum; bhyve can save a guest beside its first disk only, and not one whose first disk is a volume of ZFS",
};

/** For `nova-bhyve check`. */
export const sandboxFinding = (sandbox: Sandbox): HostCapabilities['findings'][number] => ({
  probe: 'sandbox of bhyve', answer: answers[sandbox], isOk: sandbox === 'folder',
  advice: sandbox === 'none' ? 'FreeBSD 13 has no sandbox in builds with BHYVE_SNAPSHOT; [bhyve] save_restore = sandboxed refuses suspend here' : sandbox === 'first-disk' ? 'see [bhyve] save_location' : null,
});
