/** The configuration's passwords, for masking them wherever they might occur. */
import { secretOptions, type Config } from './config/index.js';

export function secretValues(config: Config): string[] {
  const sections = config as unknown as Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  const values = secretOptions.map((path) => {
    const [section = '', option = ''] = path.split('.');
    return sections[section]?.[option];
  });
  const plain = values.filter((value): value is string => typeof value === 'string' && value !== '');
  // A password inside transport_url stands alone elsewhere, escaped or not.
  const inUrl = [...config.DEFAULT.transport_url.matchAll(/:([^:@/]+)@/g)].flatMap((match) => [match[1]!, decodeURIComponent(match[1]!)]);
  return [...new Set([...plain, ...inUrl])];
}
