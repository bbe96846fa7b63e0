/**
 * What differs between the FreeBSD hosts that the lab can be. A profile is a name in NODE/profile. stock-13.2 is what the
 * transcripts in test/samples/freebsd-13.2 show (minus BHYVE_SNAPSHOT); stock-15 follows the sources and manuals of 15.1.
 * To add one: a name here, its facts, and where its texts differ, texts.ts.
 */
export const profiles = ['stock-13.2', 'stock-15'] as const;
export type Profile = (typeof profiles)[number];

export const isProfile = (text: string): text is Profile => (profiles as readonly string[]).includes(text);

export interface ProfileFacts {
  readonly release: string;
  readonly osReleaseDate: number;
  readonly buildDate: string;
  readonly zfsVersion: string;
  /** bhyve built with BHYVE_SNAPSHOT. */
  readonly hasSnapshot: boolean;
  /** /dev/vmmctl appears with vmm, and bhyve talks to it. */
  readonly hasVmmctl: boolean;
  /** `bootrom` at top level; the old `lpc.bootrom` still works with a warning. */
  readonly hasTopLevelBootrom: boolean;
  readonly hasTcpConsole: boolean;
  readonly acpiByDefault: boolean;
  /** zfs and zpool know -j. */
  readonly hasZfsJson: boolean;
  readonly hasBootId: boolean;
}

const facts: Readonly<Record<Profile, ProfileFacts>> = {
  'stock-13.2': {
    release: '13.2-RELEASE', osReleaseDate: 1_302_001, buildDate: 'Mon Nov 23 04:30:48 UTC 2026', zfsVersion: '2.1.9-FreeBSD_g92e0d9d18',
    hasSnapshot: false, hasVmmctl: false, hasTopLevelBootrom: false, hasTcpConsole: false, acpiByDefault: false, hasZfsJson: false, hasBootId: false,
  },
  'stock-15': {
    release: '15.1-RELEASE-p5', osReleaseDate: 1_501_000, buildDate: 'Thu Oct 15 02:11:09 UTC 2026', zfsVersion: '2.4.2-FreeBSD_g9d1e7a9c4',
    hasSnapshot: false, hasVmmctl: true, hasTopLevelBootrom: true, hasTcpConsole: true, acpiByDefault: true, hasZfsJson: true, hasBootId: true,
  },
};

export const factsOf = (profile: Profile): ProfileFacts => facts[profile];
