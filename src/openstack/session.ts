/**
 * Keystone v3: one login per section of nova.conf, held until shortly before it expires, shared by concurrent callers. The option
 * names are keystoneauth's. A 401 from a service drops the token and the request is repeated once with a new one. The token's
 * lifetime is counted on the monotonic clock from what Keystone says it lasts, so that a wrong wall clock does no harm.
 */
import { z } from 'zod';
import { abortable } from '../lib/abort.js';
import { AgentError } from '../lib/errors.js';
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../observe/index.js';
import { failFrom, isSuccess } from './failure.js';
import { createHttp, type Http, type HttpAnswer, type HttpRequest, type TlsOptions } from './http.js';

/** `auth_type = password` (also `v3password`). Ids win over names. */
export interface PasswordAuth {
  readonly kind: 'password';
  readonly authUrl: string;
  readonly username?: string | undefined;
  readonly userId?: string | undefined;
  readonly password: string;
  readonly userDomainName?: string | undefined;
  readonly userDomainId?: string | undefined;
  readonly projectName?: string | undefined;
  readonly projectId?: string | undefined;
  readonly projectDomainName?: string | undefined;
  readonly projectDomainId?: string | undefined;
}

/** `auth_type = v3applicationcredential`: by id, or by name with the user. */
export interface ApplicationCredentialAuth {
  readonly kind: 'application-credential';
  readonly authUrl: string;
  readonly id?: string | undefined;
  readonly name?: string | undefined;
  readonly secret: string;
  readonly username?: string | undefined;
  readonly userId?: string | undefined;
  readonly userDomainName?: string | undefined;
  readonly userDomainId?: string | undefined;
}

export type Auth = PasswordAuth | ApplicationCredentialAuth;

