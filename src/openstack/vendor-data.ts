/**
 * Dynamic vendor data: services of the operator that say what a guest is told in vendor_data2.json. They are asked as Nova asks them
 * (nova/api/metadata/vendordata_dynamic.py): one POST each, with who the guest is and with the token of `[vendordata_dynamic_auth]` if there is one; the
 * answer is JSON. What goes wrong leaves an empty object, or fails the work that needs the config drive (vendordata_dynamic_failure_fatal).
 */
import { AgentError } from '../lib/errors.js';
import type { Clock } from '../lib/clock.js';
import type { NovaObjectOf } from '../objects/index.js';
import type { Logger } from '../observe/index.js';
import { failFrom, isSuccess } from './failure.js';
import { createHttp, type HttpAnswer } from './http.js';
import type { Session } from './session.js';

export interface VendorDataOptions {
  /** `NAME@URL`, in their order. */
  readonly targets: readonly string[];
  /** Null: the requests carry no token. */
  readonly session: Session | null;
  /** PEM file for https targets; null: the system's certificates. */
  readonly caFile: string | null;
  /** For one request. */
  readonly timeoutMs: number;
  readonly isFailureFatal: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface VendorDataClient {
  /** Target's name → what it says of the instance. AgentError `vendor-data-unavailable` when a failure is fatal. */
  fetch(instance: NovaObjectOf<'Instance'>): Promise<Readonly<Record<string, unknown>>>;
  close(): void;
}

interface Target { readonly name: string; readonly url: string }

/** Warns of targets without a name, and of a second one of a name; both are left out, as in Nova. */
export function createVendorDataClient(options: VendorDataOptions): VendorDataClient {
  const { log, session, isFailureFatal } = options;
  const http = createHttp({ clock: options.clock, log, timeoutMs: options.timeoutMs, retries: 0, ...(options.caFile === null ? {} : { tls: { cafile: options.caFile } }) });
  const targets = targetsOf(options.targets, log);
  if (session === null && targets.length > 0) log.warn('dynamic vendor data are asked for without a token: [vendordata_dynamic_auth] has no log-in');

  async function post({ name, url }: Target, body: unknown): Promise<unknown> {
    const request = { service: `vendordata ${name}`, method: 'POST', base: url, path: '', body } as const;
    const send = (token: Readonly<Record<string, string>>): Promise<HttpAnswer> =>
      http.exchange({ ...request, headers: { 'Content-Type': 'application/json', 'User-Agent': 'openstack-nova-vendordata', ...token } });
    const answer = await (session === null ? send({}) : session.withToken((token) => send({ 'X-Auth-Token': token })));
    if (!isSuccess(answer)) throw failFrom(request, answer);
    if (answer.body === '' || answer.body === undefined) return {};
    // JSON comes parsed; what is still text was none.
    if (typeof answer.body === 'string') throw new AgentError('vendor-data-unavailable', 'the answer is not JSON', { details: { target: name } });
    return answer.body;
  }

  return {
    async fetch(instance) {
      const body = bodyOf(instance);
      const said: Record<string, unknown> = {};
      for (const target of targets) {
        try {
          said[target.name] = await post(target, body);
        } catch (err) {
          if (isFailureFatal) throw new AgentError('vendor-data-unavailable', `the vendor data of ${target.name} could not be fetched`, { cause: err, retry: 'later', details: { target: target.name } });
          log.warn({ err, target: target.name, instance: instance.get('uuid') }, 'dynamic vendor data not fetched; the guest gets none of this target');
          said[target.name] = {};
        }
      }
      return said;
    },
    close: () => http.close(),
  };
}

function targetsOf(texts: readonly string[], log: Logger): readonly Target[] {
  const targets = new Map<string, Target>();
  for (const [at, text] of texts.entries()) {
    const [name = '', ...rest] = text.split('@');
    // The text itself may hold a password.
    if (rest.length === 0) log.warn({ at }, 'a target of [api] vendordata_dynamic_targets lacks a name (NAME@URL); left out');
    else if (targets.has(name)) log.warn({ at, target: name }, 'a second target of the same name in [api] vendordata_dynamic_targets; left out');
    else targets.set(name, { name, url: rest.join('@') });
  }
  return [...targets.values()];
}

const bodyOf = (instance: NovaObjectOf<'Instance'>): Readonly<Record<string, unknown>> => ({
  'project-id': instance.maybe('project_id') ?? null, 'instance-id': instance.get('uuid'), 'image-id': instance.maybe('image_ref') ?? null, 'user-data': instance.maybe('user_data') ?? null,
  hostname: instance.maybe('hostname') ?? null, metadata: instance.maybe('metadata') ?? {}, 'boot-roles': instance.maybe('system_metadata')?.['boot_roles'] ?? '',
});
