/** The lab for a test file: brought up (or found), with what a test made removed and a leak check after each test. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { Profile } from '../../lab/node.js';
import type { ImagePlan, Ini } from '../control-plane/index.js';
import { agentProcess } from './agent.js';
import type { Cloud, FlavorPlan, Server, ServerPlan } from './cloud.js';
import { bringUpLab, defaultNode, quietly, removeNode, type LabSession } from './lab-session.js';
import { leakCheck } from './leak-check.js';

export interface Lab extends LabSession {
  /** Asks for servers on the lab guest (or `image`); they are removed after the test if it did not. */
  readonly create: (plan?: Partial<ServerPlan>) => Promise<string[]>;
  /** One server, ACTIVE, with its first address ('' if it has none). */
  readonly boot: (plan?: Partial<ServerPlan>) => Promise<{ id: string; address: string; server: Server }>;
  readonly remove: (id: string) => Promise<void>;
  /** Runs `work` with an agent that has further options, then gives the lab's agent its own back. */
  readonly withOptions: (options: Ini, work: () => Promise<void>) => Promise<void>;
  /** An image that the test made by other means: removed after it. */
  readonly adoptImage: (id: string) => void;
  /** Makes a flavor that is removed after the test; gives its name. */
  readonly flavor: (plan: FlavorPlan) => Promise<string>;
  /** Uploads an image that is removed after the test. */
  readonly upload: (plan: ImagePlan, content: Uint8Array) => Promise<string>;
}

export const addressOf = (server: Server): string => Object.values(server.addresses).flat()[0]?.addr ?? '';

/** Whether new servers may come to the lab's own node. */
async function setSchedulable(cloud: Cloud, isEnabled: boolean): Promise<void> {
  const [service] = await cloud.compute.services(defaultNode());
  if (service !== undefined) await cloud.compute.setService(service.id, { status: isEnabled ? 'enabled' : 'disabled' });
}

/**
 * Call at the top of a test file; the function it gives may be called inside tests. `other`: a node of this file alone, of another FreeBSD; the
 * lab's own gets no servers meanwhile.
 */
export function useLab(other?: { readonly name: string; readonly profile: Profile }): () => Lab {
  let session: LabSession | undefined;
  const servers = new Set<string>();
  const images = new Set<string>();
  const flavors = new Set<string>();
  const current = (): LabSession => {
    if (session === undefined) throw new Error('the lab is not up yet');
    return session;
  };

  beforeAll(async () => {
    session = await bringUpLab(quietly, other);
    if (other !== undefined) await setSchedulable(session.cloud, false);
    await leakCheck(session.cloud, session.node); // what an earlier run left must not be blamed on a test of ours
  });

  afterEach(async () => {
    const { cloud, node, agent } = current();
    if (agent.start()) await agent.waitUp(cloud);
    for (const id of servers) await cloud.servers.remove(id, cloud.admin);
    for (const id of servers) await cloud.servers.waitGone(id);
    for (const id of images) await cloud.images.remove(id);
    for (const id of flavors) await cloud.compute.removeFlavor(id);
    flavors.clear();
    servers.clear();
    images.clear();
    await leakCheck(cloud, node);
  });

  afterAll(async () => {
    if (other === undefined || session === undefined) return;
    await setSchedulable(session.cloud, true);
    await removeNode(session.cloud, session.node);
  });

  async function create(plan: Partial<ServerPlan> = {}): Promise<string[]> {
    const { cloud, image } = current();
    const ids = await cloud.servers.create({ image, ...plan });
    for (const id of ids) servers.add(id);
    return ids;
  }

  return () => ({
    ...current(),
    create,
    async boot(plan) {
      const [id] = await create(plan);
      const server = await current().cloud.servers.waitStatus(id!, 'ACTIVE');
      return { id: id!, address: addressOf(server), server };
    },
    async remove(id) {
      await current().cloud.servers.remove(id);
      await current().cloud.servers.waitGone(id);
    },
    async withOptions(options, work) {
      const { cloud, node } = current();
      await agentProcess(node, options).restart(cloud);
      try {
        await work();
      } finally {
        await agentProcess(node).restart(cloud);
      }
    },
    adoptImage: (id) => void images.add(id),
    async flavor(plan) {
      flavors.add(await current().cloud.compute.createFlavor(plan));
      return plan.name;
    },
    async upload(plan, content) {
      const id = await current().cloud.images.upload(plan, content);
      images.add(id);
      return id;
    },
  });
}

/** An image file made by qemu-img, as bytes. */
export async function qemuImage(format: string, ...args: string[]): Promise<Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), 'lab-image-'));
  try {
    await promisify(execFile)('/usr/bin/qemu-img', ['create', '-q', '-f', format, ...args.map((arg) => (arg === 'FILE' ? join(folder, 'image') : arg))]);
    return readFileSync(join(folder, 'image'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
