/**
 * Names of datasets. Everything that we touch lies strictly below [zfs]root; a name is checked here before it becomes an
 * argument, so that no id, however odd, can name another dataset, a snapshot (`@`), a bookmark (`#`) or an option (`-`).
 */
import { assert } from '../lib/assert.js';
import { AgentError } from '../lib/errors.js';
import type { ImageId, InstanceUuid } from '../lib/ids.js';
import type { DiskRole } from './types.js';

const COMPONENT = /^[A-Za-z0-9][A-Za-z0-9._:-]*$/;
/** OpenZFS: names, snapshots included, are shorter than 256 characters. */
const MAX_NAME_CHARS = 255;

const isPlainName = (name: string): boolean => name.length <= MAX_NAME_CHARS && name.split('/').every((part) => COMPONENT.test(part));

/** Throws AgentError `zfs-bad-root` unless `root` is a plain dataset name. */
export function parseRoot(root: string): string {
  if (isPlainName(root)) return root;
  throw new AgentError('zfs-bad-root', 'option [zfs]root must be a dataset name of letters, digits and . _ : - with / between the parts', { details: { root } });
}

/** Throws a Bug unless `name` (a dataset, or a dataset and `@snapshot`) lies strictly below `root`. */
export function assertBelow(root: string, name: string): void {
  const [dataset, ...snapshot] = name.split('@');
  assert(name.length <= MAX_NAME_CHARS && dataset!.startsWith(`${root}/`) && isPlainName(dataset!), `dataset name outside the root: ${name}`);
  assert(snapshot.length === 0 || (snapshot.length === 1 && COMPONENT.test(snapshot[0]!)), `bad snapshot name: ${name}`);
}

/** Where things are below the root. */
export interface Layout {
  readonly root: string;
  readonly images: string;
  readonly instances: string;
  readonly graveyard: string;
  image(id: ImageId): string;
  /** The snapshot that marks an image as complete and that disks are cloned from. */
  imageBase(id: ImageId): string;
  instance(uuid: InstanceUuid): string;
  disk(uuid: InstanceUuid, role: DiskRole): string;
}

export function layoutOf(rootName: string): Layout {
  const root = parseRoot(rootName);
  return {
    root,
    images: `${root}/images`,
    instances: `${root}/instances`,
    graveyard: `${root}/graveyard`,
    image: (id) => `${root}/images/${id}`,
    imageBase: (id) => `${root}/images/${id}@base`,
    instance: (uuid) => `${root}/instances/${uuid}`,
    disk: (uuid, role) => `${root}/instances/${uuid}/${role}`,
  };
}
