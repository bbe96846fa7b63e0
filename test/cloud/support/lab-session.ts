/**
 * A whole lab: control plane, test image, one node, its agent. `npm run lab` and the cloud tests bring it up with the same code; every part is looked for
 * first, so what is there already costs seconds.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureGuestImage as buildGuestImage } from '../../lab/guest/build.js';
import { createLabNode, type LabNode, type Profile } from '../../lab/node.js';
import { createControlPlane, createDaemons, ensureGuestImage, layoutOf, sleep, type ControlPlane, type Daemons, type Report } from '../control-plane/index.js';
import { agentProcess, type AgentProcess } from './agent.js';
import { openCloud, type Cloud } from './cloud.js';

/** Runs `work` as one phase that a person sees. */
export type Phase = <T>(title: string, work: (note: Report) => Promise<T>) => Promise<T>;

export const quietly: Phase = (_title, work) => work(() => undefined);

export interface LabSession {
  readonly plane: ControlPlane;
  readonly cloud: Cloud;
  readonly node: LabNode;
  readonly agent: AgentProcess;
  /** Glance's id of the lab guest. */
  readonly image: string;
  /** The file of the lab guest, raw. */
  readonly imageFile: string;
}

export const defaultProfile: Profile = 'stock-13.2';

/** Pools and namespaces are the machine's: a second lab on it needs another name for its node. */
export const defaultNode = (): string => process.env['NOVA_BHYVE_LAB_NODE'] ?? 'node1';

/** Brings all of it up, or finds it up. Errors name the part and show the end of its log. */
export async function bringUpLab(phase: Phase = quietly, options: { readonly name?: string; readonly profile?: Profile } = {}): Promise<LabSession> {
  const plane = createControlPlane();
  await phase('control plane', (note) => plane.up(note));
  const cloud = await openCloud(plane);
  const { image, imageFile } = await phase('test image', async (note) => {
    note('the guest, made from Debian packages');
    const guest = await buildPatiently(plane.layout.root, note);
    note('uploading it to Glance');
    return { image: await ensureGuestImage(cloud.admin, plane.layout, guest.path, 'raw'), imageFile: guest.path };
  });
  const name = options.name ?? defaultNode();
  const profile = options.profile ?? profileOf(name) ?? defaultProfile;
  const node = await phase(`FreeBSD node ${name} (${profile})`, async (note) => {
    if (profileOf(name) === null) await forgetHost(cloud, name, note);
    return createLabNode({ name, profile, root: plane.layout.root });
  });
  const agent = agentProcess(node);
  await phase('nova-bhyve agent', async (note) => {
    if (agent.isStale) {
      note('another build or configuration than the running one: restarting');
      await agent.stop();
    }
    note(agent.start() ? 'started; waiting for Nova, Placement and Neutron to know the host' : 'runs already');
    await agent.waitUp(cloud);
  });
  return { plane, cloud, node, agent, image, imageFile };
}

/** The guest's kernel is downloaded, which may need more than one attempt. */
async function buildPatiently(root: string, note: Report): ReturnType<typeof buildGuestImage> {
  for (const pauseMs of [2_000, 8_000, 30_000]) {
    try {
      return await buildGuestImage(root);
    } catch (err) {
      note(`failed, again in ${pauseMs / 1000} s: ${err instanceof Error ? err.message.split('\n')[0]! : String(err)}`);
      await sleep(pauseMs);
    }
  }
  return buildGuestImage(root);
}

/** The profile a node was made with; null if there is no such node. */
export function profileOf(name: string): Profile | null {
  const file = join(layoutOf().root, 'nodes', name, 'profile');
  return existsSync(file) ? (readFileSync(file, 'utf8').trim() as Profile) : null;
}

export const nodeNames = (): string[] => {
  const folder = join(layoutOf().root, 'nodes');
  return existsSync(folder) ? readdirSync(folder).filter((name) => profileOf(name) !== null) : [];
};

/**
 * Removes what the cloud knows of a host that does not exist (any more): its servers, service record, hypervisor and provider. A new node of the same name
 * must not inherit them: it has another identity, and Nova would refuse it.
 */
export async function forgetHost(cloud: Cloud, host: string, note: Report): Promise<void> {
  const [service] = await cloud.compute.services(host);
  if (service === undefined) return;
  note('the cloud remembers an earlier node of this name; removing that');
  // Only of a host that is down does Nova delete servers without asking it.
  await cloud.compute.setService(service.id, { forced_down: true });
  await removeServers(cloud, host);
  await cloud.compute.removeService(service.id);
}

async function removeServers(cloud: Cloud, host: string): Promise<void> {
  const servers = (await cloud.servers.list()).filter((server) => server['OS-EXT-SRV-ATTR:host'] === host);
  await Promise.all(servers.map(async ({ id }) => {
    await cloud.servers.remove(id, cloud.admin);
    await cloud.servers.waitGone(id, 90_000);
  }));
}

/** Takes one node out of the cloud and off the machine, with its servers. */
export async function removeNode(cloud: Cloud, node: LabNode, note: Report = () => undefined): Promise<void> {
  const { run, logs } = layoutOf();
  await leaveCloud(cloud, node, createDaemons({ run, logs, leaderOnly: true }), note);
  note('removing its guests, pool and network');
  await node.destroy();
}

/**
 * Stops agents, guests and nodes, then the control plane. A node and its servers do not survive this: a node is made anew in a second.
 * With `wipe` the cloud's state goes too.
 */
export async function takeDownLab(phase: Phase = quietly, options: { readonly wipe?: boolean } = {}): Promise<void> {
  const plane = createControlPlane();
  const { root, run, logs } = plane.layout;
  const daemons = createDaemons({ run, logs, leaderOnly: true });
  const isUp = plane.status().every(({ pid }) => pid !== null);
  for (const name of nodeNames()) {
    await phase(`node ${name}`, async (note) => {
      const node = await createLabNode({ name, profile: profileOf(name)!, root });
      if (isUp && options.wipe !== true) await leaveCloud(await openCloud(plane), node, daemons, note);
      await daemons.stop(`agent-${name}`, 20_000);
      note('removing its guests, pool and network');
      await node.destroy();
    });
  }
  await phase('control plane', (note) => plane.down({ wipe: options.wipe === true }, note));
}

/** In an orderly way if the agent runs, otherwise as for a host that burnt down. */
async function leaveCloud(cloud: Cloud, node: LabNode, daemons: Daemons, note: Report): Promise<void> {
  if (daemons.pid(`agent-${node.name}`) !== null) {
    note('deleting its servers');
    await removeServers(cloud, node.name).catch((err: unknown) => note(err instanceof Error ? err.message : String(err)));
    await daemons.stop(`agent-${node.name}`, 20_000);
  }
  await forgetHost(cloud, node.name, note);
}
