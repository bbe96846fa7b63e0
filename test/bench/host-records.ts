/** What the control plane holds of a host of the benchmark, and how that goes away. */
import { endpoints, RestError } from '../cloud/control-plane/index.js';
import type { Cloud } from '../cloud/support/cloud.js';
import { forgetHost } from '../cloud/support/lab-session.js';
import type { Contender } from './contenders.js';
import { untilInterrupted } from './until-interrupted.js';

/** For work that nothing interrupts. */
const never = new AbortController().signal;

/**
 * True when the scheduler has found the host's hypervisor and mapped it into the cell. Without details: for those Nova asks every
 * hypervisor of the cloud for its uptime, also one whose agent was killed a moment ago, and answers 500 after a minute.
 */
export async function isMapped(cloud: Cloud, host: string): Promise<boolean> {
  try {
    const { hypervisors } = await cloud.admin.get<{ hypervisors: { hypervisor_hostname: string }[] }>(`${endpoints.nova}/os-hypervisors?hypervisor_hostname_pattern=${host}`);
    return hypervisors.some(({ hypervisor_hostname: name }) => name === host);
  } catch (err) {
    if (err instanceof RestError && err.status === 404) return false;
    throw err;
  }
}

/** Asks for the deletion of all servers of a host and waits until they are gone. The signal ends the waiting. */
export async function removeServersOf(cloud: Cloud, host: string, signal: AbortSignal, limitMs = 300_000): Promise<void> {
  const left = async (): Promise<string[]> => (await cloud.servers.list()).filter((server) => server['OS-EXT-SRV-ATTR:host'] === host).map(({ id }) => id);
  const ids = await left();
  const queue = [...ids];
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let id = queue.pop(); id !== undefined && !signal.aborted; id = queue.pop()) await cloud.servers.remove(id, cloud.admin);
  }));
  let count = ids.length;
  await untilInterrupted(signal, limitMs, () => `${count} servers of ${host} are still there after ${limitMs / 1000} s`, async () => {
    count = (await left()).length;
    return count === 0;
  }, 500);
}

/** Nova leaves a provider that something is allocated on, as by a server whose build was cut before the row had a host. */
async function removeProvider(cloud: Cloud, host: string): Promise<void> {
  const provider = await cloud.placement.provider(host);
  if (provider === null) return;
  for (const id of Object.keys(await cloud.placement.allocations(provider.uuid))) {
    await cloud.servers.remove(id, cloud.admin);
    await cloud.servers.waitGone(id);
  }
  for (const id of Object.keys(await cloud.placement.allocations(provider.uuid))) await cloud.admin.remove(`${endpoints.placement}/allocations/${id}`);
  await cloud.admin.remove(`${endpoints.placement}/resource_providers/${provider.uuid}`);
}

/**
 * Stops the service and removes its servers, service record, hypervisor and resource provider. Only of one that runs can servers be deleted in
 * good order; of one that was killed Nova deletes them alone, once it is told that the host is down. Throws if the cloud still knows the host.
 */
export async function leaveNoTrace(cloud: Cloud, contender: Contender, note: (text: string) => void): Promise<void> {
  const { host } = contender;
  if (contender.isRunning()) await removeServersOf(cloud, host, never).catch((err: unknown) => note(`${host}: ${err instanceof Error ? err.message : String(err)}`));
  await contender.stop();
  await forgetHost(cloud, host, note);
  await removeProvider(cloud, host);
  if ((await cloud.compute.services(host)).length > 0 || await isMapped(cloud, host)) throw new Error(`Nova still knows ${host}`);
}
