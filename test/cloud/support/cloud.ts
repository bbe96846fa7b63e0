/**
 * The cloud as its users and its operator see it: REST of Nova, Glance, Neutron and Placement, and waiting for states with a limit.
 * A wait that ends badly says what the state was, and shows Nova's fault.
 */
import { endpoints, RestError, until, uploadImage, type ControlPlane, type ImagePlan, type Session } from '../control-plane/index.js';

export interface Server {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly 'OS-EXT-STS:vm_state': string;
  readonly 'OS-EXT-STS:task_state': string | null;
  readonly 'OS-EXT-STS:power_state': number;
  readonly 'OS-EXT-SRV-ATTR:host'?: string | null;
  readonly 'OS-EXT-SRV-ATTR:hypervisor_hostname'?: string | null;
  readonly config_drive: string;
  readonly addresses: Readonly<Record<string, readonly { readonly addr: string; readonly 'OS-EXT-IPS-MAC:mac_addr': string }[]>>;
  readonly fault?: { readonly code: number; readonly message: string; readonly details?: string };
}

export interface ServerPlan {
  readonly name?: string;
  readonly image: string;
  readonly flavor?: string;
  /** 'none', or networks by name, or ports by id. Default: lab-flat. */
  readonly networks?: 'none' | readonly (string | { readonly port: string })[];
  readonly configDrive?: boolean;
  /** How many at once; the ids of all come back. */
  readonly count?: number;
  readonly userData?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** More of the request's body, in Nova's words; replaces what is there. */
  readonly more?: Readonly<Record<string, unknown>>;
  /** A host of Nova to build on, whatever the scheduler would say; needs an admin. */
  readonly host?: string;
}

interface ActionEvent { readonly event: string; readonly result: string | null; readonly details?: string | null; readonly traceback: string | null }

/** How long an event of an action may stay open after the server has its state. */
const eventLimitMs = 120_000;

export interface FlavorPlan {
  readonly name: string;
  readonly ram?: number;
  readonly vcpus?: number;
  readonly disk?: number;
  readonly 'OS-FLV-EXT-DATA:ephemeral'?: number;
  readonly swap?: number;
  readonly extraSpecs?: Readonly<Record<string, string>>;
}

export interface Port {
  readonly id: string;
  readonly status: string;
  readonly mac_address: string;
  readonly device_id: string;
  readonly 'binding:host_id': string;
  readonly 'binding:vif_type': string;
  readonly fixed_ips: readonly { readonly ip_address: string }[];
}

export interface Hypervisor {
  readonly id: string;
  readonly hypervisor_hostname: string;
  readonly hypervisor_type: string;
  readonly hypervisor_version: number;
  readonly state: string;
  readonly status: string;
  readonly host_ip: string;
  readonly service: { readonly host: string; readonly id: string };
  readonly uptime: string | null;
}

export interface ComputeService {
  readonly id: string;
  readonly host: string;
  readonly state: string;
  readonly status: string;
  readonly disabled_reason: string | null;
  readonly updated_at: string | null;
}

const nova = endpoints.nova;
const neutron = `${endpoints.neutron}/v2.0`;

/** Null instead of an error when there is no such thing. */
async function orNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (err) {
    if (err instanceof RestError && err.status === 404) return null;
    throw err;
  }
}

export type Cloud = Awaited<ReturnType<typeof openCloud>>;

/** Logs in as the operator (admin) and as a user (demo). Servers are the user's unless `as` says otherwise. */
export async function openCloud(plane: ControlPlane) {
  const [admin, demo] = await Promise.all([plane.admin(), plane.demo()]);
  return { admin, demo, servers: serversOf(admin, demo), network: networkOf(admin), images: imagesOf(admin), placement: placementOf(admin), compute: computeOf(admin) };
}

