import { z } from 'zod';
import type { HostMethod } from './operation.js';

const args = z.looseObject({ enabled: z.boolean() });

/** Mirrors the service's disabled flag as COMPUTE_STATUS_DISABLED in Placement; if that fails the next audit repairs it. */
export const setHostEnabled: HostMethod<z.infer<typeof args>> = {
  kind: 'host',
  rpc: 'set_host_enabled',
  args,
  async run({ args: { enabled }, deps, log }) {
    try {
      await deps.tracker.setHostEnabled(enabled);
    } catch (err) {
      log.warn({ err, enabled }, 'Placement not told; the next audit will');
    }
    return enabled ? 'enabled' : 'disabled';
  },
};
