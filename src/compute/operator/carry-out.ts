/**
 * How what the operator of the host asks for is done to a server of Nova's: like a request of Nova's, but without a task state, for there is no request. Nova's own
 * requests wait at the gate meanwhile; what begins while they wait is refused, for the task is theirs.
 *
 *   look at the row ─▶ gate ─▶ look again ─▶ journal ─▶ steps ─▶ power and vm state as they are now
 *
 * Killed in the middle, it is finished or given up at the next start (finish.ts), before anybody else gets the server.
 */
import { randomUUID } from 'node:crypto';
import { AgentError } from '../../lib/errors.js';
import { parseOperationId, type CheckpointId, type InstanceUuid, type OperationId } from '../../lib/ids.js';
import { shuttingDown, type GateKind } from '../../instances/index.js';
import { runSteps, type Step } from '../../journal/index.js';
import { vmStates, type NovaObjectOf } from '../../objects/index.js';
import type { Logger } from '../../observe/index.js';
import type { RequestContext } from '../../rpc/context.js';
import type { CheckpointNode } from '../../storage/index.js';
import type { ComputeDeps } from '../deps.js';
import { isInstanceGone, isInterrupted } from '../error-text.js';
import { restoreStep, saveStep } from '../machine-steps.js';
import { powerAttributes } from '../power-steps.js';

/** Told in a few words what is done now. */
export type Progress = (text: string) => void;

export interface OperatorWork<Order> {
  readonly id: OperationId;
  readonly deps: ComputeDeps;
  readonly context: RequestContext;
  /** As Nova has it now. */
  readonly instance: NovaObjectOf<'Instance'>;
  readonly order: Order;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly isResumed: boolean;
  readonly progress: Progress;
  readonly run: (steps: readonly Step[]) => Promise<void>;
}

/** What every order says. */
export interface Target {
  readonly instance: InstanceUuid;
  readonly checkpoint?: CheckpointId;
}

/** What an order about one checkpoint says. */
export interface NodeTarget extends Target {
  readonly checkpoint: CheckpointId;
}

export interface OperatorMethod<Order extends Target, Result> {
  /** Its name in journal, logs and metrics. */
  readonly rpc: string;
  readonly gate: GateKind;
  /** Whether the server must be active or stopped. */
  readonly needsSettledServer: boolean;
  run(work: OperatorWork<Order>): Promise<Result>;
}

/** For the operator; nothing was touched. */
export const operatorRefused = (reason: string): AgentError => new AgentError('operator-refused', reason);

const waysOut: Readonly<Record<string, string>> = {
  [vmStates.paused]: 'unpause it first', [vmStates.suspended]: 'resume it first, or reboot it hard, which gives up its memory', [vmStates.rescued]: 'unrescue it first',
  [vmStates.resized]: 'confirm or revert its resize first', [vmStates.shelved]: 'unshelve it first', [vmStates.softDeleted]: 'restore it first',
  [vmStates.error]: 'a hard reboot may bring it out of that',
};

/** The row of the server, if the operator may have something done to it now. AgentError `operator-refused`. */
async function rowFor(deps: ComputeDeps, context: RequestContext, uuid: InstanceUuid, needsSettledServer: boolean): Promise<NovaObjectOf<'Instance'>> {
  const instance = await deps.conductor.instances.byUuid(context, uuid, powerAttributes).catch((error: unknown) => {
    throw isInstanceGone(error) ? operatorRefused(`Nova has no server ${uuid}`) : error;
  });
  const [host, task, state] = [instance.get('host'), instance.get('task_state'), instance.get('vm_state')];
  if (host !== deps.options.host) throw operatorRefused(`Nova says that the server is on ${host === null ? 'no host' : `host ${host}`}, and this is ${deps.options.host}`);
  if (task !== null) throw operatorRefused(`Nova is at work on the server (task ${task}); try again when that is over`);
  if (needsSettledServer && state !== vmStates.active && state !== vmStates.stopped) {
    throw operatorRefused(`the server is ${state ?? 'in no state'}, and this takes one that is active or stopped${waysOut[state ?? ''] === undefined ? '' : `: ${waysOut[state ?? '']}`}`);
  }
  return instance;
}

