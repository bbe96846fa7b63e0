/** Reads the recorded traffic of test/samples/wire. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '../samples/wire/zed');

export interface RecordedMessage {
  readonly exchange: string;
  readonly routing_keys: readonly string[];
  /** Process that sent it; computes are `nova-compute@HOST`. */
  readonly publisher: string;
  readonly message: Readonly<Record<string, unknown>>;
}

/** Names of the operations whose AMQP traffic was recorded. */
export const recordedOperations = (): string[] =>
  readdirSync(folder).filter((name) => name.endsWith('.jsonl') && !/\.(http|neutron)\.jsonl$/.test(name)).map((name) => name.slice(0, -'.jsonl'.length)).sort();

/** AMQP messages of one operation, in order. */
export const recordedMessages = (operation: string): RecordedMessage[] =>
  readFileSync(join(folder, `${operation}.jsonl`), 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as RecordedMessage);

/** Every value in `value` that is an outermost versioned object. */
export function objectsIn(value: unknown): Record<string, unknown>[] {
  if (Array.isArray(value)) return value.flatMap(objectsIn);
  if (typeof value !== 'object' || value === null) return [];
  if ('nova_object.name' in value) return [value];
  return Object.values(value).flatMap(objectsIn);
}