function serversOf(admin: Session, demo: Session) {
  const show = (id: string): Promise<Server | null> => orNull(admin.get<{ server: Server }>(`${nova}/servers/${id}`).then(({ server }) => server));
  const action = (id: string, body: Record<string, unknown>, as: Session = demo): Promise<unknown> => as.post(`${nova}/servers/${id}/action`, body);

  const describe = async (id: string): Promise<string> => {
    const server = await show(id);
    if (server === null) return `server ${id} does not exist`;
    return `server ${id} is ${server.status} (vm_state ${server['OS-EXT-STS:vm_state']}, task_state ${String(server['OS-EXT-STS:task_state'])}, `
      + `power_state ${server['OS-EXT-STS:power_state']}, host ${String(server['OS-EXT-SRV-ATTR:host'])})${server.fault === undefined ? '' : `; fault: ${server.fault.message}`}`;
  };

  /** Polls until `isThere`; ends early when the server went to ERROR and that was not asked for. */
  async function waitUntil(id: string, what: string, isThere: (server: Server) => boolean, limitMs = 120_000): Promise<Server> {
    let last = '';
    const found = await until(limitMs, () => `${last}; expected ${what} within ${limitMs / 1000} s`, async () => {
      const server = await show(id);
      last = await describe(id);
      if (server === null) throw new Error(`${last}; expected ${what}`);
      if (isThere(server)) return server;
      if (server.status === 'ERROR') throw new Error(`${last}; expected ${what}`);
      return null;
    }, 250);
    return found;
  }

  return {
    show, action, describe, waitUntil,
    list: async (): Promise<Server[]> => (await admin.get<{ servers: Server[] }>(`${nova}/servers/detail?all_tenants=1`)).servers,
    /** The state with nothing under way any more. */
    waitStatus: (id: string, status: string, limitMs?: number): Promise<Server> =>
      waitUntil(id, status, (server) => server.status === status && server['OS-EXT-STS:task_state'] === null, limitMs),
    /** ids of what was asked for; with count > 1 Nova makes several of one request. */
    async create(plan: ServerPlan, as: Session = plan.host === undefined ? demo : admin): Promise<string[]> {
      const name = plan.name ?? `test-${Date.now().toString(36)}`;
      const flavors = (await admin.get<{ flavors: { id: string; name: string }[] }>(`${nova}/flavors`)).flavors;
      const flavor = flavors.find((entry) => entry.name === (plan.flavor ?? 'm1.nano'));
      if (flavor === undefined) throw new Error(`no flavor ${plan.flavor ?? 'm1.nano'}`);
      const networks = plan.networks === 'none' ? 'none' : await Promise.all((plan.networks ?? ['lab-flat']).map(async (entry) =>
        typeof entry === 'string' ? { uuid: await networkId(admin, entry) } : entry));
      const { server, reservation_id: reservation } = await as.post<{ server?: { id: string }; reservation_id?: string }>(`${nova}/servers`, { server: {
        name, imageRef: plan.image, flavorRef: flavor.id, networks, config_drive: plan.configDrive ?? true, metadata: plan.metadata ?? {},
        ...(plan.count === undefined ? {} : { min_count: plan.count, max_count: plan.count, return_reservation_id: true }),
        ...(plan.userData === undefined ? {} : { user_data: Buffer.from(plan.userData).toString('base64') }),
        ...(plan.host === undefined ? {} : { host: plan.host }),
        ...plan.more,
      } });
      if (server !== undefined) return [server.id];
      const made = await as.get<{ servers: { id: string }[] }>(`${nova}/servers?reservation_id=${String(reservation)}`);
      return made.servers.map(({ id }) => id);
    },
    /** The events of a server's newest action of this name, as `EVENT: RESULT`, and what an admin reads of a failure: once all have a result and the server has no task left. */
    async lastAction(id: string, name: string): Promise<{ events: string[]; details: string }> {
      const { instanceActions } = await admin.get<{ instanceActions: { action: string; request_id: string }[] }>(`${nova}/servers/${id}/os-instance-actions`);
      const found = instanceActions.find(({ action }) => action === name);
      if (found === undefined) throw new Error(`server ${id} has no action ${name}`);
      const look = async (): Promise<ActionEvent[]> =>
        (await admin.get<{ instanceAction: { events: ActionEvent[] } }>(`${nova}/servers/${id}/os-instance-actions/${found.request_id}`)).instanceAction.events;
      // A compute ends its event after it has saved the state that the caller may have waited for.
      const events = await until(eventLimitMs, () => `an event of ${name} has no result`, async () => {
        const now = await look();
        return now.length > 0 && now.every(({ result }) => result !== null) ? now : null;
      }, 200);
      // As nova-compute does, it takes back the task state of an operation that failed only after that.
      await until(eventLimitMs, () => `server ${id} keeps its task after ${name}`, async () => {
        const server = await show(id);
        return server === null || server['OS-EXT-STS:task_state'] === null;
      }, 200);
      return {
        events: events.map(({ event, result }) => `${event}: ${String(result)}`),
        details: events.map(({ details, traceback }) => `${details ?? ''} ${traceback ?? ''}`).join('\n'),
      };
    },
    remove: async (id: string, as: Session = demo): Promise<void> => { await orNull(as.remove(`${nova}/servers/${id}`)); },
    waitGone: (id: string, limitMs = 120_000): Promise<boolean> => {
      let last = '';
      return until(limitMs, () => `${last}; expected it to be gone within ${limitMs / 1000} s`, async () => {
        last = await describe(id);
        const server = await show(id);
        // A failed deletion leaves ERROR without a task; one that was ERROR before keeps its task until it is gone.
        if (server?.status === 'ERROR' && server['OS-EXT-STS:task_state'] === null && server.fault !== undefined && last.includes('elet')) throw new Error(last);
        return server === null;
      }, 250);
    },
    consoleLog: async (id: string, lines?: number): Promise<string> =>
      (await action(id, { 'os-getConsoleOutput': lines === undefined ? {} : { length: lines } }) as { output: string }).output,
    /** Waits until the guest's console shows something. */
    async waitConsole(id: string, pattern: RegExp, limitMs = 120_000): Promise<string> {
      let output = '';
      return until(limitMs, () => `the console of ${id} does not show ${String(pattern)} within ${limitMs / 1000} s; its end:\n${output.slice(-1_500)}`, async () => {
        output = (await action(id, { 'os-getConsoleOutput': {} }) as { output: string }).output;
        return pattern.test(output) ? output : null;
      }, 500);
    },
    vncUrl: async (id: string): Promise<string> =>
      (await demo.post<{ remote_console: { url: string } }>(`${nova}/servers/${id}/remote-consoles`, { remote_console: { protocol: 'vnc', type: 'novnc' } })).remote_console.url,
    serialUrl: async (id: string): Promise<string> =>
      (await demo.post<{ remote_console: { url: string } }>(`${nova}/servers/${id}/remote-consoles`, { remote_console: { protocol: 'serial', type: 'serial' } })).remote_console.url,
    actions: async (id: string): Promise<{ action: string; request_id: string; message: string | null }[]> =>
      (await admin.get<{ instanceActions: { action: string; request_id: string; message: string | null }[] }>(`${nova}/servers/${id}/os-instance-actions`)).instanceActions,
  };
}

