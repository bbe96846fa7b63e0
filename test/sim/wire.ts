/** A message as it comes from the broker. */
import { randomBytes } from 'node:crypto';
import type { WireMessage } from '../../src/rpc/index.js';

export function messageTo(method: string, args: Readonly<Record<string, unknown>>): WireMessage {
  return {
    method, args, version: '6.0', _unique_id: randomBytes(16).toString('hex'), _context_request_id: 'req-00000000-0000-4000-8000-000000000000',
    _context_project_id: 'project-1', _context_user_id: 'user-1', _context_is_admin: false, _context_roles: ['member'], _context_auth_token: 'secret-token',
  };
}
