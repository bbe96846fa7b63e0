/**
 * Disks of servers as chains of qcow2 files (disk-chain/), for hosts whose bhyve has libvdsk. All of it is files of the agent in one folder, by default
 * STATE/chains, which the operator may give a file system of its own:
 *
 *   images/ID            a cached image: plain qcow2 that rests on nothing; complete whenever it is there, by rename
 *   images/ID.json       what it was, and when a disk was last wanted of it
 *   instances/UUID/ROLE  a disk: the files of its chain, and chain.json
 *   graveyard/…          renamed away by destroy, reaped later
 *
 * An instance has its disks here as long as it has a folder here, whatever `[bhyve] disk_format` says by then: a format is never guessed from what a guest can write.
 */
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.js';
import type { ImageId, InstanceUuid } from '../../lib/ids.js';
import type { KeyedMutex } from '../../lib/keyed-mutex.js';
import type { Host } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import type { ConverterLimits } from '../converter.js';
import { createDiskChain, type DiskChain } from '../disk-chain/index.js';
import { isDiskRole, rolePlace } from '../disk-roles.js';
import type { ChainGuests, DiskRole } from '../types.js';

/** Files of a chain, the image included, beyond which a checkpoint waits until the guest has been off and deleted ones are merged: bhyve keeps all of them open. */
const MAX_FILES = 32;

export interface ChainsDeps {
  readonly host: Host;
  readonly clock: Clock;
  readonly log: Logger;
  /** Absolute path of the folder of it all. */
  readonly folder: string;
  /** Folder for what is read or written once; ours alone. */
  readonly scratch: string;
  readonly limits: ConverterLimits;
  /** Held while an image is made, used by a new disk or removed; the same for both forms of it. */
  readonly locks: KeyedMutex<ImageId>;
  readonly guests: ChainGuests;
}

export interface ChainPlaces {
  readonly root: string;
  readonly images: string;
  readonly instances: string;
  readonly graveyard: string;
  image(id: ImageId): string;
  instance(uuid: InstanceUuid): string;
  disk(uuid: InstanceUuid, role: DiskRole): string;
}

export function placesOf(folder: string): ChainPlaces {
  const [images, instances] = [join(folder, 'images'), join(folder, 'instances')];
  return {
    root: folder, images, instances, graveyard: join(folder, 'graveyard'),
    image: (id) => join(images, id), instance: (uuid) => join(instances, uuid), disk: (uuid, role) => join(instances, uuid, role),
  };
}

/** The disks of one instance as chains, each made once: a chain lets one call at a time through. */
export interface Chains {
  readonly places: ChainPlaces;
  chain(instance: InstanceUuid, role: DiskRole): DiskChain;
  /** What was below a folder is not there any more. */
  forget(path: string): void;
  /** Roles that have a folder, in the order of a machine. One may be of a disk that was never completed. */
  roles(instance: InstanceUuid): Promise<readonly DiskRole[]>;
}

export function createChains({ host, clock, folder }: ChainsDeps): Chains {
  const places = placesOf(folder);
  const chains = new Map<string, DiskChain>();
  return {
    places,
    chain(instance, role) {
      const path = places.disk(instance, role);
      const known = chains.get(path);
      if (known !== undefined) return known;
      const made = createDiskChain({ host, clock, folder: path, images: places.images, maxFiles: MAX_FILES });
      chains.set(path, made);
      return made;
    },
    forget(path) {
      for (const key of [...chains.keys()]) if (key === path || key.startsWith(`${path}/`)) chains.delete(key);
    },
    roles: async (instance) => (await host.files.list(places.instance(instance))).filter(isDiskRole).sort((a, b) => rolePlace(a) - rolePlace(b)),
  };
}
