/** A login at Keystone and JSON requests with it: what tests and the bring-up speak to the cloud with. */
import { until } from './daemons.js';
import { endpoints } from './layout.js';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD';

/** What an OpenStack service answered when it was not what the caller wanted. */
export class RestError extends Error {
  constructor(readonly method: Method, readonly url: string, readonly status: number, readonly body: string) {
    super(`${method} ${url} answered ${status}: ${body.slice(0, 600)}`);
    this.name = 'RestError';
  }
}

export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

export interface Session {
  readonly user: string;
  readonly projectId: string;
  readonly token: string;
  /** Any answer below 400 is fine; else RestError. The body is parsed when it is JSON. */
  request<T>(method: Method, url: string, body?: unknown, headers?: Record<string, string>): Promise<Answer<T>>;
  get<T>(url: string): Promise<T>;
  post<T>(url: string, body: unknown): Promise<T>;
  put<T>(url: string, body?: unknown): Promise<T>;
  remove(url: string): Promise<void>;
}

const requestLimitMs = 90_000;
// The newest that Zed knows; later releases serve it too.
const microversions = { 'X-OpenStack-Nova-API-Version': '2.93', 'OpenStack-API-Version': 'placement 1.39' };

async function exchange<T>(method: Method, url: string, init: RequestInit): Promise<Answer<T>> {
  const response = await fetch(url, { ...init, method, signal: AbortSignal.timeout(requestLimitMs) });
  const text = await response.text();
  if (response.status >= 400) throw new RestError(method, url, response.status, text);
  const isJson = (response.headers.get('content-type') ?? '').includes('json') && text !== '';
  return { status: response.status, headers: response.headers, body: (isJson ? JSON.parse(text) : undefined) as T };
}

async function authenticate(user: string, password: string, project: string): Promise<{ token: string; projectId: string }> {
  const domain = { id: 'default' };
  const answer = await exchange<{ token: { project: { id: string } } }>('POST', `${endpoints.keystone}/auth/tokens`, {
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ auth: { identity: { methods: ['password'], password: { user: { name: user, password, domain } } }, scope: { project: { name: project, domain } } } }),
  });
  return { token: answer.headers.get('x-subject-token')!, projectId: answer.body.token.project.id };
}

/** Logs in, and keeps trying for a while when Keystone is only just starting. */
export async function openSession(user: string, password: string, project: string): Promise<Session> {
  let last: unknown;
  const identity = await until(30_000, () => `cannot log in as ${user}: ${String(last)}`, () =>
    authenticate(user, password, project).catch((err: unknown) => { last = err; return null; }), 300);
  const headers = { 'X-Auth-Token': identity.token, ...microversions };

  function request<T>(method: Method, url: string, body?: unknown, more: Record<string, string> = {}): Promise<Answer<T>> {
    const isRaw = body instanceof Uint8Array || body instanceof ReadableStream;
    return exchange<T>(method, url, {
      headers: { ...headers, ...(body === undefined || isRaw ? {} : { 'Content-Type': 'application/json' }), ...more },
      ...(body === undefined ? {} : { body: isRaw ? (body as NonNullable<RequestInit['body']>) : JSON.stringify(body) }),
      ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
    });
  }

  return {
    user, ...identity, request,
    get: async <T>(url: string) => (await request<T>('GET', url)).body,
    post: async <T>(url: string, body: unknown) => (await request<T>('POST', url, body)).body,
    put: async <T>(url: string, body?: unknown) => (await request<T>('PUT', url, body)).body,
    remove: async (url) => { await request('DELETE', url); },
  };
}

/** True once the URL answers anything below 500. */
export async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
    await response.arrayBuffer();
    return response.status < 500;
  } catch {
    return false;
  }
}
