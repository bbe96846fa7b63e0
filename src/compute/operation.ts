/**
 * How an RPC method is described, and how it is run: parse the arguments, journal before the acknowledgement, take the gate, run the
 * body inside Nova's wrappers, end the journal entry. Each method is one file that exports one definition.
 *
 *   message ─▶ accept (journal, fsync) ─▶ ack ─▶ gate ─▶ begin ─▶ wrapped body ─▶ end
 */
import { createHash, randomUUID } from 'node:crypto';
import { z } from 'zod';
import { AgentError } from '../lib/errors.js';
import { isUuid, parseInstanceUuid, parseOperationId, type InstanceUuid, type OperationId } from '../lib/ids.js';
import { novaFaults } from '../lib/nova-faults.js';
import type { Logger } from '../observe/index.js';
import type { GateKind } from '../instances/index.js';
import { parseArgument, type NovaObjectOf } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { IncomingMessage, RpcMethod } from '../rpc/index.js';
import type { ComputeDeps } from './deps.js';
import { isInstanceGone, isInterrupted } from './error-text.js';
import { eventsOf } from './notifications/events.js';
import { notified } from './notifications/notifications.js';
import { wrapped, type Wrappers } from './wrappers.js';

export interface Operation<Args> {
  readonly id: OperationId;
  readonly args: Args;
  readonly context: RequestContext;
  readonly deps: ComputeDeps;
  readonly log: Logger;
  /** Fires when the work should stop: the instance is being deleted, or the agent stops. */
  readonly signal: AbortSignal;
  /** The agent was restarted in the middle of this operation: steps may be half done already. */
  readonly isResumed: boolean;
  /** The arguments as they came, for passing them on. */
  readonly wireArgs: Readonly<Record<string, unknown>>;
}

/** Whether a method does its work here, for people; `reason` of a method that works names what it does not do. */
export type Availability =
  | { readonly status: 'works'; readonly reason?: string }
  | { readonly status: 'refused' | 'needs-host-feature'; readonly reason: string };

interface Common<Args> {
  readonly rpc: string;
  readonly args: z.ZodType<Args>;
  /** Absent: works. */
  readonly availability?: Availability;
}

/** A method that works on one instance, inside the wrappers and behind the gate. */
export interface InstanceMethod<Args extends { instance: NovaObjectOf<'Instance'> }> extends Common<Args> {
  readonly kind: 'instance';
  readonly wrappers: Wrappers;
  /** Null: runs at once beside others (questions). */
  readonly gate: GateKind | null;
  readonly isJournalled: boolean;
  /**
   * Tasks in which an operation that a restart interrupted is run again; in any other the row says that it is over, or that
   * somebody else goes on. Absent: always.
   */
  readonly resumeTasks?: readonly string[];
  run(operation: Operation<Args>): Promise<unknown>;
}

/** A question or an instruction about the host. */
export interface HostMethod<Args> extends Common<Args> {
  readonly kind: 'host';
  run(operation: Operation<Args>): Promise<unknown>;
}

/** Schema of an argument that is a Nova object. */
export const instanceArgument = z.unknown().transform((value) => parseArgument('Instance', value));

/** Text, numbers … pass; anything that we do not look at. */
export const anything = z.unknown();

export const operationIdOf = (messageId: string): OperationId => {
  const hex = /^[0-9a-f]{32}$/.test(messageId) ? messageId : createHash('sha256').update(messageId).digest('hex').slice(0, 32);
  return parseOperationId(`${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`);
};

/** The uuid inside an object on the wire, without parsing the rest. */
function instanceUuidOf(args: Readonly<Record<string, unknown>>): InstanceUuid | null {
  const object = args['instance'];
  if (typeof object !== 'object' || object === null) return null;
  const data = (object as Record<string, unknown>)['nova_object.data'];
  const uuid = typeof data === 'object' && data !== null ? (data as Record<string, unknown>)['uuid'] : undefined;
  return isUuid(uuid) ? parseInstanceUuid(uuid) : null;
}

function parseArgs<Args>(method: Common<Args>, message: IncomingMessage): Args {
  const parsed = method.args.safeParse(message.args);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ');
  throw new AgentError('bad-arguments', `${method.rpc}: bad or missing argument: ${where}`, {
    wire: novaFaults.typeError(`${method.rpc}() got a bad or missing argument: ${where}`),
  });
}

/** How the RPC server sees a method about the host. */
export function hostMethod<Args>(deps: ComputeDeps, method: HostMethod<Args>): RpcMethod {
  return {
    rpc: method.rpc,
    async handle(message) {
      try {
        return await method.run({
          id: operationIdOf(message.messageId), args: parseArgs(method, message), context: message.context, deps,
          log: deps.log.child({ rpc: method.rpc, req: message.context.requestId }), signal: new AbortController().signal,
          isResumed: false, wireArgs: message.args,
        });
      } catch (error) {
        deps.notifications.exception({ rpc: method.rpc, context: message.context, args: message.args }, error);
        throw error;
      }
    },
  };
}

