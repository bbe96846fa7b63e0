/**
 * Nova's versioned objects: read, change-track, write back, and the versions of each release. Theory: types.ts (what is
 * promised), nova-object.ts (the class), profiles.ts (releases), schemas.ts (what is checked at the RPC border).
 */
export type * from './types.js';
export { isNovaObject, isWireObject, parseObject } from './nova-object.js';
export { chooseProfile, createObject, manifestOf, profileNamed, releaseProfiles, type ProfileChoice } from './profiles.js';
export { compareVersions, fitToVersions } from './versions.js';
export { parseArgument, parseArgumentList, parseOptionalArgument } from './arguments.js';
export { flavorOf, isBootFromVolume, networkInfoOf, toNovaMicroTime, toNovaTime } from './helpers.js';
export { powerStates, taskStates, vmStates, type PowerState } from './states.js';
