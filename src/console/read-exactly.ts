/** Reading a protocol whose messages have a length that is known before. */
import type { Readable } from 'node:stream';
import { AgentError } from '../lib/errors.js';

const changes = ['readable', 'end', 'close', 'error'] as const;

/**
 * The next `octets` of a paused stream; what comes after them stays in it, so that something else can go on reading there. AgentError `console-refused` if it ends before.
 *
 * One set of listeners for the whole wait: a new listener for 'readable' is called at once while there is something to read, and a loop that waits for half a message
 * with a new one each time would turn for ever and let nothing else run.
 */
export function readExactly(stream: Readable, octets: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const look = (): boolean => {
      const chunk = stream.read(octets) as Buffer | null;
      const isOver = chunk !== null || stream.readableEnded || stream.destroyed;
      if (chunk?.length === octets) resolve(chunk);
      else if (isOver) reject(new AgentError('console-refused', 'the other side hung up'));
      return isOver;
    };
    const onChange = (): void => {
      if (look()) for (const change of changes) stream.off(change, onChange);
    };
    if (!look()) for (const change of changes) stream.on(change, onChange);
  });
}
