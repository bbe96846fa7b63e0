/** The steps of a rebuild that change disks and config drive. The guest is down. */
import { parseImageId, parseInstanceUuid } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import type { GlanceImage } from '../../openstack/index.js';
import { decodeFiles } from '../build/request.js';
import { rootBytesOf } from '../fetch-image.js';
import { isFillable, localDisks } from '../local-disks.js';
import type { Operation } from '../operation.js';
import { endRescue } from '../rescue/rescue-steps.js';
import type { RebuildArguments } from './arguments.js';

/**
 * The root disk is replaced when its successor is complete; until then the undo leaves the old one. After it there is no way back: every other
 * disk is remade empty, or with what its mapping says it begins with (ephemeral disks only if they are not to be preserved), and the config drive says what the row says now.
 */
export function remakeSteps(operation: Operation<RebuildArguments>, image: GlanceImage): readonly Step[] {
  const { id, args, deps } = operation;
  const { instance } = args;
  const { storage, configDrive } = deps;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  return [
    endRescue(deps, uuid),
    {
      name: 'replace-root',
      look: async () => 'not-done', // idempotent
      act: async () => { await storage.replaceFromImage(uuid, 'root', parseImageId(image.id), rootBytesOf(instance.get('flavor')), id); },
      undo: () => storage.dropReplacement(uuid, 'root'),
    },
    {
      // The boot entries are the old system's; Nova's libvirt driver makes the variables anew too.
      name: 'forget-variables',
      look: async () => 'not-done',
      act: () => deps.driver.forgetVariables(uuid),
      undo: async () => undefined,
    },
    {
      name: 'replace-others',
      look: async () => 'not-done',
      act: async () => {
        const mappings = args.bdms?.get('objects') ?? (await deps.conductor.blockDevices.byInstance(operation.context, uuid));
        const formats = new Map(localDisks(mappings, instance.get('flavor'), deps.options.defaultEphemeralFormat).map(({ role, format }) => [role, format]));
        for (const { role, bytes } of await storage.disks(uuid)) {
          const isKept = role === 'root' || role === 'rescue' || (role !== 'swap' && args.preserve_ephemeral);
          if (isKept) continue;
          await storage.replaceWithBlank(uuid, role, bytes, id);
          const format = formats.get(role) ?? null;
          if (isFillable(format, storage.formats)) await storage.fillDisk(uuid, role, format);
        }
      },
      undo: async () => undefined,
    },
    {
      name: 'config-drive',
      look: async () => (configDrive.isRequired(instance, image.properties) ? 'not-done' : 'done'),
      act: async () => {
        await configDrive.write({ instance, networkInfo: deps.ports.cached(instance), injectedFiles: decodeFiles(args.injected_files), adminPassword: args.new_pass ?? null });
        instance.set('config_drive', 'True');
      },
      undo: async () => undefined,
    },
  ];
}
