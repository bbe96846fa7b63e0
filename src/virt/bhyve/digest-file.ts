import { createHash } from 'node:crypto';
import type { Host } from '../../host/index.js';

/** SHA-256 in hex and size of a file. Stops with the signal's reason; AgentError `file-failed` for a file that cannot be read. */
export async function digestFile(files: Pick<Host['files'], 'openSource'>, path: string, signal?: AbortSignal): Promise<{ readonly sha256: string; readonly bytes: bigint }> {
  const hash = createHash('sha256');
  let bytes = 0n;
  for await (const chunk of files.openSource(path)) {
    signal?.throwIfAborted();
    hash.update(chunk);
    bytes += BigInt(chunk.length);
  }
  return { sha256: hash.digest('hex'), bytes };
}
