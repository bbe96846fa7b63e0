/** What can be asked for over the control socket. */
import type { z } from 'zod';
import {
  carryOut, createCheckpointForOperator, createOrder, deleteCheckpointForOperator, deleteOrder, flattenDisksForOperator, flattenOrder, restoreCheckpointForOperator, restoreOrder, type ComputeDeps,
} from '../compute/index.js';
import { AgentError } from '../lib/errors.js';
import type { ControlRequest } from './serve-control.js';

/** What a command is told of a node that was made. */
export interface CreateAnswer {
  readonly checkpoint: string;
  readonly name: string | null;
  readonly content: 'full' | 'disk';
  readonly guest: 'running' | 'off';
  /** How it lies in qcow2 disks; null: the server has volumes. */
  readonly chainKind: 'external' | 'internal' | null;
  /** How long the guest stood still, in milliseconds; null: not at all. */
  readonly stopMs: number | null;
}

/** What a command is told of a server that went to a node. */
export interface RestoreAnswer {
  readonly checkpoint: string;
  readonly name: string | null;
  /** What the server was brought to: with memory, or its disks alone. */
  readonly content: 'full' | 'disk';
  /** Whether the guest runs now. */
  readonly isRunning: boolean;
}

export interface DeleteAnswer {
  readonly checkpoint: string;
}

export interface FlattenAnswer {
  readonly instance: string;
}

/** The names of the requests. */
export const controlRequests = { create: 'create-checkpoint', restore: 'restore-checkpoint', remove: 'delete-checkpoint', flatten: 'flatten-disks' } as const;

function parse<T>(schema: z.ZodType<T>, args: unknown): T {
  const parsed = schema.safeParse(args);
  if (parsed.success) return parsed.data;
  throw new AgentError('control-bad-request', parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '));
}

export const requestsOf = (deps: ComputeDeps): ReadonlyMap<string, ControlRequest> => new Map<string, ControlRequest>([
  [controlRequests.create, async (args, progress): Promise<CreateAnswer> => {
    const { node, content, stopMs } = await carryOut(deps, createCheckpointForOperator, parse(createOrder, args), progress);
    return { checkpoint: node.id, name: node.name, content, guest: node.guest, chainKind: node.kind, stopMs: stopMs === null ? null : Math.round(stopMs) };
  }],
  [controlRequests.restore, async (args, progress): Promise<RestoreAnswer> => {
    const { node, content, isRunning } = await carryOut(deps, restoreCheckpointForOperator, parse(restoreOrder, args), progress);
    return { checkpoint: node.id, name: node.name, content, isRunning };
  }],
  [controlRequests.remove, async (args, progress): Promise<DeleteAnswer> => {
    const order = parse(deleteOrder, args);
    await carryOut(deps, deleteCheckpointForOperator, order, progress);
    return { checkpoint: order.checkpoint };
  }],
  [controlRequests.flatten, async (args, progress): Promise<FlattenAnswer> => {
    const order = parse(flattenOrder, args);
    await carryOut(deps, flattenDisksForOperator, order, progress);
    return { instance: order.instance };
  }],
]);