export interface SessionOptions {
  /** Section of the configuration, for errors: `placement`, `neutron`, `service_user`. */
  readonly section: string;
  readonly auth: Auth;
  readonly tls?: TlsOptions | undefined;
  /** Of one exchange; default 60 000. */
  readonly timeoutMs?: number | undefined;
  /** Repetitions after broken connections; default 3. */
  readonly retries?: number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Where a service is; keystoneauth's adapter options. */
export interface EndpointOptions {
  readonly serviceType: string;
  readonly regionName?: string | undefined;
  /** In order of preference; default internal, then public (Nova's default). */
  readonly validInterfaces?: readonly string[] | undefined;
  /** Wins over the catalogue. */
  readonly endpointOverride?: string | undefined;
}

export interface Session {
  readonly section: string;
  /** A token that is good for a while yet; logs in if need be. AgentError `keystone-refused` or `http-…`. */
  token(signal?: AbortSignal): Promise<string>;
  /** Whether the log-in has the role `admin`. AgentError as above. */
  isAdmin(signal?: AbortSignal): Promise<boolean>;
  /** Drops `token`, if it is the one we hold. */
  forget(token: string): void;
  /** Base URL without a slash and without a version at the end. AgentError `endpoint-not-found`. */
  endpoint(options: EndpointOptions, signal?: AbortSignal): Promise<string>;
  /** Calls `work` with our token; once more with a new one after a 401. */
  withToken(work: (token: string) => Promise<HttpAnswer>, signal?: AbortSignal): Promise<HttpAnswer>;
  /** Sends with our token, as `withToken` does. */
  send(request: Omit<HttpRequest, 'base' | 'service'>, options: EndpointOptions): Promise<HttpAnswer>;
  readonly http: Http;
  close(): void;
}

/** Logins are renewed this long before they end. */
const renewBeforeMs = 60_000;

const Endpoint = z.object({ interface: z.string(), region: z.string().nullish(), region_id: z.string().nullish(), url: z.string() });
const TokenBody = z.object({
  token: z.object({
    issued_at: z.string(), expires_at: z.string(),
    roles: z.array(z.looseObject({ name: z.string() })).default([]),
    catalog: z.array(z.object({ type: z.string(), endpoints: z.array(Endpoint) })).default([]),
  }),
});
type Catalogue = z.infer<typeof TokenBody>['token']['catalog'];
interface Login { readonly token: string; readonly renewAtMs: number; readonly catalogue: Catalogue; readonly isAdmin: boolean }

/** No login happens before the first use. */
export function createSession(options: SessionOptions): Session {
  const http = createHttp(options);
  const { clock } = options;
  let held: Login | undefined;
  let pending: Promise<Login> | undefined;

  const login = async (signal?: AbortSignal): Promise<Login> => {
    if (held !== undefined && clock.monotonicMs() < held.renewAtMs) return held;
    // The shared login has no signal of its own: one caller who gives up must not take it from the others.
    pending ??= logIn(options, http).then((fresh) => (held = fresh)).finally(() => (pending = undefined));
    return signal === undefined ? pending : abortable(pending, signal);
  };
  const forget = (token: string): void => {
    if (held?.token === token) held = undefined;
  };
  const endpoint = async (where: EndpointOptions, signal?: AbortSignal): Promise<string> => {
    if (where.endpointOverride !== undefined && where.endpointOverride !== '') return trimBase(where.endpointOverride);
    const current = await login(signal);
    const url = findEndpoint(current.catalogue, where);
    if (url !== undefined) return trimBase(url);
    forget(current.token);
    throw new AgentError('endpoint-not-found', `Keystone's catalogue has no ${where.serviceType} endpoint for the configured region and interfaces`, {
      retry: 'later', details: { section: options.section, region: where.regionName ?? null, interfaces: interfacesOf(where) } });
  };
  const withToken = async (work: (token: string) => Promise<HttpAnswer>, signal?: AbortSignal): Promise<HttpAnswer> => {
    for (let isSecond = false; ; isSecond = true) {
      const { token } = await login(signal);
      const answer = await work(token);
      if (answer.status !== 401 || isSecond) return answer;
      forget(token);
    }
  };
  return {
    section: options.section, http, forget, endpoint, withToken,
    token: async (signal) => (await login(signal)).token,
    isAdmin: async (signal) => (await login(signal)).isAdmin,
    send: (request, where) => withToken(async (token) => {
      const base = await endpoint(where, request.signal);
      return http.exchange({ ...request, base, service: where.serviceType, headers: { ...request.headers, 'X-Auth-Token': token } });
    }, request.signal),
    close: () => http.close(),
  };
}

async function logIn(options: SessionOptions, http: Http): Promise<Login> {
  const startedMs = options.clock.monotonicMs();
  const request = { service: 'identity', method: 'POST' as const, path: '/auth/tokens', base: identityBase(options.auth.authUrl), body: loginBody(options.auth) };
  const answer = await http.exchange(request);
  if (answer.status === 401 || answer.status === 403) {
    throw new AgentError('keystone-refused', `Keystone refused the login of [${options.section}]: check its user, password, project and domains`, {
      retry: 'later', cause: failFrom(request, answer), details: { section: options.section, status: answer.status } });
  }
  if (!isSuccess(answer)) throw failFrom(request, answer);
  const token = answer.headers['x-subject-token'];
  const parsed = TokenBody.safeParse(answer.body);
  if (token === undefined || !parsed.success) throw strangeAnswer(options.section);
  const { issued_at: issued, expires_at: expires, catalog, roles } = parsed.data.token;
  const lifetimeMs = Date.parse(expires) - Date.parse(issued);
  if (!Number.isFinite(lifetimeMs)) throw strangeAnswer(options.section);
  options.log.debug({ section: options.section, lifetimeMs }, 'logged in to keystone');
  return { token, catalogue: catalog, isAdmin: roles.some(({ name }) => name === 'admin'), renewAtMs: startedMs + Math.max(lifetimeMs - renewBeforeMs, lifetimeMs / 2) };
}

const strangeAnswer = (section: string): AgentError =>
  new AgentError('keystone-strange', 'Keystone answered a login with something that is no token', { retry: 'later', details: { section } });

/** `auth_url` may name the version or not. */
function identityBase(authUrl: string): string {
  const base = authUrl.replace(/\/+$/, '');
  return /\/v3$/.test(base) ? base : `${base.replace(/\/v2\.0$/, '')}/v3`;
}

function loginBody(auth: Auth): unknown {
  if (auth.kind === 'application-credential') {
    const named = { ...(auth.name === undefined ? {} : { name: auth.name }), user: userOf(auth) };
    return { auth: { identity: { methods: ['application_credential'],
      application_credential: { ...(auth.id === undefined ? named : { id: auth.id }), secret: auth.secret } } } };
  }
  const project = auth.projectId !== undefined ? { id: auth.projectId }
    : auth.projectName === undefined ? undefined
    : { name: auth.projectName, domain: domainOf(auth.projectDomainId, auth.projectDomainName) };
  return { auth: {
    identity: { methods: ['password'], password: { user: { ...userOf(auth), password: auth.password } } },
    ...(project === undefined ? {} : { scope: { project } }),
  } };
}

const userOf = (auth: Auth): Record<string, unknown> =>
  auth.userId !== undefined ? { id: auth.userId } : { name: auth.username ?? '', domain: domainOf(auth.userDomainId, auth.userDomainName) };

const domainOf = (id: string | undefined, name: string | undefined): Record<string, string> =>
  id !== undefined ? { id } : { name: name ?? 'Default' };

const interfacesOf = (where: EndpointOptions): readonly string[] => where.validInterfaces ?? ['internal', 'public'];

function findEndpoint(catalogue: Catalogue, where: EndpointOptions): string | undefined {
  const endpoints = catalogue.filter((service) => service.type === where.serviceType).flatMap((service) => service.endpoints)
    .filter((one) => where.regionName === undefined || where.regionName === '' || (one.region_id ?? one.region) === where.regionName);
  for (const wanted of interfacesOf(where)) {
    const name = wanted.replace(/URL$/, '');
    const found = endpoints.find((one) => one.interface.replace(/URL$/, '') === name);
    if (found !== undefined) return found.url;
  }
  return undefined;
}

/** Paths that we send begin with their version. */
const trimBase = (url: string): string => url.replace(/\/+$/, '').replace(/\/v\d+(\.\d+)?$/, '');
