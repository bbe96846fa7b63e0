/** The old, unversioned payload of an instance (nova/notifications/base.py: info_from_instance); what Ceilometer and billing read. */
import type { Data, InstanceFacts } from './facts.js';

export interface LegacyExtras {
  /** Where the image is, for old readers; null when nobody knows. */
  readonly imageUrl: string | null;
  /** Whether the fixed addresses are told too. */
  readonly hasAddresses: boolean;
  readonly more: Data;
}

/** '2026-11-23T04:31:54Z' as Python prints it in the two forms that Nova mixes. */
const printed = (time: unknown): string => (typeof time === 'string' ? `${time.slice(0, 19).replace('T', ' ')}+00:00` : 'None');
const isoTime = (time: unknown): string => (typeof time === 'string' ? `${time.slice(0, 19)}.000000` : '');
const number = (value: unknown): number => (typeof value === 'number' ? value : 0);
const orNull = (value: unknown): unknown => value ?? null;

export function legacyPayload({ instance, flavor, metadata, systemMetadata, addresses }: InstanceFacts, extras: LegacyExtras): Record<string, unknown> {
  const same = (name: string): unknown => orNull(instance[name]);
  const imageMeta = Object.entries(systemMetadata).filter(([key]) => key.startsWith('image_')).map(([key, value]) => [key.slice('image_'.length), value]);
  return {
    tenant_id: same('project_id'), user_id: same('user_id'), instance_id: instance['uuid'], display_name: same('display_name'), reservation_id: same('reservation_id'),
    hostname: same('hostname'), instance_type: flavor['name'] ?? '', instance_type_id: same('instance_type_id'), instance_flavor_id: flavor['flavorid'] ?? '',
    architecture: same('architecture'), memory_mb: orNull(flavor['memory_mb']), disk_gb: number(flavor['root_gb']) + number(flavor['ephemeral_gb']), vcpus: orNull(flavor['vcpus']),
    root_gb: orNull(flavor['root_gb']), ephemeral_gb: orNull(flavor['ephemeral_gb']), host: same('host'), node: same('node'), availability_zone: same('availability_zone'),
    cell_name: instance['cell_name'] ?? '', created_at: printed(instance['created_at']), terminated_at: isoTime(instance['terminated_at']),
    deleted_at: isoTime(instance['deleted_at']), launched_at: isoTime(instance['launched_at']), image_ref_url: extras.imageUrl, os_type: same('os_type'), kernel_id: same('kernel_id'),
    ramdisk_id: same('ramdisk_id'), state: same('vm_state'), state_description: instance['task_state'] ?? '', progress: number(instance['progress']) === 0 ? '' : instance['progress'],
    access_ip_v4: same('access_ip_v4'), access_ip_v6: same('access_ip_v6'),
    ...(extras.hasAddresses ? { fixed_ips: addresses.map(({ vif, network, address }) => ({ ...address, label: orNull(network['label']), vif_mac: orNull(vif['address']) })) } : {}),
    image_meta: Object.fromEntries(imageMeta), metadata, ...extras.more,
  };
}
