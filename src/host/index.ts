export type * from './host.js';
export { createHost, type HostOptions } from './create-host.js';
export { createFiles } from './files.js';
export { matchesProof, parsePs, psColumns, psFindArguments, psListArguments } from './processes.js';
export { claimFolder, type FolderClaim } from './claim-folder.js';
export { remoteOf } from './listen.js';
export { connectLocally, listenLocally, type LocalConnection, type LocalListener } from './local-socket.js';
