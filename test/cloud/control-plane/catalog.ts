/** What the cloud offers: users and endpoints in Keystone, flavors, networks and the test image. Everything is looked for before it is made. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { endpoints, serviceUsers, type Layout, type Secrets } from './layout.js';
import type { Session } from './rest.js';

interface Named { readonly id: string; readonly name: string }

/** Sizes for the lab guest. Below 256 MB the UEFI firmware has no room to load it ("Out of Resources"); 1 GB is the smallest disk that Nova can say. */
export const flavors = [
  { name: 'm1.nano', ram: 256, vcpus: 1, disk: 1 },
  { name: 'm1.small', ram: 512, vcpus: 2, disk: 2 },
] as const;

export const guestImageName = 'lab-guest';

export async function fillCatalog(admin: Session, secrets: Secrets): Promise<void> {
  const keystone = endpoints.keystone;
  const named = async (kind: string, key: string): Promise<Map<string, string>> =>
    new Map((await admin.get<Record<string, Named[]>>(`${keystone}/${kind}`))[key]!.map((entry) => [entry.name, entry.id]));
  const ensure = async (have: Map<string, string>, kind: string, key: string, body: { name: string }): Promise<string> => {
    const id = have.get(body.name) ?? (await admin.post<Record<string, Named>>(`${keystone}/${kind}`, { [key]: body }))[key]!.id;
    have.set(body.name, id);
    return id;
  };
  const roles = await named('roles', 'roles');
  for (const name of ['service', 'member', 'reader']) await ensure(roles, 'roles', 'role', { name });
  const projects = await named('projects', 'projects');
  for (const name of ['service', 'demo']) await ensure(projects, 'projects', 'project', { name, domain_id: 'default' } as { name: string });
  const users = await named('users', 'users');
  const wanted = [
    ...serviceUsers.map((name) => ({ name, password: secrets.services[name], project: 'service', roles: ['admin', 'service'] })),
    { name: 'demo', password: secrets.demo, project: 'demo', roles: ['member', 'reader'] },
  ];
  for (const { name, password, project, roles: granted } of wanted) {
    const projectId = projects.get(project)!;
    const userId = await ensure(users, 'users', 'user', { name, password, domain_id: 'default', default_project_id: projectId } as { name: string });
    for (const role of granted) await admin.put(`${keystone}/projects/${projectId}/users/${userId}/roles/${roles.get(role)!}`);
  }
  await ensureEndpoints(admin);
}

async function ensureEndpoints(admin: Session): Promise<void> {
  const keystone = endpoints.keystone;
  const services = (await admin.get<{ services: (Named & { type: string })[] }>(`${keystone}/services`)).services;
  const have = (await admin.get<{ endpoints: { service_id: string; interface: string }[] }>(`${keystone}/endpoints`)).endpoints;
  for (const [type, name, url] of [
    ['image', 'glance', endpoints.glance], ['placement', 'placement', endpoints.placement],
    ['compute', 'nova', endpoints.nova], ['network', 'neutron', endpoints.neutron],
  ] as const) {
    const service = services.find((entry) => entry.type === type)
      ?? (await admin.post<{ service: Named }>(`${keystone}/services`, { service: { type, name } })).service;
    for (const face of ['public', 'internal', 'admin']) {
      if (have.some((entry) => entry.service_id === service.id && entry.interface === face)) continue;
      await admin.post(`${keystone}/endpoints`, { endpoint: { service_id: service.id, interface: face, url, region_id: 'RegionOne' } });
    }
  }
}

interface NetworkPlan {
  readonly name: string;
  readonly provider: Readonly<Record<string, string | number>>;
  readonly cidr: string;
  readonly gateway: string;
  readonly pool: { readonly start: string; readonly end: string };
}

/** No DHCP agent in the lab: guests take their addresses from the config drive. The gateway's address is the lab's on its bridge. */
export const networks: readonly NetworkPlan[] = [
  { name: 'lab-flat', provider: { 'provider:network_type': 'flat', 'provider:physical_network': 'physnet1' },
    cidr: '10.20.0.0/20', gateway: '10.20.0.1', pool: { start: '10.20.1.0', end: '10.20.15.200' } },
  { name: 'lab-vlan', provider: { 'provider:network_type': 'vlan', 'provider:physical_network': 'physnet1', 'provider:segmentation_id': 120 },
    cidr: '10.21.0.0/24', gateway: '10.21.0.1', pool: { start: '10.21.0.10', end: '10.21.0.250' } },
];

