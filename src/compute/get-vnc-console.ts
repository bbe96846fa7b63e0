import { vmStates } from '../objects/index.js';
import { z } from 'zod';
import { parseInstanceUuid } from '../lib/ids.js';
import { novaFaults, refuse } from '../lib/nova-faults.js';
import { instanceArgument, type InstanceMethod, type Operation } from './operation.js';
import { questionWrappers } from './questions.js';

const args = z.looseObject({ instance: instanceArgument, console_type: z.string() });
type Args = z.infer<typeof args>;

/** A token and an address for nova-novncproxy (nova-contract 14). The conductor makes the token; only its hash is stored. */
export const getVncConsole: InstanceMethod<Args> = {
  kind: 'instance', rpc: 'get_vnc_console', availability: { status: 'works', reason: 'with [vnc] tls_* by TLS, for proxies that have a certificate, and with a password for each guest' }, args, wrappers: questionWrappers, gate: null, isJournalled: false, run: openConsole,
};

async function openConsole({ args: { instance, console_type: consoleType }, context, deps }: Operation<Args>): Promise<unknown> {
  const { vnc, consoleTokenTtlSeconds } = deps.options;
  if (vnc === null) throw refuse(novaFaults.consoleTypeUnavailable(consoleType));
  if (consoleType !== 'novnc') throw refuse(novaFaults.consoleTypeInvalid(consoleType));
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const endpoint = await deps.driver.openVncConsole(uuid);
  if (endpoint === null) {
    const state = await deps.driver.state(uuid);
    const isNotYet = instance.get('vm_state') === vmStates.building || (state.kind === 'running' && state.isPaused); // a paused bhyve answers nobody
    throw refuse(isNotYet ? novaFaults.instanceNotReady(uuid)
      : deps.driver.capabilities.hasFramebuffer ? novaFaults.instanceNotFound(uuid) : novaFaults.consoleTypeUnavailable(consoleType));
  }
  const token = await deps.conductor.consoleTokens.authorize(context, {
    consoleType, host: vnc.proxyClientAddress, port: endpoint.port, instance: uuid, accessUrlBase: vnc.novncProxyBaseUrl, ttlSeconds: consoleTokenTtlSeconds,
  });
  const path = encodeURIComponent(`?token=${token}`);
  const joint = vnc.novncProxyBaseUrl.includes('?') ? '&' : '?';
  return {
    host: vnc.proxyClientAddress, port: endpoint.port, internal_access_path: null, token, access_url: `${vnc.novncProxyBaseUrl}${joint}path=${path}`,
  };
}
