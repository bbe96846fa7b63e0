/**
 * What the operator of the host may have done with the checkpoints and disks of a server, as it is asked for and as it lies in the journal.
 */
import { z } from 'zod';
import { isUuid, parseCheckpointId, parseInstanceUuid } from '../../lib/ids.js';

const uuid = z.custom<string>(isUuid, 'not a canonical UUID');
const instance = uuid.transform(parseInstanceUuid);
const server = { instance, checkpoint: uuid.transform(parseCheckpointId) };

/** Why this is no name for a checkpoint, in words; null if it is one. What could be taken for an id, or for nothing at all, is none. */
function whyNoName(name: string): string | null {
  if (!/^[!-~](?:[ -~]{0,62}[!-~])?$/.test(name)) return 'a name has 1 to 64 printable ASCII characters, and no space at its ends';
  return name === '-' || isUuid(name.toLowerCase()) ? 'a name is neither an id nor "-"' : null;
}

const name = z.string().refine((text) => whyNoName(text) === null, { error: ({ input }) => whyNoName(String(input)) ?? '' });

/** `full`: with the memory of the guest, if it runs; `chainKind`: of qcow2 disks, null: as the host does it; `checkpoint`: the id that the new node is to have. */
export const createOrder = z.object({ ...server, content: z.enum(['full', 'disk']), chainKind: z.enum(['external', 'internal']).nullable().default(null), name: name.nullable() });
/** `full`: with the memory of the node, if it has any and the server runs. */
export const restoreOrder = z.object({ ...server, content: z.enum(['full', 'disk']) });
/** `isForced`: also one that an image stands for. */
export const deleteOrder = z.object({ ...server, isForced: z.boolean() });
/** A server whose disks are to rest on their image alone. */
export const flattenOrder = z.object({ instance });

export type CreateOrder = z.infer<typeof createOrder>;
export type RestoreOrder = z.infer<typeof restoreOrder>;
export type DeleteOrder = z.infer<typeof deleteOrder>;
export type FlattenOrder = z.infer<typeof flattenOrder>;
