/** Nova's RequestContext as it travels in `_context_*` keys (nova/context.py). */
import { randomUUID } from 'node:crypto';

export interface RequestContext {
  readonly requestId: string;
  readonly globalRequestId: string | null;
  readonly userId: string | null;
  readonly projectId: string | null;
  readonly isAdmin: boolean;
  readonly roles: readonly string[];
  /** The user's Keystone token; never logged. */
  readonly authToken: string | null;
  /** 'no' | 'yes' | 'only': which deleted rows the conductor returns. */
  readonly readDeleted: string;
  /** All `_context_*` values as received, without the prefix; sent on unchanged where not overridden. */
  readonly wire: Readonly<Record<string, unknown>>;
}

const asText = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);

/** Reads the context out of an inner message; absent keys get Nova's defaults. */
export function contextFromWire(message: Readonly<Record<string, unknown>>): RequestContext {
  const wire: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(message)) {
    if (key.startsWith('_context_')) wire[key.slice('_context_'.length)] = value;
  }
  const roles = wire['roles'];
  return {
    requestId: asText(wire['request_id']) ?? `req-${randomUUID()}`,
    globalRequestId: asText(wire['global_request_id']),
    userId: asText(wire['user_id']),
    projectId: asText(wire['project_id']),
    isAdmin: wire['is_admin'] === true,
    roles: Array.isArray(roles) ? roles.filter((role): role is string => typeof role === 'string') : [],
    authToken: asText(wire['auth_token']),
    readDeleted: asText(wire['read_deleted']) ?? 'no',
    wire,
  };
}

/** The `_context_*` keys of an outgoing message. */
export function contextToWire(context: RequestContext): Record<string, unknown> {
  const values: Record<string, unknown> = {
    ...context.wire,
    request_id: context.requestId,
    global_request_id: context.globalRequestId,
    user_id: context.userId,
    project_id: context.projectId,
    is_admin: context.isAdmin,
    roles: context.roles,
    auth_token: context.authToken,
    read_deleted: context.readDeleted,
  };
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`_context_${key}`, value]));
}

/** A context of the service itself (nova.context.get_admin_context): no user, no project, admin. */
export function adminContext(options: { readDeleted?: 'no' | 'yes' | 'only'; requestId?: string; timestamp?: Date } = {}): RequestContext {
  const timestamp = (options.timestamp ?? new Date(0)).toISOString().replace('Z', '');
  return {
    requestId: options.requestId ?? `req-${randomUUID()}`,
    globalRequestId: null,
    userId: null,
    projectId: null,
    isAdmin: true,
    roles: [],
    authToken: null,
    readDeleted: options.readDeleted ?? 'no',
    wire: {
      user: null, project: null, system_scope: null, domain: null, user_domain: null, project_domain: null,
      is_admin_project: true, read_only: false, show_deleted: false, resource_uuid: null, user_identity: '- - - - -',
      remote_address: null, timestamp, quota_class: null, user_name: null, project_name: null, service_catalog: [],
    },
  };
}

/** The same request with admin rights and the given visibility of deleted rows; the request id stays. */
export function elevated(context: RequestContext, readDeleted: 'no' | 'yes' | 'only' = 'no'): RequestContext {
  return { ...context, isAdmin: true, readDeleted, roles: context.roles.includes('admin') ? context.roles : [...context.roles, 'admin'] };
}
