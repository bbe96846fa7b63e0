/**
 * A virtual host on the control plane's RabbitMQ, for a cloud of our own. An exchange of our own is not enough: oslo.messaging names its queues by
 * topic alone, so that a second "conductor" in the same virtual host would share the real one's queue, and each would get half of the other's calls.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { daemonEnv, rabbitEnv, secretsOf, transportUrl, type Layout } from '../cloud/control-plane/index.js';
import type { CleanUp } from './clean-up.js';

const name = 'nova-bhyve-bench';
const limitMs = 60_000;

/** As in transport_url. What an interrupted run left in it is forgotten; it goes away with `cleanUp`. */
export async function openPrivateBroker(layout: Layout, cleanUp: CleanUp): Promise<string> {
  const control = async (...args: string[]): Promise<void> => {
    await promisify(execFile)('/usr/lib/rabbitmq/bin/rabbitmqctl', ['-q', ...args], { env: { ...daemonEnv, ...rabbitEnv(layout) }, timeout: limitMs });
  };
  const remove = (): Promise<void> => control('delete_vhost', name);
  await remove().catch(() => undefined); // there is one only after an interrupted run
  cleanUp.add(remove);
  await control('add_vhost', name);
  await control('set_permissions', '-p', name, 'openstack', '.*', '.*', '.*');
  return transportUrl(secretsOf(layout)).replace(/\/[^/]*$/, `/${name}`);
}
