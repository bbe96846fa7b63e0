/** What the measurements share: the cloud, both services, a raw client, an image of one MiB. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createControlPlane, endpoints, secretsOf, transportUrl, uploadImage, type ControlPlane } from '../cloud/control-plane/index.js';
import { openCloud, type Cloud } from '../cloud/support/cloud.js';
import type { Phase } from '../cloud/support/lab-session.js';
import { createCleanUp, type CleanUp } from './clean-up.js';
import { ours, peer, type Contender } from './contenders.js';
import { isMapped, leaveNoTrace, removeServersOf } from './host-records.js';
import { createNullNode, type NullNode } from './null-node.js';
import { openRawClient, type RawClient } from './raw-client.js';
import { untilInterrupted } from './until-interrupted.js';

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
  /** Fires when the run is interrupted: whatever waits, or is about to ask for something, throws. */
  readonly signal: AbortSignal;
  /** For what a measurement starts itself. */
  readonly cleanUp: CleanUp;
}

const imageName = 'bench-null';
const hosts = { ours: 'bench-ours', peer: 'bench-peer' } as const;

/** Until Nova calls it up and the scheduler may place servers on it. Both come within seconds, or something is wrong. */
async function waitServing(cloud: Cloud, contender: Contender, signal: AbortSignal): Promise<void> {
  await untilInterrupted(signal, 90_000, () => `${contender.host} is not up, or not mapped into the cell, after 90 s`, async () => {
    contender.pid();
    const [service] = await cloud.compute.services(contender.host);
    return service?.state === 'up' && await isMapped(cloud, contender.host);
  }, 300);
}

export interface OpenScene extends Scene {
  /** Leaves nothing behind: no server, host, image or process. The control plane is left as it was found. Gives what could not be removed. */
  close(phase: Phase): Promise<readonly string[]>;
}

export async function openScene(phase: Phase, effort: Effort & { readonly keepsCloud: boolean }, signal: AbortSignal): Promise<OpenScene> {
  const plane = createControlPlane();
  const wasUp = effort.keepsCloud || plane.status().every(({ pid }) => pid !== null);
  const cleanUp = createCleanUp();
  const close = (closing: Phase): Promise<readonly string[]> => closing('cleaning up', async (note) => cleanUp.run(note));
  try {
    if (!wasUp) cleanUp.add((note) => plane.down({}, note));
    await phase('control plane', (note) => plane.up(note));
    signal.throwIfAborted();
    return { ...await phase('both services', (note) => openParts(plane, effort, { signal, cleanUp, note })), close };
  } catch (error) {
    await close(phase);
    throw error;
  }
}

interface Opening { readonly signal: AbortSignal; readonly cleanUp: CleanUp; readonly note: (text: string) => void }

async function openParts(plane: ControlPlane, effort: Effort, { signal, cleanUp, note }: Opening): Promise<Scene> {
  const { layout } = plane;
  const folder = join(layout.root, 'bench');
  cleanUp.add(() => rmSync(folder, { recursive: true, force: true }));
  const cloud = await openCloud(plane);
  const earlier = await cloud.images.byName(imageName);
  if (earlier !== null) await cloud.images.remove(earlier);
  const image = await uploadImage(cloud.admin, { name: imageName, diskFormat: 'raw' }, new Uint8Array(1 << 20));
  cleanUp.add(() => cloud.images.remove(image));
  const node = createNullNode(hosts.ours, folder);
  cleanUp.add(() => node.destroy());
  const contenders = { ours: ours(layout, node), peer: peer(layout, hosts.peer) };
  for (const each of Object.values(contenders)) {
    await leaveNoTrace(cloud, each, note);
    cleanUp.add((say) => leaveNoTrace(cloud, each, say));
    each.start();
  }
  const brokerUrl = transportUrl(secretsOf(layout));
  const client = await openRawClient(brokerUrl, signal);
  cleanUp.add(() => client.close());
  note('waiting until the scheduler knows both hosts');
  for (const each of Object.values(contenders)) await waitServing(cloud, each, signal);
  const flavor = (await cloud.admin.get<{ flavors: { id: string; name: string }[] }>(`${endpoints.nova}/flavors`)).flavors.find(({ name }) => name === 'm1.nano');
  if (flavor === undefined) throw new Error('the cloud has no flavor m1.nano');
  return { plane, cloud, node, ...contenders, client, brokerUrl, image, flavor: flavor.id, effort, signal, cleanUp };
}

/** Takes the servers of both hosts away, whatever a measurement that failed has left of them. */
export async function clearServers({ cloud, ours: first, peer: second, signal }: Scene): Promise<void> {
  for (const { host } of [first, second]) await removeServersOf(cloud, host, signal);
}
