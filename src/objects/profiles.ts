/**
 * What differs between releases, and what follows from it: manifests and new objects. The conductor's own service version
 * picks the profile. Two numbers were shipped by two releases each; the lower object versions are then the safe ones:
 *  - 66 is 2023.1 and 2023.2, which differ in Instance and Migration (compute_id): the conductor is asked (negotiate);
 *  - 67 is 2024.1 and 2024.2, which differ only in objects that we neither ask for nor create.
 *
 * Versions: nova-contract 1 and 7.2. A profile lists what moved since the one before it.
 */
import { AgentError } from '../lib/errors.js';
import { assert } from '../lib/assert.js';
import { makeObject } from './nova-object.js';
import { zedObjects, type KnownObject } from './zed-objects.js';
import type { NovaObjectOf, ObjectFields, ObjectName, ReleaseProfile } from './types.js';

type Moved = Readonly<Record<string, string>>;
type Traits = Omit<ReleaseProfile, 'name' | 'serviceVersion' | 'objectVersions'>;

const zed: Traits = {
  hasComputeId: false, hasStableNodeIdentity: false, hasComputeAltTopic: false, needsOwnerNovaTrait: false, initialCpuRatio: 16, initialRamRatio: 1.5,
};

const steps: readonly (readonly [name: string, serviceVersion: number, moved: Moved, traits: Partial<Traits>])[] = [
  ['zed', 64, {}, {}],
  ['2023.1', 66, {}, { hasStableNodeIdentity: true, initialCpuRatio: 4, initialRamRatio: 1 }],
  ['2023.2', 66, { Instance: '2.8', Migration: '1.8' }, { hasComputeId: true }],
  ['2024.1', 67, { RequestSpec: '1.15', ImageMetaProps: '1.37', ConsoleAuthToken: '1.2', LibvirtLiveMigrateData: '1.11', ShareMapping: '1.0' }, {}],
  ['2025.1', 68, {
    ImageMetaProps: '1.39', ConsoleAuthToken: '1.3', LibvirtLiveMigrateData: '1.13', HyperVLiveMigrateData: '1.5', VMwareLiveMigrateData: '1.1',
    ShareMapping: '1.2', ShareMetadata: '1.0',
  }, {}],
  ['2025.2', 70, { ImageMetaProps: '1.42' }, {}],
  ['2026.1', 72, { LibvirtLiveMigrateData: '1.14' }, { hasComputeAltTopic: true }],
  ['2026.2', 73, { ImageMetaProps: '1.43' }, { needsOwnerNovaTrait: true }],
];

/** Oldest first. */
export const releaseProfiles: readonly ReleaseProfile[] = (() => {
  let versions: Readonly<Record<string, string>> = Object.fromEntries(Object.entries(zedObjects).map(([name, known]) => [name, known.version]));
  let traits = zed;
  return steps.map(([name, serviceVersion, moved, newTraits]) => {
    versions = { ...versions, ...moved };
    traits = { ...traits, ...newTraits };
    return { name, serviceVersion, objectVersions: versions, ...traits };
  });
})();

/** The profile of this name, e.g. 'zed'; a Bug if there is none. */
export function profileNamed(name: string): ReleaseProfile {
  const profile = releaseProfiles.find((candidate) => candidate.name === name);
  assert(profile !== undefined, `no release profile ${name}`);
  return profile;
}

export interface ProfileChoice {
  /** Newest profile whose service version is not above the conductor's; of two with the same number the older one. */
  readonly profile: ReleaseProfile;
  /** The next one, when it has the same number and the conductor must be asked for Instance's version. */
  readonly rival: ReleaseProfile | null;
  /** The conductor's number lies beyond our table. */
  readonly isBeyondTable: boolean;
}

/** Picks the profile by the conductor's service version. AgentError `release-unsupported` below Zed. */
export function chooseProfile(conductorVersion: number): ProfileChoice {
  const fitting = releaseProfiles.filter((candidate) => candidate.serviceVersion <= conductorVersion);
  const newest = fitting.at(-1);
  if (newest === undefined) {
    throw new AgentError('release-unsupported', `the cloud's conductor has service version ${conductorVersion}; this agent needs Zed (64) or newer`);
  }
  const oldestAlike = fitting.find((candidate) => candidate.serviceVersion === newest.serviceVersion) ?? newest;
  return {
    profile: oldestAlike,
    rival: oldestAlike === newest ? null : newest,
    isBeyondTable: conductorVersion > (releaseProfiles.at(-1)?.serviceVersion ?? 0),
  };
}

/** Versions of `name` and of all objects that it can contain, as the conductor wants them with a class call. */
export function manifestOf(versions: Readonly<Record<string, string>>, name: string): Readonly<Record<string, string>> {
  const manifest: Record<string, string> = {};
  const visit = (object: string): void => {
    const version = versions[object];
    if (object in manifest || version === undefined) return;
    manifest[object] = version;
    const known: KnownObject | undefined = (zedObjects as Readonly<Record<string, KnownObject>>)[object];
    known?.contains.forEach(visit);
  };
  visit(name);
  assert(name in manifest, `no version known of ${name}`);
  return manifest;
}

/** A new object at the profile's version with these fields, all counting as changed. */
export function createObject<Name extends ObjectName>(
  profile: Pick<ReleaseProfile, 'objectVersions'>, name: Name, fields: Partial<ObjectFields[Name]>,
): NovaObjectOf<Name> {
  const version = profile.objectVersions[name];
  assert(version !== undefined, `no version known of ${name}`);
  return makeObject(name, version, fields) as unknown as NovaObjectOf<Name>;
}
