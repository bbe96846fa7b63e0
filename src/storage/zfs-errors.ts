/**
 * What zfs(8) says when it refuses, as codes. This is the one place that reads its messages; samples of each are in
 * test/samples/freebsd-13.2/zfs-errors.json.
 */
import { AgentError } from '../lib/errors.js';
import type { RunResult } from '../host/index.js';

export type ZfsErrorCode =
  | 'zfs-missing' | 'zfs-exists' | 'zfs-busy' | 'zfs-has-dependents' | 'zfs-out-of-space' | 'zfs-read-only' | 'zfs-suspended' | 'zfs-denied' | 'zfs-failed';

const STDERR_CHARS = 500;

/** In order: the first that fits decides. A usage text may follow a message, so only the message's own words are matched. */
const messages: readonly (readonly [ZfsErrorCode, RegExp, 'no' | 'later'])[] = [
  ['zfs-has-dependents', /has dependent clones|has children|clones of previous snapshots exist/, 'no'],
  ['zfs-busy', /(?:dataset|pool or dataset) is busy/, 'later'],
  ['zfs-exists', /dataset already exists|destination '.*' exists/, 'no'],
  ['zfs-missing', /dataset does not exist|parent does not exist|no such pool|no such pool or dataset|could not find any snapshots to destroy/, 'no'],
  ['zfs-out-of-space', /out of space|no space left|size is greater than available space|quota exceeded/i, 'later'],
  ['zfs-read-only', /pool is read-only/, 'later'],
  ['zfs-suspended', /pool I\/O is currently suspended/i, 'later'],
  ['zfs-denied', /permission denied|Operation not permitted/i, 'no'],
];

const sentences: Readonly<Record<ZfsErrorCode, string>> = {
  'zfs-missing': 'there is no such dataset',
  'zfs-exists': 'a dataset of that name exists',
  'zfs-busy': 'the dataset is in use',
  'zfs-has-dependents': 'other datasets depend on this one',
  'zfs-out-of-space': 'the pool has too little space',
  'zfs-read-only': 'the pool is imported read-only; import it for writing',
  'zfs-suspended': 'the pool is suspended; look at zpool status',
  'zfs-denied': 'the agent may not do that; run it as root or delegate with zfs allow',
  'zfs-failed': 'zfs failed',
};

/** The error for a call of zfs that ended with another code than 0. */
export function zfsError(action: string, dataset: string, result: RunResult): AgentError {
  const [code, , retry] = messages.find(([, pattern]) => pattern.test(result.stderr)) ?? (['zfs-failed', null, 'no'] as const);
  return new AgentError(code, `zfs ${action}: ${sentences[code]}`, {
    retry,
    details: { action, dataset, exit: result.code, stderr: result.stderr.trim().slice(0, STDERR_CHARS) },
  });
}
