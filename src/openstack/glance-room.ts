/** What the quota of a project in Glance still takes, where Glance keeps its quotas in Keystone and tells (since Xena, `use_keystone_limits`); a store has no such answer. */
import { z } from 'zod';
import type { RequestContext } from '../rpc/context.js';
import { isSuccess } from './failure.js';
import { anyServer, type GlanceOptions } from './glance-request.js';
import type { GlanceRoom } from './types.js';

const Quota = z.looseObject({ limit: z.number().int(), usage: z.number().int() }).optional();
const Usage = z.looseObject({ usage: z.looseObject({ image_size_total: Quota, image_count_total: Quota }) });
const MiB = 1024n * 1024n;

/** -1: no limit. */
const restOf = (quota: z.infer<typeof Quota>): number | null => (quota === undefined || quota.limit < 0 ? null : Math.max(0, quota.limit - quota.usage));

/** See `GlanceClient.room`. */
export async function roomIn(options: GlanceOptions, context: RequestContext): Promise<GlanceRoom> {
  return anyServer(options, context, '/v2/info/usage', undefined, async (request) => {
    const answer = await options.session.http.exchange(request);
    const parsed = Usage.safeParse(answer.body);
    if (!isSuccess(answer) || !parsed.success) return { bytes: null, images: null };
    const sizeMiB = restOf(parsed.data.usage.image_size_total);
    return { bytes: sizeMiB === null ? null : BigInt(sizeMiB) * MiB, images: restOf(parsed.data.usage.image_count_total) };
  });
}
