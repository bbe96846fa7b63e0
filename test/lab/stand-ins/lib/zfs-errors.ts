/** How zfs says no. */
import { Exit } from './tool.js';
import { propertyUsage, zfsCommandUsage } from './zfs-usage.js';

export const errnoOf = { ENOENT: 2, EBUSY: 16, EEXIST: 17, EINVAL: 22, ENOSPC: 28, EDQUOT: 122 } as const;

export const fail = (message: string): Exit => new Exit(1, `${message}\n`);
export const cannotOpen = (name: string): Exit => fail(`cannot open '${name}': dataset does not exist`);

/** `reason` and the usage of one command; exit 2. */
export function usageError(command: string, reason: string): Exit {
  return new Exit(2, `${reason === '' ? '' : `${reason}\n`}usage:\n${zfsCommandUsage(command)}\n${propertyUsage(command)}`);
}

/** Words for an errno of the engine. */
export function reasonOf(errno: number): string {
  switch (errno) {
    case errnoOf.ENOENT:
      return 'dataset does not exist';
    case errnoOf.EBUSY:
      return 'dataset is busy';
    case errnoOf.EEXIST:
      return 'dataset already exists';
    case errnoOf.ENOSPC:
    case errnoOf.EDQUOT:
      return 'out of space';
    case errnoOf.EINVAL:
      return 'invalid argument';
    default:
      return `unknown error ${errno}`;
  }
}