/** The server's node. AgentError `checkpoint-missing`. */
export async function nodeFor({ deps, order: { instance, checkpoint } }: Pick<OperatorWork<NodeTarget>, 'deps' | 'order'>): Promise<CheckpointNode> {
  const node = (await deps.storage.checkpoints(instance)).find(({ id }) => id === checkpoint);
  if (node === undefined) throw new AgentError('checkpoint-missing', 'this host has no such checkpoint of the server', { details: { instance, checkpoint } });
  return node;
}

/** Resolves when it is done, rejects when it was refused or failed; then the server is as it was, or as the error says. AgentError `shutting-down`: it goes on after the restart, if it began. */
export async function carryOut<Order extends Target, Result>(deps: ComputeDeps, method: OperatorMethod<Order, Result>, order: Order, progress: Progress): Promise<Result> {
  const context = deps.ownContext();
  await rowFor(deps, context, order.instance, method.needsSettledServer); // nobody waits for what is refused anyway
  if (deps.gate.isBusy(order.instance)) progress('waiting until what is under way for the server is over');
  const results: Result[] = [];
  const outcome = await deps.gate.run(order.instance, method.gate, async (signal) => {
    const instance = await rowFor(deps, context, order.instance, method.needsSettledServer);
    const id = parseOperationId(randomUUID());
    await deps.journal.accept({ id, messageId: id, rpc: method.rpc, instance: order.instance, requestId: context.requestId, payload: order });
    await deps.journal.begin(id);
    results.push(await perform(deps, method, { id, context, instance, order, signal, isResumed: false, progress }));
  });
  if (outcome !== 'accepted') throw shuttingDown();
  return results[0]!;
}

type Begun<Order> = Pick<OperatorWork<Order>, 'id' | 'context' | 'instance' | 'order' | 'signal' | 'isResumed' | 'progress'>;

/** Runs what the journal has as begun, and ends its entry unless the agent stops. The caller holds the gate. */
export async function perform<Order extends Target, Result>(deps: ComputeDeps, method: OperatorMethod<Order, Result>, begun: Begun<Order>): Promise<Result> {
  const { id, context, order: { instance, checkpoint }, signal, isResumed, progress } = begun;
  const log = deps.log.child({ op: id, rpc: method.rpc, req: context.requestId, instance, checkpoint });
  const startedMs = deps.clock.monotonicMs();
  const end = async (outcome: 'succeeded' | 'failed'): Promise<number> => {
    const ms = deps.clock.monotonicMs() - startedMs;
    await deps.journal.end(id, outcome);
    deps.metrics.observe('agent_operation_seconds', ms / 1000, { rpc: method.rpc, outcome });
    return Math.round(ms);
  };
  log.info({ isResumed }, 'operation began');
  try {
    const result = await method.run({ ...begun, deps, log, run: (steps) => runSteps(deps.journal, id, steps.map((step) => told(step, progress)), signal) });
    log.info({ ms: await end('succeeded') }, 'operation ended');
    return result;
  } catch (err) {
    if (isInterrupted(err)) throw err; // stays open; finished after the restart
    log.warn({ err }, 'operation for the operator failed');
    await end('failed');
    throw err;
  }
}

const words: Readonly<Record<string, string>> = {
  [saveStep]: 'saving the guest with its memory', 'keep-checkpoint': 'keeping the disks', [restoreStep]: 'letting the guest go on', 'end-guest': 'ending the guest',
  'restore-disks': 'putting the disks in their place', 'start-guest': 'starting the guest', 'flatten-disks': 'copying what the disks have of older files into their own',
};

/** Most steps take no time. */
function told(step: Step, progress: Progress): Step {
  const text = words[step.name];
  return text === undefined ? step : {
    ...step,
    act: async (signal) => {
      progress(text);
      await step.act(signal);
    },
  };
}
