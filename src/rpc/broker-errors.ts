/**
 * What the broker's and the socket's errors mean. amqplib gives the reply code as a number for a closed channel or connection, but
 * only as text for a failed login; that text is matched here and nowhere else (samples in test/unit/rpc/broker-errors.test.ts).
 */
import { AgentError, codeOf } from '../lib/errors.js';

/** Somebody must change an option or a permission. */
const REFUSALS = new Set(['rpc-topology-refused', 'rpc-access-refused']);

export const isRefusal = (error: unknown): boolean => REFUSALS.has(codeOf(error) ?? '');

/** The AMQP reply code (406, 541, …) of an error of amqplib, or undefined. */
export function replyCodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'number') return error.code;
  const handshake = /^Handshake terminated by server: (\d{3}) /.exec(error.message);
  return handshake === null ? undefined : Number(handshake[1]);
}

/** The connection is gone or cannot be made. `isSent`: whether a message of the caller had left us already. */
export const disconnected = (reason: string, cause?: unknown, isSent = false): AgentError =>
  new AgentError('rpc-disconnected', `no connection to the broker: ${reason}`, { retry: 'later', details: { isSent }, ...(cause === undefined ? {} : { cause }) });

/** RabbitMQ from 4.3 on: a transient queue that is not exclusive was declared. It costs the whole connection. */
export const isTransientQueueRefusal = (error: unknown): boolean =>
  replyCodeOf(error) === 541 && error instanceof Error && error.message.includes('transient_nonexcl_queues');

/**
 * Why a connection could not be made or was lost: AgentError `rpc-access-refused` (login, vhost, permission) or `rpc-disconnected`.
 * `broker` is host:port, never the URL.
 */
export function connectionError(broker: string, error: unknown): AgentError {
  const code = replyCodeOf(error);
  if (isTransientQueueRefusal(error)) {
    return new AgentError('rpc-topology-refused', `the broker ${broker} ended the connection over a queue that it refuses`, { retry: 'later', cause: error });
  }
  if (code === 403) {
    return new AgentError('rpc-access-refused', `the broker ${broker} refused the login; check user, password and virtual host in transport_url and the broker's permissions`,
      { retry: 'later', cause: error });
  }
  // amqplib reads the broker's close instead of its open-ok, and keeps no code: 530 (no such vhost, or no permission) or a vhost that is down.
  if (code === 530 || (error instanceof Error && error.message.startsWith('Expected ConnectionOpenOk; got <ConnectionClose'))) {
    return new AgentError('rpc-access-refused', `the broker ${broker} refused the virtual host; check its name in transport_url, the user's permissions on it, and that it is up`,
      { retry: 'later', cause: error });
  }
  return disconnected(`${broker} is not reachable or closed the connection`, error);
}
