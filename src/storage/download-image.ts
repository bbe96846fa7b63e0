/** Brings an image from Glance into the scratch folder and checks that it is the one that Glance means. */
import { createHash, type Hash } from 'node:crypto';
import { AgentError } from '../lib/errors.js';
import type { Host } from '../host/index.js';
import type { GlanceImage } from '../openstack/index.js';
import type { OpenImage } from './types.js';

/** Hashes that Glance may be configured with (os_hash_algo); others are refused, not skipped. */
const hashes: readonly string[] = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'sha3-224', 'sha3-256', 'sha3-384', 'sha3-512', 'blake2b512', 'blake2s256'];
/** Python's names for what OpenSSL calls otherwise. */
const aliases: Readonly<Record<string, string>> = { blake2b: 'blake2b512', blake2s: 'blake2s256', sha3_224: 'sha3-224', sha3_256: 'sha3-256', sha3_384: 'sha3-384', sha3_512: 'sha3-512' };

interface Expected {
  readonly hash: Hash | undefined;
  readonly digest: string | undefined;
}

/**
 * Writes the octets to `path` (fsynced) and gives their number; nothing stays at `path` after an error.
 * AgentError `image-unacceptable` (longer than announced or than `maxBytes`, wrong hash), `image-incomplete` (shorter; retry
 * later), `image-download-failed`, the errors of `open`, the signal's reason.
 */
export async function downloadImage(files: Host['files'], image: GlanceImage, open: OpenImage, path: string,
  options: { maxBytes: bigint; signal: AbortSignal }): Promise<bigint> {
  const expected = expectedHash(image);
  const limit = image.sizeBytes !== null && image.sizeBytes < options.maxBytes ? image.sizeBytes : options.maxBytes;
  const sink = await files.openSink(path);
  let bytes = 0n;
  try {
    for await (const chunk of await open(options.signal)) {
      throwIfAborted(options.signal);
      bytes += BigInt(chunk.length);
      if (bytes > limit) throw new AgentError('image-unacceptable', limit === image.sizeBytes ? 'the image is longer than Glance says' : 'the image is larger than this host accepts');
      expected.hash?.update(chunk);
      await sink.write(chunk);
    }
    throwIfAborted(options.signal);
    check(image, bytes, expected);
  } catch (error) {
    await sink.abort();
    throw error instanceof AgentError || error === options.signal.reason ? error
      : new AgentError('image-download-failed', 'the image could not be downloaded', { cause: error, retry: 'later', details: { image: image.id } });
  }
  await sink.commit();
  return bytes;
}

function expectedHash(image: GlanceImage): Expected {
  if (image.hashAlgorithm !== null && image.hashValue !== null) {
    const algorithm = aliases[image.hashAlgorithm] ?? image.hashAlgorithm;
    if (!hashes.includes(algorithm)) throw new AgentError('image-unacceptable', 'the image has a hash of an unknown kind');
    return { hash: createHash(algorithm), digest: image.hashValue };
  }
  if (image.checksum !== null) return { hash: createHash('md5'), digest: image.checksum };
  return { hash: undefined, digest: undefined };
}

function check(image: GlanceImage, bytes: bigint, { hash, digest }: Expected): void {
  if (image.sizeBytes !== null && bytes < image.sizeBytes) {
    throw new AgentError('image-incomplete', 'the image ended before its announced size', { retry: 'later', details: { image: image.id, bytes: bytes.toString() } });
  }
  if (hash !== undefined && hash.digest('hex') !== digest?.toLowerCase()) throw new AgentError('image-unacceptable', 'the image does not have the hash that Glance recorded');
}

/** Throws the signal's reason if it has fired. */
export function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw signal.reason instanceof Error ? signal.reason : new AgentError('aborted', 'the work was cancelled');
}
