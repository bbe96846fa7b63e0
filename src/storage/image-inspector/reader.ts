/** Reading an image at places, with bounds: no header field decides how much memory we take. */
import { assert } from '../../lib/assert.js';
import { AgentError } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';

/** The largest piece that an inspector reads at once. */
export const MAX_PIECE_BYTES = 1024 * 1024;

export interface ImageReader {
  readonly sizeBytes: bigint;
  /** Octets from `offset`; fewer than `length` at the end of the image, none past it. */
  read(offset: bigint, length: number): Promise<Buffer>;
}

/** Reads from a file of the host that does not change meanwhile. */
export async function openImageFile(files: Host['files'], path: string): Promise<ImageReader> {
  const sizeBytes = await files.sizeBytes(path);
  if (sizeBytes === undefined) throw new AgentError('image-missing', 'the downloaded image is gone', { retry: 'later', details: { path } });
  return {
    sizeBytes,
    async read(offset, length) {
      assert(length > 0 && length <= MAX_PIECE_BYTES && offset >= 0n, 'an inspector reads small pieces');
      const end = offset + BigInt(length) < sizeBytes ? offset + BigInt(length) : sizeBytes;
      const chunks: Uint8Array[] = [];
      for await (const chunk of files.openSource(path, { start: offset, end })) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
  };
}

/** Reads from memory; for tests and for headers that were kept. */
export function memoryReader(content: Uint8Array): ImageReader {
  return {
    sizeBytes: BigInt(content.length),
    read: async (offset, length) => Buffer.from(content.subarray(Number(offset), Number(offset) + length)),
  };
}

/** Ends the inspection. `reason` is shown to the user who owns the image; it never holds text of the image. */
export function refuse(reason: string): never {
  throw new AgentError('image-unacceptable', reason);
}

/** Refuses with `reason` unless `condition` holds. */
export function require(condition: boolean, reason: string): asserts condition {
  if (!condition) refuse(reason);
}

/** Exactly `length` octets at `offset`, or the image is refused as cut short. */
export async function readExactly(reader: ImageReader, offset: bigint, length: number, what: string): Promise<Buffer> {
  const piece = offset > reader.sizeBytes ? Buffer.alloc(0) : await reader.read(offset, length);
  require(piece.length === length, `the image ends inside its ${what}`);
  return piece;
}
