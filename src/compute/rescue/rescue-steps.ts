/** Disks and files of a rescued server. They come with the rescue, and go with its end, with the server, and with a rebuild. */
import { parseImageId, type InstanceUuid } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import type { NetworkInfo } from '../../network/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { GlanceImage } from '../../openstack/index.js';
import type { ComputeDeps } from '../deps.js';

type Deps = Pick<ComputeDeps, 'storage' | 'configDrive'>;

/** A disk of the rescue image, beside the server's own. */
export function rescueDisk({ storage }: Deps, instance: InstanceUuid, image: GlanceImage): Step {
  return {
    name: 'rescue-disk',
    look: async () => 'not-done', // idempotent
    act: async () => { await storage.createDiskFromImage(instance, 'rescue', parseImageId(image.id), null); },
    undo: () => storage.buryDisk(instance, 'rescue'),
  };
}

/** A config drive of its own with the rescue's password; the server's stays as it is. */
export function rescueConfigDrive(deps: Deps, instance: NovaObjectOf<'Instance'>, uuid: InstanceUuid, image: GlanceImage, vifs: NetworkInfo, password: string, onWritten: (path: string) => void): Step {
  return {
    name: 'rescue-config-drive',
    look: async () => (deps.configDrive.isRequired(instance, image.properties) ? 'not-done' : 'done'),
    act: async () => {
      onWritten(await deps.configDrive.write({ instance, networkInfo: vifs, injectedFiles: [], adminPassword: password, isForRescue: true }));
    },
    undo: () => deps.configDrive.removeForRescue(uuid),
  };
}

/** Takes away what a rescue left; the guest must be down, and is the server's own one when it is defined next. */
export function endRescue({ storage, configDrive }: Deps, instance: InstanceUuid): Step {
  return {
    name: 'end-rescue',
    look: async () => 'not-done',
    act: async () => {
      await storage.buryDisk(instance, 'rescue');
      await configDrive.removeForRescue(instance);
    },
    undo: async () => undefined,
  };
}
