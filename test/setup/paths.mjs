import { resolve } from 'node:path';

/** The checkout. */
export const root = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '../..');
