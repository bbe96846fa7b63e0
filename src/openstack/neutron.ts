/** Neutron (REST v2.0). Paths start with `/v2.0`. What the answers mean is network/ports' business. */
import { z } from 'zod';
import { AgentError } from '../lib/errors.js';
import type { Clock } from '../lib/clock.js';
import { failFrom, isSuccess } from './failure.js';
import { sendAsService, sendAsUser, type ServiceRequest } from './service.js';
import type { EndpointOptions, Session } from './session.js';
import type { NeutronClient } from './types.js';

export interface NeutronOptions {
  /** [neutron] */
  readonly session: Session;
  /** [service_user] when send_service_user_token, else null. */
  readonly serviceUser: Session | null;
  /** serviceType is `network` unless configured. */
  readonly endpoint: Omit<EndpointOptions, 'serviceType'> & { readonly serviceType?: string };
  /** [neutron]extension_sync_interval; default 600 000. */
  readonly extensionsMs?: number | undefined;
  readonly clock: Clock;
}

const Extensions = z.object({ extensions: z.array(z.object({ alias: z.string() })) });

/**
 * A request of an admin context without a token (periodic work) uses the configured identity, as in Nova.
 * Errors: `http-…` with Neutron's exception name in `details.faultType`.
 */
export function createNeutronClient(options: NeutronOptions): NeutronClient {
  const who = { session: options.session, serviceUser: options.serviceUser, endpoint: { serviceType: 'network', ...options.endpoint } };
  const request: NeutronClient['request'] = async (identity, method, path, extra = {}) => {
    const call: ServiceRequest = { method, path, query: extra.query, body: extra.body, signal: extra.signal };
    const user = identity === 'asService' ? undefined : identity.asUser;
    const answer = user === undefined || (user.isAdmin && user.authToken === null)
      ? await sendAsService(who, call, extra.context ?? user)
      : await sendAsUser(who, call, user);
    if (!isSuccess(answer)) throw failFrom({ service: 'network', method, path }, answer);
    return answer.body as never;
  };
  return { request, extensions: cachedExtensions(options, () => request('asService', 'GET', '/v2.0/extensions')) };
}

function cachedExtensions(options: NeutronOptions, read: () => Promise<unknown>): NeutronClient['extensions'] {
  const { clock, extensionsMs = 600_000 } = options;
  let held: { readonly at: number; readonly aliases: Promise<ReadonlySet<string>> } | undefined;
  return async () => {
    if (held !== undefined && clock.monotonicMs() - held.at < extensionsMs) return held.aliases;
    const aliases = read().then((body) => {
      const parsed = Extensions.safeParse(body);
      if (!parsed.success) throw new AgentError('neutron-strange', 'Neutron answered with something that is no list of extensions', { retry: 'later' });
      return new Set(parsed.data.extensions.map((one) => one.alias));
    });
    const entry = (held = { at: clock.monotonicMs(), aliases });
    aliases.catch(() => {
      if (held === entry) held = undefined;
    });
    return aliases;
  };
}
