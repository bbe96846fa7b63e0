/**
 * The console units and screen ports of the guests that are stored here. The stored specs are what counts; this keeps what they said, because with
 * hundreds of guests reading all of them is most of the work of making one more. Only this process writes specs (it claims the state folder), and
 * which guests there are is asked of the folder each time.
 */
import type { InstanceUuid } from '../../lib/ids.js';
import type { Logger } from '../../observe/index.js';
import type { GuestFiles } from './guest-files.js';
import type { MachineSpec } from './machine-spec.js';

type Numbers = Pick<MachineSpec, 'consoleUnit' | 'vnc'>;

export interface TakenNumbers {
  /** Of all stored guests but this one. A spec that cannot be read is logged and left out. */
  ofOthers(instance: InstanceUuid): Promise<readonly Numbers[]>;
  /** To be told after each write of a spec. */
  note(spec: MachineSpec): void;
}

export function createTakenNumbers(files: Pick<GuestFiles, 'folders' | 'readSpec'>, log: Logger): TakenNumbers {
  const known = new Map<InstanceUuid, Numbers>();

  async function read(instance: InstanceUuid): Promise<void> {
    try {
      const spec = await files.readSpec(instance);
      if (spec !== undefined) known.set(instance, { consoleUnit: spec.consoleUnit, vnc: spec.vnc });
    } catch (err) {
      log.warn({ err, instance }, 'could not read a stored guest; its console numbers may be given away');
    }
  }

  return {
    async ofOthers(instance) {
      const present = new Set(await files.folders());
      for (const each of known.keys()) if (!present.has(each)) known.delete(each);
      for (const each of present) if (each !== instance && !known.has(each)) await read(each);
      return [...known].flatMap(([each, numbers]) => (each === instance ? [] : [numbers]));
    },
    note: ({ definition, consoleUnit, vnc }) => void known.set(definition.instance, { consoleUnit, vnc }),
  };
}
