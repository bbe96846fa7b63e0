/**
 * What is kept for a node, on its way out of this host and back. bhyve reads a save as root and believes it, so a save comes back only with the seal that this host
 * gave it: a keyed sum over whose it is and over its manifest, which has the sums of all its files. The key never leaves the host, and dies with its state folder.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { AgentError } from '../../lib/errors.js';
import type { CheckpointId, InstanceUuid } from '../../lib/ids.js';
import type { CheckpointMemory } from '../../storage/index.js';
import type { KeptFile } from '../types.js';
import { keptFolder, makeFolder, sumOf, variablesName } from './kept-checkpoints.js';
import type { LifecycleDeps } from './lifecycle.js';
import { manifestName, parseManifest, saveFiles } from './save-manifest.js';

type Deps = Pick<LifecycleDeps, 'host' | 'files'>;

const keyBytes = 32;
const maxManifestBytes = 1024n * 1024n;
/** The largest variable store of EDK2 has 528 KiB. */
const maxVariableBytes = 16n * 1024n * 1024n;

const damaged = (what: string): AgentError => new AgentError('save-damaged', what);

/** See KeptCheckpoints.keptFiles. */
export async function keptFiles({ host, files }: Deps, instance: InstanceUuid, checkpoint: CheckpointId): Promise<readonly KeptFile[]> {
  const found: KeptFile[] = [];
  for (const name of [...saveFiles, manifestName]) {
    const path = `${keptFolder(files, instance, checkpoint)}/${name}`;
    const bytes = await host.files.sizeBytes(path);
    if (bytes !== undefined) found.push({ name, bytes, open: () => host.files.openSource(path, { start: 0n, end: bytes }) });
  }
  return found;
}

/** See KeptCheckpoints.importKept. */
export async function importKept(
  deps: Deps, instance: InstanceUuid, checkpoint: CheckpointId, files: readonly KeptFile[], { memory, signal }: { memory: CheckpointMemory | null; signal: AbortSignal },
): Promise<void> {
  const folder = keptFolder(deps.files, instance, checkpoint);
  const manifest = memory === null ? null : await readManifest(files, instance, memory);
  const names: readonly string[] = manifest === null ? [variablesName] : Object.keys(manifest.files);
  const wanted = files.filter(({ name }) => names.includes(name));
  const limit = memory === null ? maxVariableBytes : memory.bytes;
  if (wanted.reduce((sum, { bytes }) => sum + bytes, 0n) > limit) throw damaged('what was kept with its disks is larger than it was');
  const all = [...wanted.map(({ name }) => name), ...(manifest === null ? [] : [manifestName])];
  if (all.length === 0 || (await hasAll(deps, folder, all))) return;
  await deps.host.files.remove(folder, deps.files.root);
  await makeFolder(deps, folder, async (partial) => {
    for (const file of wanted) await write(deps, `${partial}/${file.name}`, file, signal);
    if (manifest !== null) await deps.host.files.writeAtomic(`${partial}/${manifestName}`, manifest.text);
  });
}

async function hasAll({ host }: Deps, folder: string, names: readonly string[]): Promise<boolean> {
  for (const name of names) if (!(await host.files.exists(`${folder}/${name}`))) return false;
  return true;
}

async function readManifest(files: readonly KeptFile[], instance: InstanceUuid, memory: CheckpointMemory): Promise<{ text: string; files: object }> {
  const file = files.find(({ name }) => name === manifestName);
  if (file === undefined || file.bytes > maxManifestBytes) throw damaged('the manifest of its memory is missing');
  const chunks: Uint8Array[] = [];
  for await (const chunk of limited(file)) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  if (sumOf(text) !== memory.sum) throw damaged('its memory is not that which was saved with its disks');
  return { text, files: parseManifest(instance, text).files };
}

async function* limited(file: KeptFile): AsyncGenerator<Uint8Array> {
  let read = 0n;
  for await (const chunk of file.open()) {
    read += BigInt(chunk.length);
    if (read > file.bytes) throw damaged(`${file.name} is longer than it was`);
    yield chunk;
  }
}

async function write({ host }: Deps, path: string, file: KeptFile, signal: AbortSignal): Promise<void> {
  const sink = await host.files.openSink(path);
  try {
    for await (const chunk of limited(file)) {
      signal.throwIfAborted();
      await sink.write(chunk);
    }
  } catch (error) {
    await sink.abort();
    throw error;
  }
  await sink.commit();
}

/** See KeptCheckpoints.seal. AgentError `file-failed`. */
export async function seal({ host, files }: Deps, instance: InstanceUuid, checkpoint: CheckpointId, { sum, bytes }: CheckpointMemory): Promise<string> {
  if (!(await host.files.exists(files.sealKey))) await host.files.createExclusive(files.sealKey, randomBytes(keyBytes).toString('hex'));
  const key = Buffer.from((await host.files.readText(files.sealKey)) ?? '', 'hex');
  if (key.length !== keyBytes) throw new AgentError('file-failed', 'the key of checkpoints is damaged: remove it, and make checkpoints with memory anew', { details: { path: files.sealKey } });
  return createHmac('sha256', key).update(`${instance} ${checkpoint} ${sum} ${bytes}`).digest('hex');
}
