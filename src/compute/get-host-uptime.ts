import { z } from 'zod';
import type { HostMethod } from './operation.js';

const args = z.looseObject({});

/** The line that uptime(1) prints; the hypervisors API shows it. */
export const getHostUptime: HostMethod<z.infer<typeof args>> = {
  kind: 'host', rpc: 'get_host_uptime', args, run: ({ deps }) => deps.driver.uptimeLine(),
};
