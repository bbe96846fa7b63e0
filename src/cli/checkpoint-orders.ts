/** `nova-bhyve checkpoint create`, `restore`, `delete` and `flatten`: what the running agent does for its operator. What it does now goes to stderr, what came of it to stdout. */
import { randomUUID } from 'node:crypto';
import { askAgent, controlRequests, type CreateAnswer, type DeleteAnswer, type FlattenAnswer, type RestoreAnswer } from '../control/index.js';
import { parseCheckpointId, type CheckpointId, type InstanceUuid } from '../lib/ids.js';
import { oneCheckpoint } from './checkpoint-tree.js';
import type { NodeView } from './node-view.js';
import { renderJson, type Output } from './output.js';
import { oneInstance } from './summarize.js';

interface OrderOptions {
  /** The instance: a uuid, or as much of its beginning as is clear. */
  readonly wanted: string;
  readonly json: boolean;
  readonly statePath: string;
}

interface ToCheckpoint extends OrderOptions {
  /** The checkpoint: its id, as much of the beginning of that as is clear, or its name. */
  readonly id: string;
}

const ask = async (statePath: string, request: string, args: unknown, output: Output): Promise<unknown> =>
  askAgent({ statePath, request, args, progress: (text) => output.err(`${text}\n`) });

async function targetOf(view: NodeView, { wanted, id }: ToCheckpoint, output: Output): Promise<{ instance: InstanceUuid; checkpoint: CheckpointId } | null> {
  const instance = await oneInstance(view, wanted, output);
  const node = instance === null ? null : await oneCheckpoint(view, instance, id, output);
  return instance === null || node === null ? null : { instance, checkpoint: node.id };
}

const named = ({ checkpoint, name }: { checkpoint: string; name: string | null }): string => (name === null ? checkpoint : `${checkpoint} (${name})`);

/** Resolves with the exit code: 1 if there is no such instance. AgentError of the agent, or `agent-not-running`. */
export async function createCheckpoint(view: NodeView, options: OrderOptions & { name: string | null; kind: 'full' | 'disk' | 'external' | 'internal' }, output: Output): Promise<number> {
  const { wanted, name, kind, json, statePath } = options;
  const [content, chainKind] = kind === 'external' || kind === 'internal' ? (['disk', kind] as const) : ([kind, null] as const);
  const instance = await oneInstance(view, wanted, output);
  if (instance === null) return 1;
  const made = (await ask(statePath, controlRequests.create, { instance, checkpoint: parseCheckpointId(randomUUID()), content, chainKind, name }, output)) as CreateAnswer;
  if (json) output.out(renderJson({ instance, ...made }));
  else {
    const what = made.content === 'full' ? 'with memory' : made.guest === 'off' ? 'of the disks; the guest was off' : 'of the disks, as after a power cut';
    output.out(`Checkpoint ${named(made)}: ${what}${made.stopMs === null ? '' : `; the guest stood still for ${(made.stopMs / 1000).toFixed(1)} s`}.\n`);
  }
  return 0;
}

/** Resolves with the exit code, as above. */
export async function restoreCheckpoint(view: NodeView, options: ToCheckpoint & { content: 'full' | 'disk' }, output: Output): Promise<number> {
  const target = await targetOf(view, options, output);
  if (target === null) return 1;
  const done = (await ask(options.statePath, controlRequests.restore, { ...target, content: options.content }, output)) as RestoreAnswer;
  const guest = !done.isRunning ? 'the server is stopped' : done.content === 'full' ? 'the guest goes on from its memory' : 'the guest was started';
  output.out(options.json ? renderJson({ instance: target.instance, ...done }) : `Back at checkpoint ${named(done)}: ${guest}.\n`);
  return 0;
}

/** Resolves with the exit code, as above. */
export async function deleteCheckpoint(view: NodeView, options: ToCheckpoint & { isForced: boolean }, output: Output): Promise<number> {
  const target = await targetOf(view, options, output);
  if (target === null) return 1;
  const gone = (await ask(options.statePath, controlRequests.remove, { ...target, isForced: options.isForced }, output)) as DeleteAnswer;
  output.out(options.json ? renderJson({ instance: target.instance, ...gone }) : `Checkpoint ${gone.checkpoint} is deleted.\n`);
  return 0;
}

/** Resolves with the exit code, as above. */
export async function flattenDisks(view: NodeView, { wanted, json, statePath }: OrderOptions, output: Output): Promise<number> {
  const instance = await oneInstance(view, wanted, output);
  if (instance === null) return 1;
  const done = (await ask(statePath, controlRequests.flatten, { instance }, output)) as FlattenAnswer;
  output.out(json ? renderJson(done) : `The disks of ${done.instance} rest on their image alone.\n`);
  return 0;
}
