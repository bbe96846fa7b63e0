/** What every question about a guest has in common: no task, no event, a fault only (nova-contract 6.1, wrappers X F). */
import { z } from 'zod';
import type { Wrappers } from './wrappers.js';
import { instanceArgument } from './operation.js';

export const questionWrappers: Wrappers = { revertsTask: false, event: null, recordsFault: true };
export const onlyInstance = z.looseObject({ instance: instanceArgument });
export type OnlyInstance = z.infer<typeof onlyInstance>;
