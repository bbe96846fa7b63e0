/** The words of the control socket: a line of JSON each, in UTF-8, of bounded length. */
import { z } from 'zod';
import { AgentError } from '../lib/errors.js';

export const maxRequestBytes = 16 * 1024;
export const maxAnswerBytes = 64 * 1024;

/** Below state_path. Shorter than the name of the socket that claims state_path (host/claim-folder.ts): where that fits, this does. */
export const socketPathOf = (statePath: string): string => `${statePath}/control/agent.sock`;

/** The one line that a client says. What `args` are is the request's own business. */
export const requestLine = z.strictObject({ request: z.string().max(64), args: z.unknown() });

/** What the agent says: what it does now, any number of times, and at last either of the others. */
export const answerLine = z.union([
  z.object({ progress: z.string() }),
  z.object({ result: z.unknown() }).refine((line) => 'result' in line),
  z.object({ error: z.object({ code: z.string(), message: z.string(), retry: z.enum(['no', 'later']) }) }),
]);
export type AnswerLine = z.infer<typeof answerLine>;

/** One line to send. */
export const renderLine = (value: unknown): Uint8Array => Buffer.from(`${JSON.stringify(value)}\n`);

const malformed = (what: string): AgentError => new AgentError('control-malformed', `what came over the control socket ${what}`);

/** AgentError `control-malformed` unless it is JSON of the given form. */
export function parseLine<T>(schema: z.ZodType<T>, line: string): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw malformed('is not JSON');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw malformed('has another form than it should');
  return parsed.data;
}

export interface LineReader {
  /** The next line; null when the other side has ended, even in the middle of one. AgentError `control-malformed`: longer than it may be, or not UTF-8. */
  next(): Promise<string | null>;
}

/** Takes no more than one line and one chunk into memory. Never ends the input itself: an answer may still be wanted by the other side. */
export function createLineReader(input: AsyncIterable<Uint8Array>, maxBytes: number): LineReader {
  const chunks = input[Symbol.asyncIterator]();
  let rest = Buffer.alloc(0);
  return {
    async next() {
      for (;;) {
        const end = rest.indexOf(0x0a);
        if ((end === -1 ? rest.length : end) > maxBytes) throw malformed(`is longer than ${maxBytes} bytes`);
        if (end !== -1) {
          const line = rest.subarray(0, end);
          rest = rest.subarray(end + 1);
          return decode(line);
        }
        const chunk = await chunks.next();
        if (chunk.done === true) return null;
        rest = Buffer.concat([rest, chunk.value]);
      }
    },
  };
}

function decode(line: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(line);
  } catch {
    throw malformed('is not UTF-8');
  }
}
