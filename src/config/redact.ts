/** Showing a configuration without its secrets. */
import { schema, secretOptions, type Config } from './schema.js';

/** A copy that can be printed: secrets that are set become '***'. */
export function redactConfig(config: Config): Record<string, Record<string, unknown>> {
  const hidden = new Set(secretOptions);
  return Object.fromEntries(Object.keys(schema).map((section) => [
    section,
    Object.fromEntries(Object.entries(config[section as keyof Config]).map(([name, value]) =>
      [name, hidden.has(`${section}.${name}`) && value !== null ? '***' : value])),
  ]));
}
