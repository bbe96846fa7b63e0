/** One recorded operation, seen from one compute: what came in, and what it sent because of it. */
import { objectsIn, recordedMessages, type RecordedMessage } from '../../fakes/wire-samples.js';
import type { WireMessage } from '../../../src/rpc/index.js';
import type { Sent } from './steps.js';

export interface Recorded {
  /** Name of the compute, e.g. `fakea`. */
  readonly host: string;
  /** Messages to that compute, in order. */
  readonly incoming: readonly WireMessage[];
  /** What the recorded compute sent while it worked on this message: the same request id, or the resource tracker's own. */
  readonly sentFor: (message: WireMessage) => readonly Sent[];
  /** The recorded answer of a call. */
  readonly answer: (message: WireMessage) => WireMessage | undefined;
}

const requestOf = (message: WireMessage): unknown => message['_context_request_id'];
const argsOf = (message: WireMessage): Record<string, unknown> => (message['args'] ?? {}) as Record<string, unknown>;

const isNodeSave = (message: WireMessage): boolean => {
  const [object] = objectsIn(argsOf(message)['objinst']);
  return object?.['nova_object.name'] === 'ComputeNode' && argsOf(message)['objmethod'] === 'save';
};

/**
 * Reads test/samples/wire/zed/OPERATION.jsonl. Of several computes the one that was asked first counts; with `isOneHost` the computes A and B of a
 * recorded move are taken for one, A, which then did both halves.
 */
export function recorded(operation: string, options: { isOneHost?: boolean } = {}): Recorded {
  const messages = options.isOneHost === true ? (JSON.parse(JSON.stringify(recordedMessages(operation)).replaceAll('fakeb', 'fakea')) as RecordedMessage[]) : recordedMessages(operation);
  const isIncoming = (one: RecordedMessage): boolean => 'method' in one.message && one.routing_keys.some((key) => key.startsWith('compute.'));
  const first = messages.find(isIncoming);
  const host = first?.routing_keys.find((key) => key.startsWith('compute.'))?.slice('compute.'.length);
  if (host === undefined) throw new Error(`no compute was asked anything in ${operation}`);
  const ours = messages.filter((one) => one.publisher === `nova-compute@${host}` && 'method' in one.message).map((one) => one.message);
  return {
    host,
    incoming: messages.filter((one) => isIncoming(one) && one.routing_keys.includes(`compute.${host}`)).map((one) => one.message),
    // The tracker's save of the node goes under the request id of the service's last audit.
    sentFor: (message) => ours.filter((one) => requestOf(one) === requestOf(message) || (isNodeSave(one) && argsOf(message)['instance'] !== undefined))
      .map((one) => ({ method: String(one['method']), args: argsOf(one) })),
    answer: (message) => messages.find((one) => message['_msg_id'] !== undefined && one.message['_msg_id'] === message['_msg_id'] && 'result' in one.message)?.message,
  };
}

/** The instance of a message: what its row holds when the message comes. */
export function rowIn(message: WireMessage): Record<string, unknown> {
  const args = argsOf(message);
  const [object] = objectsIn(args['instance'] ?? args['instances']);
  if (object === undefined) throw new Error(`no instance in ${String(message['method'])}`);
  return structuredClone(object['nova_object.data']) as Record<string, unknown>;
}
