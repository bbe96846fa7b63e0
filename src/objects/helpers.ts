/** Readings of objects that several folders need. */
import { AgentError } from '../lib/errors.js';
import type { NovaObjectOf } from './types.js';

/** Nova's form of a DateTime field: UTC, whole seconds, `2026-11-23T04:32:37Z`. */
export const toNovaTime = (time: Date): string => `${time.toISOString().slice(0, 19)}Z`;

/** The form without zone and with microseconds that plain dictionaries use: `2026-11-23T04:24:25.000000`. */
export const toNovaMicroTime = (time: Date): string => `${time.toISOString().slice(0, 23)}000`;

/** The current flavor. AgentError `object-field-unset` when the instance came without it. */
export function flavorOf(instance: NovaObjectOf<'Instance'>): NovaObjectOf<'Flavor'> {
  const flavor = instance.get('flavor');
  if (flavor === null) throw new AgentError('object-field-unset', 'the instance has no flavor', { details: { instance: instance.maybe('uuid') } });
  return flavor;
}

/** `info_cache.network_info` decoded; [] when there is none. AgentError `object-malformed` when it is not a JSON list. */
export function networkInfoOf(instance: NovaObjectOf<'Instance'>): readonly unknown[] {
  const json = instance.maybe('info_cache')?.maybe('network_info');
  if (json === undefined || json === null || json === '') return [];
  const list = parseJson(json);
  if (!Array.isArray(list)) throw new AgentError('object-malformed', 'network_info is not a JSON list', { details: { instance: instance.maybe('uuid') } });
  return list;
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}

/** What an existing instance's `system_metadata` keeps of the image that it was made from. */
export interface InstanceImage {
  readonly baseImageRef: string | null;
  readonly minDiskGiB: number;
  readonly minRamMiB: number;
  readonly diskFormat: string | null;
  readonly containerFormat: string | null;
  /** Without the prefix `image_` and without the keys above. */
  readonly properties: Readonly<Record<string, string>>;
}

const PREFIX = 'image_';
const ownFields = new Set(['base_image_ref', 'min_disk', 'min_ram', 'disk_format', 'container_format']);

/** Reads the `image_*` keys of system_metadata. */
export function imageOf(instance: NovaObjectOf<'Instance'>): InstanceImage {
  const entries = Object.entries(instance.maybe('system_metadata') ?? {}).filter(([key]) => key.startsWith(PREFIX))
    .map(([key, value]) => [key.slice(PREFIX.length), value] as const);
  const values = new Map(entries);
  const number = (key: string): number => Number.parseInt(values.get(key) ?? '0', 10) || 0;
  return {
    baseImageRef: values.get('base_image_ref') ?? null,
    minDiskGiB: number('min_disk'),
    minRamMiB: number('min_ram'),
    diskFormat: values.get('disk_format') ?? null,
    containerFormat: values.get('container_format') ?? null,
    properties: Object.fromEntries(entries.filter(([key]) => !ownFields.has(key))),
  };
}

/** Whether the root disk is a volume: by its mapping, or, without mappings, by the missing image (an empty image_ref). */
export function isBootFromVolume(instance: NovaObjectOf<'Instance'>, mappings: readonly NovaObjectOf<'BlockDeviceMapping'>[]): boolean {
  const root = mappings.find((mapping) => mapping.maybe('boot_index') === 0);
  if (root !== undefined) return root.maybe('destination_type') === 'volume';
  return (instance.maybe('image_ref') ?? '') === '';
}

/** The guest's name for operators: `instance-%08x` of the row's id. */
export const guestNameOf = (instance: NovaObjectOf<'Instance'>): string => `instance-${instance.get('id').toString(16).padStart(8, '0')}`;
