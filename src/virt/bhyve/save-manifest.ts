/**
 * What belongs to a save besides bhyve's own files, in `manifest.json` beside them: sums of all files, the host, the family, and the disks that go with the
 * memory. bhyve checks none of that, and restores a guest onto changed disks without a word. Written last; the folder then gets its final name, so a save
 * is complete whenever it is there.
 *
 * bhyve.conf is the file of the run that was saved: the device set must be the same byte for byte. What may change at the restore is the address of the
 * screen (`rfb`) and its password, which the file does not even have: who looks at a guest is no state of it, and another program may have the port by then.
 */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid, type InstanceUuid } from '../../lib/ids.js';
import { saveIdentity } from './save-identity.js';

/** Raise it when an older agent would restore something wrong. */
export const manifestVersion = 1;

/** Names in the folder. FILE of bhyve is `ram`; a host without a variable store, or a family without binary state, has fewer. */
export const saveFiles = ['ram', 'ram.kern', 'ram.meta', 'bhyve.conf', 'nvram.fd'] as const;
export type SaveFile = (typeof saveFiles)[number];
export const manifestName = 'manifest.json';

const file = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.number().int().min(0) });
const manifestSchema = z.object({
  version: z.literal(manifestVersion),
  instance: z.string().transform((value) => parseInstanceUuid(value)),
  at: z.iso.datetime(),
  family: z.enum(['structs', 'kern-structs', 'upb-json']),
  memoryMiB: z.number().int().positive(),
  files: z.partialRecord(z.enum(saveFiles), file),
  host: saveIdentity,
  disks: z.record(z.string(), z.string()),
});

export type SaveManifest = Readonly<z.infer<typeof manifestSchema>>;

export const renderManifest = (manifest: SaveManifest): string => `${JSON.stringify(manifest, null, 2)}\n`;

/** AgentError `save-damaged` for a file that is not what we write, or of another instance; `layout-too-new` for a newer agent's. */
export function parseManifest(instance: InstanceUuid, text: string): SaveManifest {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw new AgentError('save-damaged', `the manifest of the save of ${instance} is not JSON`, { cause });
  }
  const version: unknown = typeof raw === 'object' && raw !== null && 'version' in raw ? raw.version : undefined;
  if (typeof version === 'number' && version > manifestVersion) throw new AgentError('layout-too-new', `the save of ${instance} was made by a newer agent: upgrade this agent`);
  const parsed = manifestSchema.safeParse(raw);
  if (!parsed.success) throw new AgentError('save-damaged', `the manifest of the save of ${instance} is damaged`, { cause: parsed.error });
  if (parsed.data.instance !== instance) throw new AgentError('save-damaged', `the folder of ${instance} holds the save of ${parsed.data.instance}`);
  return parsed.data;
}