/** Changes when what the catalogue should hold changes; kept beside the state so that an older cloud is brought up to date. */
export const catalogDigest = (): string => createHash('sha256').update(JSON.stringify([flavors, networks, serviceUsers])).digest('hex');

export async function ensureResources(admin: Session): Promise<void> {
  const have = (await admin.get<{ flavors: (Named & { ram: number; vcpus: number; disk: number })[] }>(`${endpoints.nova}/flavors/detail`)).flavors;
  for (const flavor of flavors) {
    const found = have.find(({ name }) => name === flavor.name);
    if (found !== undefined && found.ram === flavor.ram && found.vcpus === flavor.vcpus && found.disk === flavor.disk) continue;
    if (found !== undefined) await admin.remove(`${endpoints.nova}/flavors/${found.id}`);
    await admin.post(`${endpoints.nova}/flavors`, { flavor });
  }
  const neutron = `${endpoints.neutron}/v2.0`;
  for (const plan of networks) {
    const found = (await admin.get<{ networks: (Named & { subnets: string[] })[] }>(`${neutron}/networks?name=${plan.name}`)).networks[0];
    const network = found ?? (await admin.post<{ network: Named & { subnets: string[] } }>(`${neutron}/networks`, {
      network: { name: plan.name, shared: true, mtu: 1500, ...plan.provider },
    })).network;
    if (network.subnets.length > 0) continue;
    await admin.post(`${neutron}/subnets`, { subnet: {
      name: `${plan.name}-v4`, network_id: network.id, ip_version: 4, cidr: plan.cidr, gateway_ip: plan.gateway, enable_dhcp: false,
      allocation_pools: [plan.pool], dns_nameservers: [plan.gateway],
    } });
  }
}

export interface ImagePlan {
  readonly name: string;
  readonly diskFormat: 'raw' | 'qcow2' | 'iso' | 'vmdk';
  readonly properties?: Readonly<Record<string, string>>;
  readonly minDiskGiB?: number;
}

/** Uploads an image for everybody to use; gives its id. */
export async function uploadImage(admin: Session, plan: ImagePlan, content: Uint8Array | ReadableStream): Promise<string> {
  const image = await admin.post<Named>(`${endpoints.glance}/v2/images`, {
    name: plan.name, disk_format: plan.diskFormat, container_format: 'bare', visibility: 'public', min_disk: plan.minDiskGiB ?? 0, ...plan.properties,
  });
  try {
    await admin.request('PUT', `${endpoints.glance}/v2/images/${image.id}/file`, content, { 'Content-Type': 'application/octet-stream' });
  } catch (err) {
    await admin.remove(`${endpoints.glance}/v2/images/${image.id}`);
    throw err;
  }
  return image.id;
}

/**
 * The image that lab guests boot. The file's digest is kept as a property, so a rebuilt image replaces the old one and an unchanged one is
 * neither read nor uploaded again (size and mtime decide whether to look).
 */
export async function ensureGuestImage(admin: Session, layout: Layout, file: string, diskFormat: 'raw' | 'qcow2'): Promise<string> {
  const { size, mtimeMs } = statSync(file);
  const images = (await admin.get<{ images: (Named & { status: string; lab_digest?: string })[] }>(`${endpoints.glance}/v2/images?name=${guestImageName}`)).images;
  const stampFile = join(layout.cloud, 'guest-image.json');
  const stamp = `${file} ${size} ${mtimeMs}`;
  const known = existsSync(stampFile) ? (JSON.parse(readFileSync(stampFile, 'utf8')) as { stamp: string; id: string }) : null;
  const current = images.find(({ id, status }) => id === known?.id && status === 'active');
  if (known?.stamp === stamp && current !== undefined) return current.id;
  const digest = await digestOf(file);
  let id = images.find((image) => image.lab_digest === digest && image.status === 'active')?.id;
  if (id === undefined) {
    for (const image of images) await admin.remove(`${endpoints.glance}/v2/images/${image.id}`);
    id = await uploadImage(admin, { name: guestImageName, diskFormat, properties: { hw_firmware_type: 'uefi', os_type: 'linux', lab_digest: digest } },
      Readable.toWeb(createReadStream(file)) as ReadableStream);
  }
  writeFileSync(stampFile, JSON.stringify({ stamp, id }));
  return id;
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
