/**
 * Keeps what bhyve itself prints below a limit; console logs are kept small by those who write them (supervisor-script.ts). bhyve holds its log open
 * in append mode, so the file is copied and cut, not renamed. What is written between copy and cut is lost.
 */
import { codeOf } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import type { GuestFiles } from './guest-files.js';

/** Each log keeps its previous text in `bhyve.log.1`; together at most twice the limit plus what came since the last trim. */
export async function trimLogs(host: Host, files: GuestFiles, log: Logger, maxBytes: number): Promise<void> {
  for (const instance of await files.list()) {
    const path = files.paths(instance).bhyveLog;
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
