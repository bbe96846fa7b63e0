/** Who has a screen now, and how a proxy gets to it. */
import type { Relay, Screen } from '../../console/index.js';
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { GuestState } from '../types.js';
import type { GuestFiles } from './guest-files.js';

export interface ScreenDeps {
  readonly files: Pick<GuestFiles, 'readSpec'>;
  readonly state: (instance: InstanceUuid) => Promise<GuestState>;
}

/** Of a guest that runs and is not paused, from its stored spec; null: it has none. */
export async function screenOf({ files, state }: ScreenDeps, instance: InstanceUuid): Promise<Screen | null> {
  const spec = await files.readSpec(instance);
  if (spec === undefined || spec.vnc === null) return null;
  const now = await state(instance);
  return now.kind === 'running' && !now.isPaused ? { host: spec.vnc.address, port: spec.vnc.port, password: spec.vnc.password } : null;
}

/**
 * See HypervisorDriver.openVncConsole. `relay` null: screens are not guarded. A guest that runs since before they were has no password; if its bhyve listens at another
 * address than the relay would, the relay leads to it all the same, and if it has the very port, proxies may go there themselves: whether they take a screen
 * without TLS is for their `auth_schemes` to say, as with libvirt.
 */
export async function openScreen(deps: ScreenDeps & { readonly relay: Relay | null; readonly address: string }, instance: InstanceUuid): Promise<{ host: string; port: number } | null> {
  const screen = await screenOf(deps, instance);
  if (screen === null) return null;
  const { host, port, password } = screen;
  if (deps.relay === null) return { host, port };
  let cause: unknown;
  try {
    if (await deps.relay.open(instance, port)) return { host: deps.address, port };
    if (password === undefined) return { host, port };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    cause = error;
  }
  const why = cause === undefined ? `another program listens on port ${port}` : 'nobody can listen for it';
  throw new AgentError('no-console-port', `no VNC console of ${instance}: ${why}`, { retry: 'later', cause, wire: novaFaults.instanceNotReady(instance) });
}
