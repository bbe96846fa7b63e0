/** What Glance says of an image, as the agent knows images. */
import { z } from 'zod';
import { AgentError } from '../lib/errors.js';
import type { ImageId } from '../lib/ids.js';
import type { GlanceImage } from './types.js';

/** Attributes of the v2 schema itself; everything else is a property of the image. */
const baseAttributes = new Set(['id', 'name', 'status', 'visibility', 'protected', 'owner', 'tags', 'checksum', 'os_hash_algo', 'os_hash_value', 'os_hidden',
  'size', 'virtual_size', 'disk_format', 'container_format', 'min_disk', 'min_ram', 'created_at', 'updated_at', 'self', 'file', 'schema', 'direct_url',
  'locations', 'stores', 'members', 'deleted', 'deleted_at', 'is_public']);

const size = z.union([z.number(), z.bigint()]).nullish();
const text = z.string().nullish();
const ImageBody = z.looseObject({
  id: z.string(), name: text, status: z.string(), disk_format: text, container_format: text, size, min_disk: z.number().nullish(), min_ram: z.number().nullish(),
  checksum: text, os_hash_algo: text, os_hash_value: text,
});

/** AgentError `glance-strange` for what is no image, or another one. */
export function imageOf(id: ImageId, body: unknown): GlanceImage {
  const parsed = ImageBody.safeParse(body);
  if (!parsed.success || parsed.data.id !== id) throw new AgentError('glance-strange', 'Glance answered with something that is no image', { retry: 'later' });
  const image = parsed.data;
  const properties: Record<string, string> = {};
  for (const [name, value] of Object.entries(image)) {
    if (baseAttributes.has(name)) continue;
    if (typeof value === 'string') properties[name] = value;
    else if (typeof value === 'number' || typeof value === 'boolean') properties[name] = String(value);
  }
  return {
    id, name: image.name ?? null, status: image.status, diskFormat: image.disk_format ?? null, containerFormat: image.container_format ?? null,
    sizeBytes: image.size === null || image.size === undefined ? null : BigInt(image.size), minDiskGiB: image.min_disk ?? 0, minRamMiB: image.min_ram ?? 0,
    checksum: image.checksum ?? null, hashAlgorithm: image.os_hash_algo ?? null, hashValue: image.os_hash_value ?? null, properties,
  };
}
