/**
 * One import per image, however many want it. The work belongs to all who wait for it: each has its own size limit and its own
 * signal, and it is abandoned only when the last of them has left.
 *
 *   idle ─ensure─► looking ─┬─ cached ───────────────────────────────────────────┐
 *                           └─ downloading ─► inspected ─► converting ─► @base ──┴─► settled
 *                  (a waiter leaves: its signal, or the disk is larger than it may be; the last one to leave aborts the work)
 */
import { Semaphore } from 'async-mutex';
import type { Clock } from '../lib/clock.js';
import { AgentError } from '../lib/errors.js';
import type { ImageId } from '../lib/ids.js';
import type { KeyedMutex } from '../lib/keyed-mutex.js';
import type { Host } from '../host/index.js';
import type { Logger, Metrics } from '../observe/index.js';
import type { GlanceImage } from '../openstack/index.js';
import { askConverter } from './converter.js';
import { downloadImage, throwIfAborted } from './download-image.js';
import { assertFits, imageTooLarge, withImageFault } from './image-faults.js';
import { inspectImage, type Inspection } from './image-inspector/inspect.js';
import { openImageFile } from './image-inspector/reader.js';
import type { ImageStore } from './image-store.js';
import type { CachedImage, NodeStorage, OpenImage } from './types.js';

export interface ImageCacheDeps {
  readonly host: Host;
  readonly store: ImageStore;
  /** Held while an image is made, cloned or removed. */
  readonly locks: KeyedMutex<ImageId>;
  /** Folder for downloads; ours alone. */
  readonly scratch: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly maxDownloadBytes: bigint;
  /** Download and conversion together. */
  readonly importTimeoutMs: number;
  readonly maxConversions: number;
}

interface Waiter {
  readonly maxBytes: bigint | null;
  leave(error: Error): void;
}

interface Flight {
  readonly controller: AbortController;
  readonly waiters: Set<Waiter>;
  virtualBytes: bigint | undefined;
  done: Promise<CachedImage>;
}

export type ImageCache = Pick<NodeStorage, 'ensureImage'> & {
  /** Whether somebody waits for the image just now. */
  isWanted(id: ImageId): boolean;
};

export function createImageCache(deps: ImageCacheDeps): ImageCache {
  const flights = new Map<ImageId, Flight>();
  const conversions = new Semaphore(deps.maxConversions);

  const launch = (image: GlanceImage, open: OpenImage): Flight => {
    const flight: Flight = { controller: new AbortController(), waiters: new Set(), virtualBytes: undefined, done: undefined as never };
    const timer = deps.clock.after(deps.importTimeoutMs, () =>
      flight.controller.abort(new AgentError('timeout', `an image was not there after ${deps.importTimeoutMs} ms`, { retry: 'later', details: { image: image.id } })));
    flight.done = deps.locks.run(image.id, () => bring(deps, conversions, flight, image, open)).finally(() => {
      timer.cancel();
      if (flights.get(image.id) === flight) flights.delete(image.id);
    });
    flight.done.catch(() => undefined); // every waiter gets it; there may be none left
    flights.set(image.id, flight);
    return flight;
  };

  const current = (id: ImageId): Flight | undefined => {
    const flight = flights.get(id);
    return flight?.controller.signal.aborted === true ? undefined : flight; // the next one queues behind its end
  };

  return {
    isWanted: (id) => flights.has(id),
    async ensureImage(image, open, { maxBytes, signal }) {
      throwIfAborted(signal);
      if (isStoredAsIs(image) && image.sizeBytes !== null) assertFits(maxBytes, image.sizeBytes);
      return join(current(image.id) ?? launch(image, open), maxBytes, signal);
    },
  };
}

const isStoredAsIs = (image: GlanceImage): boolean => image.diskFormat === 'raw' || image.diskFormat === 'iso' || image.diskFormat === 'gpt';

