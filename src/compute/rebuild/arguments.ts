/** The arguments of rebuild_instance, 6.0 to 6.2; evacuation comes under the same name. */
import { z } from 'zod';
import { parseOptionalArgument } from '../../objects/index.js';
import { anything, instanceArgument } from '../operation.js';

export const rebuildArguments = z.looseObject({
  instance: instanceArgument,
  orig_image_ref: z.string().nullish(),
  image_ref: z.string().nullish(),
  injected_files: z.array(z.tuple([z.string(), z.string()])).nullish(),
  new_pass: z.string().nullish(),
  orig_sys_metadata: z.record(z.string(), z.string()).nullish(),
  bdms: z.unknown().transform((value) => parseOptionalArgument('BlockDeviceMappingList', value)),
  /** True: evacuation from a host that is down. */
  recreate: z.boolean().default(false),
  on_shared_storage: anything.optional(),
  preserve_ephemeral: z.boolean().default(false),
  migration: anything.optional(),
  scheduled_node: anything.optional(),
  limits: anything.optional(),
  request_spec: anything.optional(),
  accel_uuids: z.array(z.unknown()).nullish(),
  reimage_boot_volume: z.boolean().nullish(),
  target_state: z.string().nullish(),
});
export type RebuildArguments = z.infer<typeof rebuildArguments>;
