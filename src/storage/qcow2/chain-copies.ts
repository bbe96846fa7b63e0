/**
 * A root disk as it was at one moment, to become an image: the file that its guest wrote to until then, which a node of its own keeps (chain-nodes.ts). Named by the
 * operation, so that what a crash left behind is known to be nobody's. SCRATCH/OPERATION.part is what is uploaded, in the form that is reported.
 */
import { join } from 'node:path';
import { AgentError } from '../../lib/errors.js';
import { parseCheckpointId, parseOperationId, type CheckpointId, type OperationId } from '../../lib/ids.js';
import { writeDiskFile } from '../converter.js';
import type { NodeStorage } from '../types.js';
import type { ChainDisksDeps } from './chain-disks.js';
import { dropNode, makeNode } from './chain-nodes.js';
import { eachGoodChain } from './each-chain.js';

type Copies = Pick<NodeStorage, 'takeSnapshot' | 'openSnapshot' | 'dropSnapshot' | 'dropLeftSnapshots'>;

const nodeOf = (operation: OperationId): CheckpointId => parseCheckpointId(operation);

export function createChainCopies(deps: ChainDisksDeps): Copies {
  const { host, chains, scratch, limits, log } = deps;
  const fileOf = (operation: OperationId): string => join(scratch, `${operation}.part`);
  const dropSnapshot: Copies['dropSnapshot'] = async (instance, operation) => {
    await host.files.remove(fileOf(operation), scratch);
    await dropNode(deps, instance, nodeOf(operation));
  };
  return {
    takeSnapshot: (instance, operation) => makeNode(deps, instance, { id: nodeOf(operation), kind: 'external', purpose: { use: 'copy', keeper: 'nova', name: null } }),
    async openSnapshot(instance, operation, { format, isCompressed, signal }) {
      const path = await chains.chain(instance, 'root').pathOf(nodeOf(operation));
      const file = fileOf(operation);
      await host.files.remove(file, scratch);
      await writeDiskFile(host, { path, form: 'qcow2' }, { path: file, form: format }, { ...limits, isCompressed }, signal);
      const bytes = await host.files.sizeBytes(file);
      if (bytes === undefined) throw new AgentError('disk-missing', 'the converter wrote no file', { details: { path: file } });
      return { diskFormat: format, bytes, open: () => host.files.openSource(file) };
    },
    dropSnapshot,
    async dropLeftSnapshots(isOpen) {
      let dropped = 0;
      for await (const { instance, role, view } of eachGoodChain(deps, chains)) {
        for (const { id } of role === 'root' ? view.nodes.filter(({ purpose }) => purpose.use === 'copy') : []) {
          const operation = parseOperationId(id);
          if (isOpen(operation)) continue; // asked late: an operation that began while we listed is open
          try {
            await dropSnapshot(instance, operation);
            dropped += 1;
            log.info({ instance, op: operation }, 'left-over copy of a disk removed');
          } catch (err) {
            log.warn({ err, instance, op: operation }, 'left-over copy of a disk not removed; it will be tried again');
          }
        }
      }
      return dropped;
    },
  };
}
