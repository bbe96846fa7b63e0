export type * from './types.js';
export { adminContext, contextFromWire, contextToWire, elevated, type RequestContext } from './context.js';
export { RemoteError, isRemote } from './remote-error.js';
