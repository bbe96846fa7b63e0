/**
 * A client of oslo.messaging's RPC with as little around it as possible: one channel, no confirms, one map of waiting calls. It asks both
 * services the same way, so that what differs is theirs.
 */
import { randomBytes } from 'node:crypto';
import { connect } from 'amqplib';

export interface RawCall {
  readonly exchange: string;
  readonly routingKey: string;
  readonly method: string;
  readonly namespace?: string;
  readonly version: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly context?: Readonly<Record<string, unknown>>;
}

export interface RawClient {
  /** The answer's result. Rejects with what the other side said when it failed, and when there is no answer in a minute. */
  call(call: RawCall): Promise<unknown>;
  cast(call: RawCall): void;
  close(): Promise<void>;
}

interface Reply { readonly _msg_id: string; readonly result?: unknown; readonly failure?: unknown; readonly ending: boolean }

const hex = (): string => randomBytes(16).toString('hex');
const adminContext = { _context_is_admin: true, _context_roles: ['admin'], _context_read_deleted: 'no', _context_user_id: null, _context_project_id: null, _context_auth_token: null };
const limitMs = 60_000;

/** `url` as in transport_url, with rabbit:// for amqp://. When the signal fires, no call is answered any more: those that wait and later ones reject. */
export async function openRawClient(url: string, signal: AbortSignal): Promise<RawClient> {
  const connection = await connect(url.replace(/^rabbit:/, 'amqp:'), { noDelay: true });
  connection.on('error', () => undefined); // calls that wait say so when their minute is over
  const channel = await connection.createChannel();
  const queue = `reply_${hex()}`;
  const waiting = new Map<string, (reply: Reply | Error) => void>();
  signal.addEventListener('abort', () => waiting.forEach((answer) => answer(signal.reason as Error)), { once: true });
  await channel.assertQueue(queue, { durable: false, autoDelete: true });
  await channel.consume(queue, (message) => {
    if (message === null) return;
    const reply = JSON.parse((JSON.parse(message.content.toString()) as { 'oslo.message': string })['oslo.message']) as Reply;
    if (reply.ending || reply.failure !== null) waiting.get(reply._msg_id)?.(reply);
  }, { noAck: true });

  function send({ exchange, routingKey, method, namespace, version, args, context }: RawCall, more: Record<string, unknown>): void {
    const inner = { method, args, version, ...(namespace === undefined ? {} : { namespace }), ...more, _unique_id: hex(), _timeout: null,
      _context_request_id: `req-${hex()}`, ...adminContext, ...context };
    channel.publish(exchange, routingKey, Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(inner) })), {
      contentType: 'application/json', contentEncoding: 'utf-8', deliveryMode: 2, priority: 0, headers: {},
    });
  }

  return {
    cast: (call) => send(call, {}),
    async call(call) {
      signal.throwIfAborted();
      const id = hex();
      const answer = new Promise<unknown>((resolve, reject) => {
        const timer = setTimeout(() => waiting.get(id)?.(new Error(`no answer to ${call.method} in ${limitMs / 1000} s`)), limitMs);
        waiting.set(id, (reply) => {
          clearTimeout(timer);
          waiting.delete(id);
          if (reply instanceof Error) reject(reply);
          else if (reply.failure !== null && reply.failure !== undefined) reject(new Error(`${call.method} failed: ${JSON.stringify(reply.failure).slice(0, 2000)}`));
          else resolve(reply.result);
        });
      });
      send(call, { _msg_id: id, _reply_q: queue });
      return answer;
    },
    close: () => connection.close(),
  };
}
