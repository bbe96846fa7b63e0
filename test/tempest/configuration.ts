/** tempest.conf for this lab: what there is (found out, not assumed), and nothing else. */
import { join } from 'node:path';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { endpoints, secretsOf, uploadImage, type Ini } from '../cloud/control-plane/index.js';
import type { LabSession } from '../cloud/support/lab-session.js';

interface Named { readonly id: string; readonly name: string }

/** The network whose guests can be reached from the node's namespace. */
const network = 'lab-flat';
const imageNames = ['tempest-guest', 'tempest-guest-alt'] as const;
/** Nova gives no DHCP here: a guest without config drive would have no address and no keys. */
const imageProperties = { hw_firmware_type: 'uefi', img_config_drive: 'mandatory', os_type: 'linux' };

/** Ids of two images of the lab guest; uploaded again when the guest has changed. */
async function ensureImages({ cloud, imageFile }: LabSession): Promise<string[]> {
  const ids: string[] = [];
  for (const name of imageNames) {
    const { images } = await cloud.admin.get<{ images: (Named & { status: string; lab_file?: string })[] }>(`${endpoints.glance}/v2/images?name=${name}`);
    const current = images.find((image) => image.status === 'active' && image.lab_file === imageFile);
    for (const image of images) if (image !== current) await cloud.admin.remove(`${endpoints.glance}/v2/images/${image.id}`);
    ids.push(current?.id ?? await uploadImage(cloud.admin, { name, diskFormat: 'raw', properties: { ...imageProperties, lab_file: imageFile } },
      Readable.toWeb(createReadStream(imageFile)) as ReadableStream));
  }
  return ids;
}

/** The whole file as data. `folder` is Tempest's own; `flags` come from features.ts. */
export async function tempestConfiguration(lab: LabSession, folder: string, flags: Readonly<Record<string, boolean>>): Promise<Ini> {
  const { admin } = lab.cloud;
  const secrets = secretsOf(lab.plane.layout);
  const [image, alternative] = await ensureImages(lab);
  const { flavors } = await admin.get<{ flavors: Named[] }>(`${endpoints.nova}/flavors`);
  const flavor = (name: string): string => flavors.find((entry) => entry.name === name)!.id;
  const { extensions } = await admin.get<{ extensions: { alias: string }[] }>(`${endpoints.neutron}/v2.0/extensions`);
  return {
    DEFAULT: { log_dir: join(folder, 'logs'), log_file: 'tempest.log', use_stderr: false },
    oslo_concurrency: { lock_path: join(folder, 'tempest_lock') },
    auth: {
      use_dynamic_credentials: true, admin_username: 'admin', admin_password: secrets.admin, admin_project_name: 'admin', admin_domain_name: 'Default',
      tempest_roles: 'member', create_isolated_networks: false,
    },
    identity: { auth_version: 'v3', uri_v3: endpoints.keystone, region: 'RegionOne', v3_endpoint_type: 'public' },
    'identity-feature-enabled': { api_v2: false, api_v2_admin: false, api_v3: true },
    service_available: { nova: true, glance: true, neutron: true, cinder: false, swift: false, horizon: false },
    compute: {
      image_ref: image!, image_ref_alt: alternative!, flavor_ref: flavor('m1.nano'), flavor_ref_alt: flavor('m1.small'), fixed_network_name: network,
      min_compute_nodes: 1, min_microversion: '2.1', max_microversion: 'latest', build_timeout: 150, build_interval: 1, shelved_offload_time: 0,
    },
    'compute-feature-enabled': {
      ...flags,
      config_drive: true, metadata_service: false, personality: true, hostname_fqdn_sanitization: true, enable_instance_password: true,
      disk_config: true, ide_bus: false, unified_limits: false,
      // Works here on virtio, SATA, NVMe and as a CD, but this flag of Tempest's also means buses that bhyve does not have (SCSI and USB disks).
      stable_rescue: false,
      cold_migration: false, shelve_migrate: false, live_migration: false, block_migration_for_live_migration: false, volume_backed_live_migration: false,
      attach_encrypted_volume: false, volume_multiattach: false,
    },
    placement: { min_microversion: '1.0', max_microversion: 'latest' },
    image: { build_timeout: 120 },
    'image-feature-enabled': { import_image: false },
    network: { project_networks_reachable: true, shared_physical_network: false, build_timeout: 120 },
    'network-feature-enabled': { api_extensions: extensions.map(({ alias }) => alias).sort().join(','), floating_ips: false, ipv6: true, port_security: true },
    validation: {
      run_validation: true, connect_method: 'fixed', network_for_ssh: network, auth_method: 'keypair', image_ssh_user: 'root', image_alt_ssh_user: 'root',
      ssh_timeout: 120, connect_timeout: 30, ping_timeout: 60, security_group: true, security_group_rules: true,
    },
    scenario: {
      img_file: lab.imageFile, img_disk_format: 'raw', img_container_format: 'bare',
      img_properties: Object.entries(imageProperties).map(([key, value]) => `${key}:${value}`).join(','), dhcp_client: '',
    },
  };
}
