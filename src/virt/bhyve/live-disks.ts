/**
 * Disks of a running guest that are qcow2 files (libvdsk): bhyve is asked for checkpoints of them, and is told where they are when the guest reboots. The caller holds the
 * guest's mutex.
 *
 * A request goes through bhyvectl, whose exit says nothing; bhyve saves the guest's memory too, into its working directory, the guest's folder, and is done when the
 * description beside that has been written (NAME.meta). Nobody wants that memory: it is removed.
 */
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { ChainKind, DiskRole } from '../../storage/index.js';
import { readStoredSpec } from './define-guest.js';
import { runningGuest, type LifecycleDeps } from './lifecycle.js';
import { observeGuest } from './observe-guest.js';
import { isStopped } from './proof.js';

const MiB = 1024 * 1024;
const pollMs = 200;
const requestMs = 60_000;
/** Memory goes to a disk at no less than this, and files need some time of their own. */
const slowestMiBPerSecond = 10;
const restMs = 60_000;
/** Beside the memory: the kernel's part, the devices', and what the file system itself takes. */
const spareBytes = 64n * BigInt(MiB);

const refused = (reason: string): AgentError => new AgentError('guest-checkpoint-refused', reason);

/** See ChainGuests.checkpointDisks. */
export async function checkpointDisks(deps: LifecycleDeps, instance: InstanceUuid, name: string, kind: ChainKind): Promise<void> {
  const { host, files } = deps;
  const { folder } = files.paths(instance);
  const { definition } = await readStoredSpec(files, instance);
  if (!deps.capabilities().hasLibvdsk) throw refused('the bhyve of this host makes no checkpoints of disks (no libvdsk)');
  const { process } = await runningGuest(deps, instance);
  if (isStopped(process)) throw refused('the guest is paused, and bhyve with it: unpause the server, or stop it');
  if ((await host.files.freeBytes(folder)) < BigInt(definition.memoryMiB) * BigInt(MiB) + spareBytes) {
    throw refused(`bhyve saves the guest's ${definition.memoryMiB} MiB of memory with a checkpoint, and state_path has too little room for that: stop the server first`);
  }
  try {
    await host.run('bhyvectl', [`--vm=${instance}`, `--${kind === 'external' ? 'ext-checkpoint' : 'checkpoint'}=${name}`], { okExits: 'any', timeoutMs: requestMs });
  } catch (err) {
    if (!(err instanceof AgentError)) throw err;
    deps.log.warn({ err, instance }, 'bhyvectl failed; what bhyve does now decides'); // the request may have been sent
  }
  await untilDone(deps, instance, `${folder}/${name}.meta`, (definition.memoryMiB / slowestMiBPerSecond) * 1000 + restMs);
  if (await isQcow2(deps, `${folder}/${name}`)) {
    throw new AgentError('guest-checkpoint-unfinished', `bhyve of ${instance} has put a disk into its own folder, where nobody looks for it: stop the server, and move ${folder}/${name} to its disk by hand`);
  }
  for (const file of [name, `${name}.kern`, `${name}.meta`]) await host.files.remove(`${folder}/${file}`, files.root);
}

/** Where the branch that has these options puts an overlay is known from its wiki page only: what the guest writes to is never taken for memory and removed. */
async function isQcow2({ host }: LifecycleDeps, path: string): Promise<boolean> {
  if (((await host.files.sizeBytes(path)) ?? 0n) < 4n) return false;
  const head: Uint8Array[] = [];
  for await (const chunk of host.files.openSource(path, { start: 0n, end: 4n })) head.push(chunk);
  return Buffer.concat(head).toString('latin1') === 'QFI\xfb';
}

/** A guest that has ended makes none any more: the files tell whether it has made one. */
async function untilDone(deps: LifecycleDeps, instance: InstanceUuid, meta: string, limitMs: number): Promise<void> {
  const { clock, host } = deps;
  for (const deadline = clock.monotonicMs() + limitMs; clock.monotonicMs() < deadline; await clock.sleep(pollMs)) {
    if (((await host.files.sizeBytes(meta)) ?? 0n) > 0n) return;
    const { kind } = await observeGuest(deps, instance);
    if (kind === 'ended' || kind === 'left-over') return;
  }
  throw new AgentError('guest-checkpoint-unfinished', `bhyve of ${instance} neither made the checkpoint nor said that it cannot: see bhyve.log`);
}

/**
 * See ChainGuests.moveDisks. Only the paths are changed in bhyve.conf, which is otherwise written when a guest starts; found by the slot of the disk, so that a call which
 * was cut off is simply repeated.
 */
export async function moveDisks({ host, files }: LifecycleDeps, instance: InstanceUuid, paths: ReadonlyMap<DiskRole, string>): Promise<void> {
  const spec = await files.readSpec(instance);
  if (spec === undefined) return;
  const { config } = files.paths(instance);
  const disks = spec.definition.disks.map((disk) => ({ ...disk, path: paths.get(disk.role) ?? disk.path }));
  const before = (await host.files.readText(config)) ?? '';
  const after = before.split('\n').map((line) => {
    const disk = disks.find(({ role }) => line.startsWith(`pci.0.${spec.slots.used[`disk:${role}`]}.0.`) && /\.path=/.test(line));
    return disk === undefined ? line : `${line.slice(0, line.indexOf('='))}=${disk.path}`;
  }).join('\n');
  if (disks.some(({ path }, at) => path !== spec.definition.disks[at]!.path)) await files.writeSpec({ ...spec, definition: { ...spec.definition, disks } });
  if (after !== before) await host.files.writeAtomic(config, after, 0o600);
}
