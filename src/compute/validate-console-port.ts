import { z } from 'zod';
import { codeOf } from '../lib/errors.js';
import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import type { ComputeDeps } from './deps.js';
import { instanceArgument, type InstanceMethod } from './operation.js';
import { questionWrappers } from './questions.js';

const args = z.looseObject({ instance: instanceArgument, port: z.union([z.string(), z.number()]), console_type: z.string() });
type Args = z.infer<typeof args>;

/**
 * Whether this port is this guest's console now (CVE-2013-0335: ports are reused). From live state only; nothing but true lets the
 * proxy connect. A serial console lets the proxy in because of this answer, and once.
 */
export const validateConsolePort: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'validate_console_port',
  args,
  wrappers: questionWrappers,
  gate: null,
  isJournalled: false,
  async run({ args: { instance, port, console_type }, deps }) {
    const uuid = parseInstanceUuid(instance.get('uuid'));
    if (console_type === 'serial' && deps.options.serial !== null) return /^[1-9]\d{0,4}$/.test(String(port)) && deps.driver.admitToSerialConsole(uuid, Number(port));
    if (deps.options.vnc === null || console_type !== 'novnc') return false;
    const endpoint = await openVncConsole(deps, uuid);
    return endpoint !== null && String(endpoint.port) === String(port);
  },
};

/** Also after a restart of the agent, when nobody listens for a console yet that was given before. */
async function openVncConsole({ driver, log }: ComputeDeps, instance: InstanceUuid): Promise<{ port: number } | null> {
  try {
    return await driver.openVncConsole(instance);
  } catch (err) {
    if (codeOf(err) !== 'no-console-port') throw err;
    log.warn({ err, instance }, 'a VNC console cannot be opened');
    return null;
  }
}
