/** How long a guest may take to shut down (nova-contract 6.4). */
import type { NovaObjectOf } from '../objects/index.js';
import type { StopOptions } from '../virt/index.js';
import type { ComputeOptions } from './deps.js';

/** The image's os_shutdown_timeout (seconds), else shutdown_timeout; 0 when no clean shutdown is wanted. */
export function stopOptions(options: Pick<ComputeOptions, 'shutdownTimeoutMs' | 'shutdownRetryMs'>, instance: NovaObjectOf<'Instance'>, isClean: boolean): StopOptions {
  if (!isClean) return { graceMs: 0, retryMs: 0 };
  const text = instance.maybe('system_metadata')?.['image_os_shutdown_timeout'];
  const seconds = text !== undefined && /^\d{1,5}$/.test(text) ? Number(text) : undefined;
  return { graceMs: seconds === undefined ? options.shutdownTimeoutMs : seconds * 1000, retryMs: options.shutdownRetryMs };
}