async function networkId(admin: Session, name: string): Promise<string> {
  const [network] = (await admin.get<{ networks: { id: string }[] }>(`${neutron}/networks?name=${name}`)).networks;
  if (network === undefined) throw new Error(`no network ${name}`);
  return network.id;
}

const networkOf = (admin: Session) => ({
  id: (name: string): Promise<string> => networkId(admin, name),
  ports: async (query: Readonly<Record<string, string>>): Promise<Port[]> =>
    (await admin.get<{ ports: Port[] }>(`${neutron}/ports?${new URLSearchParams(query).toString()}`)).ports,
  port: (id: string): Promise<Port | null> => orNull(admin.get<{ port: Port }>(`${neutron}/ports/${id}`).then(({ port }) => port)),
  createPort: async (network: string, projectId: string): Promise<Port> =>
    (await admin.post<{ port: Port }>(`${neutron}/ports`, { port: { network_id: await networkId(admin, network), project_id: projectId } })).port,
  removePort: async (id: string): Promise<void> => { await orNull(admin.remove(`${neutron}/ports/${id}`)); },
  agents: async (host: string): Promise<{ agent_type: string; alive: boolean; binary: string; configurations: Record<string, unknown> }[]> =>
    (await admin.get<{ agents: { agent_type: string; alive: boolean; binary: string; configurations: Record<string, unknown> }[] }>(`${neutron}/agents?host=${host}`)).agents,
});

