/** What the measurements share: the cloud, both services, a raw client, an image of one MiB. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createControlPlane, endpoints, secretsOf, transportUrl, until, uploadImage, type ControlPlane, type Report } from '../cloud/control-plane/index.js';
import { openCloud, type Cloud } from '../cloud/support/cloud.js';
import { forgetHost, type Phase } from '../cloud/support/lab-session.js';
import { ours, peer, type Contender } from './contenders.js';
import { createNullNode, type NullNode } from './null-node.js';
import { openRawClient, type RawClient } from './raw-client.js';

export interface Effort {
  readonly rounds: number;
  /** Fewer of everything: for a first look, not for a verdict. */
  readonly isQuick: boolean;
}

export interface Scene {
  readonly plane: ControlPlane;
  readonly cloud: Cloud;
  readonly node: NullNode;
  readonly ours: Contender;
  readonly peer: Contender;
  readonly client: RawClient;
  readonly brokerUrl: string;
  readonly image: string;
  readonly flavor: string;
  readonly effort: Effort;
}

const imageName = 'bench-null';
const hosts = { ours: 'bench-ours', peer: 'bench-peer' } as const;

/** Until Nova calls it up and the scheduler may place servers on it. Both come within seconds, or something is wrong. */
export async function waitServing({ cloud }: Pick<Scene, 'cloud'>, contender: Contender): Promise<void> {
  await until(90_000, () => `${contender.host} is not up, or not mapped into the cell, after 90 s`, async () => {
    contender.pid();
    const [service] = await cloud.compute.services(contender.host);
    return service?.state === 'up' && (await cloud.compute.hypervisors(contender.host)).length > 0;
  }, 300);
}

export interface OpenScene extends Scene {
  /** Leaves nothing behind: no server, host, image or process. The control plane is left as it was found. */
  close(phase: Phase): Promise<void>;
}

export async function openScene(phase: Phase, effort: Effort & { readonly keepsCloud: boolean }): Promise<OpenScene> {
  const plane = createControlPlane();
  const wasUp = effort.keepsCloud || plane.status().every(({ pid }) => pid !== null);
  await phase('control plane', (note) => plane.up(note));
  const cloud = await openCloud(plane);
  const { layout } = plane;
  const folder = join(layout.root, 'bench');
  const undo: ((note: Report) => Promise<unknown>)[] = [];
  const close = (closing: Phase): Promise<void> => closing('cleaning up', async (note) => {
    for (const step of undo.reverse()) await step(note).catch((err: unknown) => note(`left behind: ${err instanceof Error ? err.message : String(err)}`));
    rmSync(folder, { recursive: true, force: true });
    if (!wasUp) await plane.down({}, note);
  });
  try {
    return { ...await phase('both services', async (note) => {
      const earlier = await cloud.images.byName(imageName);
      if (earlier !== null) await cloud.images.remove(earlier);
      const image = await uploadImage(cloud.admin, { name: imageName, diskFormat: 'raw' }, new Uint8Array(1 << 20));
      undo.push(() => cloud.images.remove(image));
      const node = createNullNode(hosts.ours, folder);
      undo.push(async () => node.destroy());
      const contenders = { ours: ours(layout, node), peer: peer(layout, hosts.peer) };
      for (const each of Object.values(contenders)) {
        await each.stop();
        await forgetHost(cloud, each.host, note);
        undo.push(async (say) => {
          await removeServersOf(cloud, each.host);
          await each.stop();
          await forgetHost(cloud, each.host, say);
        });
        each.start();
      }
      const brokerUrl = transportUrl(secretsOf(layout));
      const client = await openRawClient(brokerUrl);
      undo.push(() => client.close());
      note('waiting until the scheduler knows both hosts');
      for (const each of Object.values(contenders)) await waitServing({ cloud }, each);
      const flavor = (await cloud.admin.get<{ flavors: { id: string; name: string }[] }>(`${endpoints.nova}/flavors`)).flavors.find(({ name }) => name === 'm1.nano');
      if (flavor === undefined) throw new Error('the cloud has no flavor m1.nano');
      return { plane, cloud, node, ...contenders, client, brokerUrl, image, flavor: flavor.id, effort };
    }), close };
  } catch (error) {
    await close(phase);
    throw error;
  }
}

/** Asks for the deletion of all servers of a host and waits until they are gone. */
export async function removeServersOf(cloud: Cloud, host: string, limitMs = 300_000): Promise<void> {
  const left = async (): Promise<string[]> => (await cloud.servers.list()).filter((server) => server['OS-EXT-SRV-ATTR:host'] === host).map(({ id }) => id);
  const ids = await left();
  const queue = [...ids];
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) await cloud.servers.remove(id, cloud.admin);
  }));
  let count = ids.length;
  await until(limitMs, () => `${count} servers of ${host} are still there after ${limitMs / 1000} s`, async () => {
    count = (await left()).length;
    return count === 0;
  }, 500);
}
