/** Requests on behalf of somebody: which tokens go along, and the id that joins our request to the service's log. */
import { AgentError } from '../lib/errors.js';
import type { RequestContext } from '../rpc/context.js';
import type { HttpAnswer, HttpRequest } from './http.js';
import type { EndpointOptions, Session } from './session.js';

/** A user's token, ours beside it when `[service_user]send_service_user_token` is set (service session not null). */
export interface Identities {
  readonly session: Session;
  readonly serviceUser: Session | null;
  readonly endpoint: EndpointOptions;
}

export type ServiceRequest = Omit<HttpRequest, 'base' | 'service'>;

/** `X-OpenStack-Request-ID`, as Nova forwards it: the global id if the request came with one, else its own. */
export function requestIdHeader(context: RequestContext | undefined): Record<string, string> {
  const id = context?.globalRequestId ?? context?.requestId;
  return id !== undefined && /^req-[0-9a-f-]{36}$/i.test(id) ? { 'X-OpenStack-Request-ID': id } : {};
}

/** `X-Service-Token`: shows the service that a service speaks for the user, so that a token that has just expired is still good. */
export async function serviceTokenHeader(serviceUser: Session | null, signal?: AbortSignal): Promise<Record<string, string>> {
  return serviceUser === null ? {} : { 'X-Service-Token': await serviceUser.token(signal) };
}

/** With the configured identity; a 401 is tried once more with new tokens. */
export async function sendAsService(who: Identities, request: ServiceRequest, context?: RequestContext): Promise<HttpAnswer> {
  const extra = { ...requestIdHeader(context), ...(await serviceTokenHeader(who.serviceUser, request.signal)) };
  return who.session.send({ ...request, headers: { ...request.headers, ...extra } }, who.endpoint);
}

/** With the user's token, as it came in the message; a 401 is tried once more if our service token may have been the reason. */
export async function sendAsUser(who: Identities, request: ServiceRequest, context: RequestContext): Promise<HttpAnswer> {
  const token = userToken(context, who.endpoint.serviceType);
  const base = await who.session.endpoint(who.endpoint, request.signal);
  for (let isSecond = false; ; isSecond = true) {
    const service = await serviceTokenHeader(who.serviceUser, request.signal);
    const headers = { ...request.headers, ...requestIdHeader(context), ...service, 'X-Auth-Token': token };
    const answer = await who.session.http.exchange({ ...request, headers, base, service: who.endpoint.serviceType });
    if (answer.status !== 401 || isSecond || who.serviceUser === null) return answer;
    who.serviceUser.forget(service['X-Service-Token'] ?? '');
  }
}

/** AgentError `http-unauthorized` when the request came without a token. */
export function userToken(context: RequestContext, service: string): string {
  if (context.authToken !== null) return context.authToken;
  throw new AgentError('http-unauthorized', `the request has no user token to speak to ${service} with`, { details: { service } });
}