export interface Image {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly disk_format: string | null;
  readonly container_format: string | null;
  readonly size: number | null;
  readonly min_disk: number;
  readonly [property: string]: unknown;
}

const imagesOf = (admin: Session) => ({
  show: (id: string): Promise<Image | null> => orNull(admin.get<Image>(`${endpoints.glance}/v2/images/${id}`)),
  list: async (query: Readonly<Record<string, string>>): Promise<Image[]> =>
    (await admin.get<{ images: Image[] }>(`${endpoints.glance}/v2/images?${new URLSearchParams(query).toString()}`)).images,
  /** Null removes the property. */
  setProperty: async (id: string, name: string, value: string | null): Promise<void> => {
    const change = value === null ? { op: 'remove', path: `/${name}` } : { op: 'add', path: `/${name}`, value };
    await admin.request('PATCH', `${endpoints.glance}/v2/images/${id}`, [change], { 'Content-Type': 'application/openstack-images-v2.1-json-patch' });
  },
  upload: (plan: ImagePlan, content: Uint8Array | ReadableStream): Promise<string> => uploadImage(admin, plan, content),
  remove: async (id: string): Promise<void> => { await orNull(admin.remove(`${endpoints.glance}/v2/images/${id}`)); },
  byName: async (name: string): Promise<string | null> =>
    (await admin.get<{ images: { id: string }[] }>(`${endpoints.glance}/v2/images?name=${name}`)).images[0]?.id ?? null,
});

export interface InventoryView { readonly total: number; readonly reserved: number; readonly max_unit: number; readonly allocation_ratio: number }

function placementOf(admin: Session) {
  const base = `${endpoints.placement}/resource_providers`;
  const usages = async (uuid: string): Promise<Record<string, number>> => (await admin.get<{ usages: Record<string, number> }>(`${base}/${uuid}/usages`)).usages;
  const provider = async (name: string): Promise<{ uuid: string; generation: number } | null> =>
    (await admin.get<{ resource_providers: { uuid: string; generation: number }[] }>(`${base}?name=${encodeURIComponent(name)}`)).resource_providers[0] ?? null;
  const traits = async (uuid: string): Promise<string[]> => (await admin.get<{ traits: string[] }>(`${base}/${uuid}/traits`)).traits;
  return {
    provider, traits, usages,
    /** Takes a trait and a class of resources of the operator's off a provider, which its agent may be changing at the same time. */
    async takeOff(name: string, { trait, resource }: { readonly trait: string; readonly resource: string }): Promise<void> {
      const { uuid } = (await provider(name))!;
      await orNull(admin.remove(`${base}/${uuid}/inventories/${resource}`));
      await until(60_000, () => `${trait} cannot be taken off ${name}: the provider is changed by others all the time`, async () => {
        const { generation } = (await provider(name))!;
        const left = (await traits(uuid)).filter((one) => one !== trait);
        return admin.put(`${base}/${uuid}/traits`, { resource_provider_generation: generation, traits: left }).then(() => true, (err: unknown) => {
          if (err instanceof RestError && err.status === 409) return false;
          throw err;
        });
      });
    },
    inventories: async (uuid: string): Promise<Record<string, InventoryView>> =>
      (await admin.get<{ inventories: Record<string, InventoryView> }>(`${base}/${uuid}/inventories`)).inventories,
    /** What of a move is over is given back after its user reads that it is. */
    waitUsages: (uuid: string, wanted: Readonly<Record<string, number>>): Promise<boolean> => {
      let last: Record<string, number> = {};
      return until(120_000, () => `Placement counts ${JSON.stringify(last)}; expected ${JSON.stringify(wanted)}`, async () => {
        last = await usages(uuid);
        return Object.entries(wanted).every(([name, count]) => last[name] === count);
      }, 250);
    },
    /** consumer → resources, on this provider */
    allocations: async (uuid: string): Promise<Record<string, { resources: Record<string, number> }>> =>
      (await admin.get<{ allocations: Record<string, { resources: Record<string, number> }> }>(`${base}/${uuid}/allocations`)).allocations,
  };
}

