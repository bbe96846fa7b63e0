/** Readings of objects that several folders need. */
import { AgentError } from '../lib/errors.js';
import type { NovaObjectOf } from './types.js';

/** Nova's form of a DateTime field: UTC, whole seconds, `2026-11-23T04:32:37Z`. */
export const toNovaTime = (time: Date): string => `${time.toISOString().slice(0, 19)}Z`;

/** The form without zone and with microseconds that plain dictionaries and oslo's parse_strtime use: `2026-11-23T04:24:25.000000`. */
export const toNovaMicroTime = (time: Date): string => `${time.toISOString().slice(0, 23)}000`;

/** The current flavor. AgentError `object-field-unset` when the instance came without it. */
export function flavorOf(instance: NovaObjectOf<'Instance'>): NovaObjectOf<'Flavor'> {
  const flavor = instance.get('flavor');
  if (flavor === null) throw new AgentError('object-field-unset', 'the instance has no flavor', { details: { instance: instance.maybe('uuid') } });
  return flavor;
}

/** `network_info` of a cache decoded; [] when there is none. AgentError `object-malformed` when it is not a JSON list. */
export function networkInfoOf(cache: NovaObjectOf<'InstanceInfoCache'> | null | undefined): readonly unknown[] {
  const json = cache?.maybe('network_info');
  if (json === undefined || json === null || json === '') return [];
  const list = parseJson(json);
  if (!Array.isArray(list)) throw new AgentError('object-malformed', 'network_info is not a JSON list', { details: { instance: cache?.maybe('instance_uuid') } });
  return list;
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}

/** Whether the root disk is a volume: by its mapping, or, without mappings, by the missing image (an empty image_ref). */
export function isBootFromVolume(instance: NovaObjectOf<'Instance'>, mappings: readonly NovaObjectOf<'BlockDeviceMapping'>[]): boolean {
  const root = mappings.find((mapping) => mapping.maybe('boot_index') === 0);
  if (root !== undefined) return root.maybe('destination_type') === 'volume';
  return (instance.maybe('image_ref') ?? '') === '';
}