/** Waits for a flight under one's own conditions. */
function join(flight: Flight, maxBytes: bigint | null, signal: AbortSignal): Promise<CachedImage> {
  return new Promise((resolve, reject) => {
    const waiter: Waiter = { maxBytes, leave: (error) => settle(() => reject(error)) };
    const onAbort = (): void => {
      waiter.leave(signal.reason instanceof Error ? signal.reason : new AgentError('aborted', 'the work was cancelled'));
    };
    const settle = (report: () => void): void => {
      if (!flight.waiters.delete(waiter)) return;
      signal.removeEventListener('abort', onAbort);
      if (flight.waiters.size === 0) flight.controller.abort(new AgentError('image-unwanted', 'nobody waits for the image any more'));
      report();
    };
    flight.waiters.add(waiter);
    signal.addEventListener('abort', onAbort, { once: true });
    flight.done.then((image) => settle(() => resolve(image)), (error: Error) => settle(() => reject(error)));
    if (flight.virtualBytes !== undefined && isTooLarge(waiter, flight.virtualBytes)) waiter.leave(imageTooLarge(maxBytes!, flight.virtualBytes));
  });
}

const isTooLarge = (waiter: Waiter, virtualBytes: bigint): boolean => waiter.maxBytes !== null && virtualBytes > waiter.maxBytes;

/** Tells the size to all who wait; goes on only if somebody still wants it. */
function announce(flight: Flight, virtualBytes: bigint): void {
  flight.virtualBytes = virtualBytes;
  for (const waiter of [...flight.waiters]) if (isTooLarge(waiter, virtualBytes)) waiter.leave(imageTooLarge(waiter.maxBytes!, virtualBytes));
  throwIfAborted(flight.controller.signal);
}

async function bring(deps: ImageCacheDeps, conversions: Semaphore, flight: Flight, image: GlanceImage, open: OpenImage): Promise<CachedImage> {
  const { signal } = flight.controller;
  throwIfAborted(signal);
  const cached = await deps.store.find(image.id);
  deps.metrics.count('agent_image_requests_total', { outcome: cached === undefined ? 'miss' : 'hit' });
  if (cached !== undefined) {
    announce(flight, cached.virtualBytes);
    await deps.store.touch(cached);
    return { id: cached.id, virtualBytes: cached.virtualBytes, detectedFormat: cached.detectedFormat };
  }
  const path = `${deps.scratch}/${image.id}.part`;
  try {
    return await fetchAndImport(deps, conversions, flight, image, open, path);
  } catch (error) {
    throw withImageFault(image.id, error);
  } finally {
    await deps.host.files.remove(path, deps.scratch);
  }
}

async function fetchAndImport(deps: ImageCacheDeps, conversions: Semaphore, flight: Flight, image: GlanceImage, open: OpenImage, path: string): Promise<CachedImage> {
  const { signal } = flight.controller;
  const started = deps.clock.monotonicMs();
  const bytes = await downloadImage(deps.host.files, image, open, path, { maxBytes: deps.maxDownloadBytes, signal });
  const downloadMs = Math.round(deps.clock.monotonicMs() - started);
  const inspection = await inspectImage(await openImageFile(deps.host.files, path), image.diskFormat);
  announce(flight, inspection.virtualBytes);
  const stored = await conversions.runExclusive(async () => {
    throwIfAborted(signal);
    const virtualBytes = await finalSize(deps.host, path, inspection, signal);
    if (virtualBytes !== inspection.virtualBytes) announce(flight, virtualBytes);
    return deps.store.import(image.id, path, inspection, virtualBytes, signal);
  });
  const ms = Math.round(deps.clock.monotonicMs() - started);
  deps.metrics.observe('agent_image_import_seconds', ms / 1000, { format: inspection.format });
  deps.log.info({ image: image.id, format: inspection.format, bytes: Number(bytes), virtualBytes: Number(stored.virtualBytes), downloadMs, ms }, 'image cached');
  return stored;
}

async function finalSize(host: Host, path: string, inspection: Inspection, signal: AbortSignal): Promise<bigint> {
  return inspection.converterFormat === undefined ? inspection.virtualBytes : askConverter(host, path, inspection, signal);
}