const computeOf = (admin: Session) => ({
  /** The id of a flavor. */
  flavor: async (name: string): Promise<string> => {
    const found = (await admin.get<{ flavors: { id: string; name: string }[] }>(`${nova}/flavors`)).flavors.find((entry) => entry.name === name);
    if (found === undefined) throw new Error(`no flavor ${name}`);
    return found.id;
  },
  services: async (host: string): Promise<ComputeService[]> =>
    (await admin.get<{ services: ComputeService[] }>(`${nova}/os-services?binary=nova-compute&host=${host}`)).services,
  /** A flavor of one test; gives its id. */
  createFlavor: async (plan: FlavorPlan): Promise<string> => {
    const { extraSpecs = {}, ...sizes } = plan;
    const { flavor } = await admin.post<{ flavor: { id: string } }>(`${nova}/flavors`, { flavor: { ram: 256, vcpus: 1, disk: 1, ...sizes } });
    if (Object.keys(extraSpecs).length > 0) await admin.post(`${nova}/flavors/${flavor.id}/os-extra_specs`, { extra_specs: extraSpecs });
    return flavor.id;
  },
  removeFlavor: async (id: string): Promise<void> => { await orNull(admin.remove(`${nova}/flavors/${id}`)); },
  setService: (id: string, body: { status?: 'enabled' | 'disabled'; disabled_reason?: string; forced_down?: boolean }): Promise<unknown> =>
    admin.put(`${nova}/os-services/${id}`, body),
  /** Asks Nova to have an image cached on the hosts of an aggregate that is made of `host` for this alone; `isCached` is waited for before it goes again. */
  precache: async (host: string, image: string, isCached: () => Promise<boolean>): Promise<void> => {
    const { aggregate } = await admin.post<{ aggregate: { id: number } }>(`${nova}/os-aggregates`, { aggregate: { name: `precache-${image}` } });
    const act = (body: Record<string, unknown>): Promise<unknown> => admin.post(`${nova}/os-aggregates/${aggregate.id}/action`, body);
    await act({ add_host: { host } });
    try {
      await admin.post(`${nova}/os-aggregates/${aggregate.id}/images`, { cache: [{ id: image }] });
      await until(120_000, () => `image ${image} is not cached on ${host}`, isCached);
    } finally {
      await act({ remove_host: { host } });
      await admin.remove(`${nova}/os-aggregates/${aggregate.id}`);
    }
  },
  /** What hosts have told of the newest period that is over. */
  usageAuditLog: async (): Promise<{ log: Record<string, { state: string; errors: number; message: string }> }> =>
    (await admin.get<{ instance_usage_audit_logs: { log: Record<string, { state: string; errors: number; message: string }> } }>(`${nova}/os-instance_usage_audit_log`)).instance_usage_audit_logs,
  removeService: async (id: string): Promise<void> => { await orNull(admin.remove(`${nova}/os-services/${id}`)); },
  /** The hypervisors of a service host, with their details. */
  hypervisors: async (host: string): Promise<Hypervisor[]> =>
    (await admin.get<{ hypervisors: Hypervisor[] }>(`${nova}/os-hypervisors/detail`)).hypervisors.filter(({ service }) => service.host === host),
  showHypervisor: async (id: string): Promise<Hypervisor> => (await admin.get<{ hypervisor: Hypervisor }>(`${nova}/os-hypervisors/${id}`)).hypervisor,
});