/** How the RPC server sees a method about an instance. */
export function instanceMethod<Args extends { instance: NovaObjectOf<'Instance'> }>(deps: ComputeDeps, method: InstanceMethod<Args>): RpcMethod {
  const handle = (message: IncomingMessage): Promise<unknown> => handleInstanceMessage(deps, method, message);
  if (!method.isJournalled) return { rpc: method.rpc, handle };
  return {
    rpc: method.rpc,
    accept: (message) =>
      deps.journal.accept({
        id: operationIdOf(message.messageId), messageId: message.messageId, rpc: method.rpc, instance: instanceUuidOf(message.args),
        requestId: message.context.requestId, payload: message.wire,
      }),
    handle,
  };
}

async function handleInstanceMessage<Args extends { instance: NovaObjectOf<'Instance'> }>(
  deps: ComputeDeps, method: InstanceMethod<Args>, message: IncomingMessage,
): Promise<unknown> {
  const id = operationIdOf(message.messageId);
  let args: Args;
  try {
    args = parseArgs(method, message);
  } catch (error) {
    if (method.isJournalled) await deps.journal.end(id, 'refused');
    throw error;
  }
  const request = { id, args, context: message.context, isResumed: deps.resumedOperations.has(id), wireArgs: message.args };
  if (method.gate === null) return perform(deps, method, request, new AbortController().signal);
  let result: unknown = null;
  const outcome = await deps.gate.run(parseInstanceUuid(args.instance.get('uuid')), method.gate, async (signal) => {
    result = await perform(deps, method, request, signal);
  });
  if (outcome === 'ignored' && method.isJournalled) await deps.journal.end(id, 'ignored');
  // A request that was refused because the agent stops is still in the journal: it is run when the agent is back.
  return result;
}

/**
 * Runs a method on our own behalf (power sync, recovery), journalled, for a caller that holds the gate already. Nothing is run again
 * after a crash: what called for it is level-triggered and will call again.
 */
export async function performOwn<Args extends { instance: NovaObjectOf<'Instance'> }>(
  deps: ComputeDeps, method: InstanceMethod<Args>, context: RequestContext, args: Args, signal: AbortSignal,
): Promise<void> {
  const messageId = randomUUID().replaceAll('-', '');
  const id = operationIdOf(messageId);
  const instance = parseInstanceUuid(args.instance.get('uuid'));
  await deps.journal.accept({ id, messageId, rpc: method.rpc, instance, requestId: context.requestId, payload: null });
  await perform(deps, method, { id, args, context, isResumed: false, wireArgs: {} }, signal);
}

/** Reads the row again: the message is as old as the crash. */
async function isStillWanted<Args extends { instance: NovaObjectOf<'Instance'> }>(
  { context, deps }: Operation<Args>, method: InstanceMethod<Args>, instance: NovaObjectOf<'Instance'>,
): Promise<boolean> {
  try {
    await deps.conductor.instances.refresh(context, instance);
  } catch (error) {
    if (isInstanceGone(error)) return false;
    throw error;
  }
  const task = instance.get('task_state');
  return method.resumeTasks === undefined || (task !== null && method.resumeTasks.includes(task));
}

/** Operations that change what the scheduler counts by state. */
const countedGates: ReadonlySet<GateKind | null> = new Set(['build', 'start', 'stop', 'reboot', 'rebuild', 'rescue', 'resize', 'shelve', 'unshelve']);

type Request<Args> = Pick<Operation<Args>, 'id' | 'args' | 'context' | 'isResumed' | 'wireArgs'>;

async function perform<Args extends { instance: NovaObjectOf<'Instance'> }>(
  deps: ComputeDeps, method: InstanceMethod<Args>, request: Request<Args>, signal: AbortSignal,
): Promise<unknown> {
  const { instance } = request.args;
  const log = deps.log.child({ op: request.id, rpc: method.rpc, req: request.context.requestId, instance: instance.get('uuid') });
  const operation: Operation<Args> = { ...request, deps, log, signal };
  const startedMs = deps.clock.monotonicMs();
  const finish = async (outcome: 'succeeded' | 'failed'): Promise<void> => {
    if (method.isJournalled) await deps.journal.end(request.id, outcome);
    deps.metrics.observe('agent_operation_seconds', (deps.clock.monotonicMs() - startedMs) / 1000, { rpc: method.rpc, outcome });
  };
  if (request.isResumed && !(await isStillWanted(operation, method, instance))) {
    log.info({ outcome: 'ignored' }, 'interrupted operation is over already');
    await deps.journal.end(request.id, 'ignored');
    return null;
  }
  if (method.isJournalled) {
    await deps.journal.begin(request.id);
    log.info({ isResumed: request.isResumed }, 'operation began');
  }
  try {
    const subject = { rpc: method.rpc, context: request.context, args: request.wireArgs };
    const result = await wrapped(deps, method.wrappers, request.context, instance, () =>
      notified(deps.notifications, subject, instance, eventsOf(method.rpc), () => method.run(operation)));
    if (countedGates.has(method.gate)) await deps.tracker.update(request.context, instance);
    await finish('succeeded');
    if (method.isJournalled) log.info({ ms: Math.round(deps.clock.monotonicMs() - startedMs) }, 'operation ended');
    return result;
  } catch (error) {
    if (isInterrupted(error)) throw error; // stays open; finished after the restart
    deps.notifications.exception({ rpc: method.rpc, context: request.context, args: request.wireArgs }, error);
    await finish('failed');
    throw error;
  }
}
