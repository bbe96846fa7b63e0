/**
 * Errors of HTTP answers. The status decides the code; the only thing taken from a body is the machine-readable name that some
 * services put there (Neutron's `NeutronError.type`, Placement's `errors[].code`), if it looks like one.
 */
import { AgentError, type NovaFault } from '../lib/errors.js';
import { serviceRequestId, type HttpAnswer, type HttpRequest } from './http.js';

/** Whether the status is 2xx. */
export const isSuccess = (answer: HttpAnswer): boolean => answer.status >= 200 && answer.status < 300;

/** `http-…` with details service, method, path, status, request id and `faultType`; never the body. */
export function failFrom(request: Pick<HttpRequest, 'service' | 'method' | 'path'>, answer: HttpAnswer, wire?: NovaFault): AgentError {
  const code = codeOfStatus(answer.status);
  return new AgentError(code, `${request.service} answered ${answer.status} to ${request.method}`, {
    retry: code === 'http-server-error' ? 'later' : 'no',
    ...(wire === undefined ? {} : { wire }),
    details: {
      service: request.service, method: request.method, path: request.path, status: answer.status,
      requestId: serviceRequestId(answer) ?? null, faultType: faultTypeOf(answer.body) ?? null,
    },
  });
}

/** `faultType` of an error made by `failFrom`, e.g. `IpAddressInUse` or `placement.concurrent_update`. */
export function faultTypeOfError(error: unknown): string | undefined {
  const type = error instanceof AgentError ? error.details['faultType'] : undefined;
  return typeof type === 'string' ? type : undefined;
}

function codeOfStatus(status: number): string {
  switch (status) {
    case 401: return 'http-unauthorized';
    case 403: return 'http-forbidden';
    case 404: return 'http-not-found';
    case 409: return 'http-conflict';
    case 408: case 429: return 'http-server-error';
    default: return status >= 500 ? 'http-server-error' : 'http-bad-request';
  }
}

function faultTypeOf(body: unknown): string | undefined {
  const record = asRecord(body);
  const neutron = asRecord(record['NeutronError'])['type'];
  const errors: unknown = record['errors'];
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  const name = neutron ?? asRecord(first)['code'];
  return typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_.]{0,80}$/.test(name) ? name : undefined;
}

/** Any value as a record; {} for what is none. */
export const asRecord = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
