/** What is to go wrong with saves and restores on a node: NODE/etc/save.conf, read at each request, so that a test can change it while guests run. */
import { nodeSetting, type StandInNode } from './lab-node.js';

export interface SaveFaults {
  /** A device of this model has no code for saving (ENOTSUP). */
  readonly unsavableModel: string | undefined;
  /** `.meta` ends after so many octets, and bhyve does not notice. */
  readonly metaBytes: number | undefined;
  /** The disk is full after so many octets of memory. */
  readonly fullAfterBytes: number | undefined;
  /** bhyve is killed after so many octets of memory. */
  readonly killedAfterBytes: number | undefined;
  /** Memory is written so slowly. */
  readonly bytesPerSecond: number | undefined;
  /** Exit code of bhyve after a suspend. */
  readonly suspendCode: number | undefined;
  /** Exit code of bhyvectl when it has sent a request. */
  readonly requestCode: number | undefined;
  /** A restore is refused at the last kernel struct. */
  readonly isRestoreRefused: boolean;
}

export function readSaveFaults(node: StandInNode): SaveFaults {
  const text = (name: string): string | undefined => nodeSetting(node, 'save.conf', name);
  const number = (name: string): number | undefined => {
    const value = text(name);
    return value === undefined ? undefined : Number(value);
  };
  return {
    unsavableModel: text('unsavable'), metaBytes: number('meta_bytes'), fullAfterBytes: number('full_after'), killedAfterBytes: number('killed_after'), bytesPerSecond: number('bytes_per_second'),
    suspendCode: number('suspend_exit'), requestCode: number('request_exit'), isRestoreRefused: text('restore') === 'refused',
  };
}
