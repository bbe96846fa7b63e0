/** Errors as log fields: what is known to be useful, and nothing else (HTTP errors carry requests, with tokens, inside). */
import { AgentError } from '../lib/errors.js';

const maxChain = 8;
const maxStackLines = 12;

const own = (error: Error, key: string): unknown => (error as unknown as Record<string, unknown>)[key];

function pick(error: Error): Record<string, unknown> {
  const fields: Record<string, unknown> = { type: error.constructor.name, message: error.message };
  const code = own(error, 'code');
  if (typeof code === 'string' || typeof code === 'number') fields['code'] = code;
  if (error instanceof AgentError) {
    fields['retry'] = error.retry;
    if (Object.keys(error.details).length > 0) fields['details'] = error.details;
    if (error.wire !== undefined) fields['wire'] = error.wire.className;
  }
  for (const key of ['errno', 'syscall', 'status', 'signal']) {
    const value = own(error, key);
    if (typeof value === 'string' || typeof value === 'number') fields[key] = value;
  }
  return fields;
}

function serialize(error: unknown, depth: number): unknown {
  if (!(error instanceof Error)) return typeof error === 'object' && error !== null ? { message: 'not an error', value: error } : { message: String(error) };
  const fields = pick(error);
  if (depth === 0 || !(error instanceof AgentError)) {
    // The first line of a stack repeats the message.
    const frames = (error.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
    fields['stack'] = frames.slice(0, maxStackLines).map((line) => line.trim());
  }
  if (depth >= maxChain) return fields;
  if (error.cause !== undefined) fields['cause'] = serialize(error.cause, depth + 1);
  const undoError = own(error, 'undoError');
  if (undoError instanceof Error) fields['undoError'] = serialize(undoError, depth + 1);
  if (error instanceof AggregateError) fields['errors'] = error.errors.slice(0, maxChain).map((one) => serialize(one, depth + 1));
  return fields;
}

/** The error and the chain of its causes, bounded. */
export const serializeError = (error: unknown): unknown => serialize(error, 0);
