/** Lets octets pass at a limited rate. */
import type { Clock } from './clock.js';

/**
 * The same chunks, at most `bytesPerSecond` on average (0 = as they come); a pause is never longer than a second, so that whoever watches the other
 * end does not take it for a stall.
 */
export async function* paced(source: AsyncIterable<Uint8Array>, bytesPerSecond: number, clock: Pick<Clock, 'monotonicMs' | 'sleep'>, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  const startedMs = clock.monotonicMs();
  let bytes = 0;
  for await (const chunk of source) {
    const parts = bytesPerSecond === 0 ? 1 : Math.ceil(chunk.length / bytesPerSecond);
    const partBytes = Math.ceil(chunk.length / parts);
    for (let offset = 0; offset < chunk.length; offset += partBytes) {
      const part = chunk.subarray(offset, offset + partBytes);
      yield part;
      bytes += part.length;
      if (bytesPerSecond === 0) continue;
      const aheadMs = (bytes / bytesPerSecond) * 1000 - (clock.monotonicMs() - startedMs);
      if (aheadMs > 0) await clock.sleep(Math.min(aheadMs, 1000), signal);
    }
  }
}
