/**
 * Keeps logs of guests below a limit. Their writers (a console reader, bhyve) hold them open in append mode, so the file is copied and cut,
 * not renamed. What is written between copy and cut is lost: console text, not data.
 */
import { codeOf } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import type { GuestFiles } from './guest-files.js';

export interface TrimOptions {
  readonly consoleLogMaxBytes: number;
  readonly bhyveLogMaxBytes: number;
}

/** Each log keeps its previous text in `LOG.1`; together at most twice the limit plus what came since the last trim. */
export async function trimLogs(host: Host, files: GuestFiles, log: Logger, options: TrimOptions): Promise<void> {
  for (const instance of await files.list()) {
    const { consoleLog, bhyveLog } = files.paths(instance);
    for (const [path, maxBytes] of [[consoleLog, options.consoleLogMaxBytes], [bhyveLog, options.bhyveLogMaxBytes]] as const) {
      try {
        const bytes = await host.files.sizeBytes(path);
        if (bytes === undefined || bytes <= BigInt(maxBytes)) continue;
        const tail = await host.files.readTail(path, maxBytes);
        if (tail !== undefined) await host.files.writeAtomic(`${path}.1`, tail, 0o600);
        await host.files.truncate(path, 0);
        log.debug({ instance, path, bytes: Number(bytes) }, 'log trimmed');
      } catch (err) {
        // The guest may be being deleted; the next round looks again.
        log.warn({ err, code: codeOf(err), instance }, 'could not trim a log');
      }
    }
  }
}
