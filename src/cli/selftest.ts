/** `nova-bhyve selftest save-restore`: tries whether this host can save and restore guests; until it has passed, suspend is refused. */
import type { SelfTestReport } from '../virt/index.js';
import { renderFields, renderJson, renderTable, type Output } from './output.js';

/** What the command needs of a node; it starts guests, unlike the others. */
export type RunSelfTest = (note: (text: string) => void, signal: AbortSignal) => Promise<SelfTestReport>;

/** Resolves with the exit code: 0 if guests come back here, 1 if not. */
export async function selfTestSaveRestore(run: RunSelfTest, options: { json: boolean }, output: Output): Promise<number> {
  const controller = new AbortController();
  const stop = (): void => controller.abort(new Error('interrupted'));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
  try {
    const { result, trials } = await run((text) => { output.err(`trying: ${text}\n`); }, controller.signal);
    if (options.json) output.out(renderJson({ ...result, trials }));
    else output.out(`${renderTable(['trial', 'outcome', ''], trials.map(({ title, outcome, reason }) => [title, outcome, reason]))}\n${renderFields(inWords(result))}`);
    return result.isGood ? 0 : 1;
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.removeListener(signal, stop);
  }
}

const inWords = ({ isGood, reason, family, models }: SelfTestReport['result']): [string, string][] => [
  ['suspend and resume', isGood ? 'work on this host' : `do not work on this host: ${reason}`],
  ...(isGood ? [['devices that come back', models.join(', ')], ['two of one model', family === 'kern-structs' ? 'come back' : 'would be lost: such servers are refused']] as [string, string][] : []),
];
