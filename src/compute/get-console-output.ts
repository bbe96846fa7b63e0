import { z } from 'zod';
import { parseInstanceUuid } from '../lib/ids.js';
import { novaFaults, refuse } from '../lib/nova-faults.js';
import { instanceArgument, type InstanceMethod } from './operation.js';
import { questionWrappers } from './questions.js';

const args = z.looseObject({ instance: instanceArgument, tail_length: z.union([z.number(), z.string()]).nullish() });
type Args = z.infer<typeof args>;

/** At most this many lines, whatever was asked for: the answer is one message. */
const mostLines = 10_000;

/** The last lines of the guest's first serial port. */
export const getConsoleOutput: InstanceMethod<Args> = {
  kind: 'instance',
  rpc: 'get_console_output',
  args,
  wrappers: questionWrappers,
  gate: null,
  isJournalled: false,
  async run({ args: { instance, tail_length }, deps }) {
    const wanted = tail_length === null || tail_length === undefined ? null : Number(tail_length);
    if (wanted !== null && !Number.isInteger(wanted)) throw refuse(novaFaults.invalidInput('tail_length is not a whole number'));
    const lines = wanted === null || wanted < 0 ? mostLines : Math.min(wanted, mostLines);
    const log = await deps.driver.consoleLog(parseInstanceUuid(instance.get('uuid')), lines);
    if (log === undefined) throw refuse(novaFaults.consoleNotAvailable());
    return log;
  },
};
