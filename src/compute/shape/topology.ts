/**
 * Sockets, cores and threads of a guest, chosen as Nova chooses them: the image may narrow what the flavor allows; of what is possible
 * the layout that meets most wishes, else few threads, then many sockets. Pure.
 */
import type { GuestTopology } from '../../virt/index.js';
import type { ImageProperties } from './image-properties.js';

type Counts = { readonly [Part in keyof GuestTopology]: number };

export interface TopologyWish {
  readonly vcpus: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
  readonly properties: ImageProperties;
}

/** As good as no limit. */
const UNLIMITED = 65_536;
const parts = ['sockets', 'cores', 'threads'] as const;

const read = (values: Readonly<Record<string, string>>, prefix: string): Counts | string => {
  const counts = { sockets: 0, cores: 0, threads: 0 };
  for (const part of parts) {
    const text = values[`${prefix}${part}`];
    if (text === undefined) continue;
    if (!/^\d{1,5}$/.test(text.trim())) return `${prefix}${part}=${text} is not a number`;
    counts[part] = Number(text);
  }
  return counts;
};

const exceeds = (counts: Counts, limits: Counts): boolean => parts.some((part) => limits[part] > 0 && counts[part] > limits[part]);
const words = ({ sockets, cores, threads }: Counts): string => `${sockets} sockets, ${cores} cores, ${threads} threads`;

/** The topology, or a sentence why there is none. */
export function chooseTopology({ vcpus, extraSpecs, properties }: TopologyWish): GuestTopology | string {
  const flavorMost = read({ ...renamed(extraSpecs), ...extraSpecs }, 'hw:cpu_max_');
  const imageMost = read(properties, 'hw_cpu_max_');
  const flavorWish = read(extraSpecs, 'hw:cpu_');
  const imageWish = read(properties, 'hw_cpu_');
  for (const bad of [flavorMost, imageMost, flavorWish, imageWish]) if (typeof bad === 'string') return bad;
  const [most, imageLimits, preferred, imagePreferred] = [flavorMost, imageMost, flavorWish, imageWish] as [Counts, Counts, Counts, Counts];
  if (exceeds(imageLimits, most)) return `the image allows ${words(imageLimits)}, which is more than the flavor's ${words(most)}`;
  const limit = (part: keyof Counts): number => imageLimits[part] || most[part] || UNLIMITED;
  const limits = { sockets: limit('sockets'), cores: limit('cores'), threads: limit('threads') };
  if (exceeds(imagePreferred, limits)) return `the image wants ${words(imagePreferred)}; the limits are ${words(limits)}`;
  const hasImageWish = parts.some((part) => imagePreferred[part] > 0);
  const wish = hasImageWish ? imagePreferred : exceeds(preferred, limits) ? { sockets: 0, cores: 0, threads: 0 } : preferred;
  return best(vcpus, limits, wish) ?? `${vcpus} vCPUs cannot be made of at most ${words(limits)}`;
}

/** The flavor's limits are documented under both spellings. */
const renamed = (specs: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(parts.flatMap((part) => (specs[`hw:max_cpu_${part}`] === undefined ? [] : [[`hw:cpu_max_${part}`, specs[`hw:max_cpu_${part}`]!] as const])));

function best(vcpus: number, limits: Counts, wish: Counts): GuestTopology | undefined {
  const score = (topology: GuestTopology): number => parts.filter((part) => wish[part] > 0 && topology[part] === wish[part]).length;
  return possible(vcpus, limits).sort((a, b) =>
    score(b) - score(a) || b.sockets * b.cores - a.sockets * a.cores || b.sockets - a.sockets || b.threads - a.threads)[0];
}

function possible(vcpus: number, limits: Counts): GuestTopology[] {
  const divisors = (number: number, most: number): number[] =>
    Array.from({ length: Math.min(number, most) }, (_unused, at) => at + 1).filter((divisor) => number % divisor === 0);
  return divisors(vcpus, limits.sockets).flatMap((sockets) => divisors(vcpus / sockets, limits.cores)
    .map((cores) => ({ sockets, cores, threads: vcpus / sockets / cores })).filter(({ threads }) => threads <= limits.threads));
}
