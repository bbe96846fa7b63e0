/**
 * An image's properties as Nova keeps them of an existing instance: in system_metadata, each with the prefix `image_` (nova-contract 7.4). So a
 * start, a hard reboot, a rebuild or a resize derives the same machine as the build did, whatever became of the image.
 */
import type { NovaObjectOf } from '../../objects/index.js';

/** Names by today's spelling, values as text. `disk_format` is among them. */
export type ImageProperties = Readonly<Record<string, string>>;

const prefix = 'image_';

/** Old names that images of other clouds carry; the new name wins where both are there. */
const legacyNames: Readonly<Record<string, string>> = {
  architecture: 'hw_architecture', hypervisor_type: 'img_hv_type', vm_mode: 'hw_vm_mode', hypervisor_version_requires: 'img_hv_requested_version',
  ipxe_boot: 'hw_ipxe_boot', root_device_name: 'img_root_device_name', owner_id: 'img_owner_id',
};

/** Properties with the old names replaced; empty values are as good as none. */
export function normalProperties(properties: ImageProperties): ImageProperties {
  const named = Object.entries(properties).filter(([, value]) => value !== '');
  const translated = named.flatMap(([name, value]) => {
    const today = legacyNames[name];
    return today === undefined ? [] : [[today, value] as const];
  });
  return Object.fromEntries([...translated, ...named.filter(([name]) => legacyNames[name] === undefined)]);
}

/** What is known of the image that the instance was made of. */
export function imagePropertiesOf(instance: NovaObjectOf<'Instance'>): ImageProperties {
  const metadata = Object.entries(instance.maybe('system_metadata') ?? {});
  return normalProperties(Object.fromEntries(metadata.filter(([key]) => key.startsWith(prefix)).map(([key, value]) => [key.slice(prefix.length), value])));
}
