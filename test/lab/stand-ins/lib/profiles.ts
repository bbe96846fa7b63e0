/**
 * What differs between the FreeBSD hosts that the lab can be. A profile is a name in NODE/profile. stock-13.2 is what the
 * transcripts in test/samples/freebsd-13.2 show (minus BHYVE_SNAPSHOT); stock-15 follows the sources and manuals of 15.1.
 * snapshot-13.2-stock is the recorded host itself, which saves and refuses to restore; snapshot-13.2 is the same without the one
 * struct that it stumbles over (both recorded); snapshot-14 and -15 follow the sources; upb-json is UPB's branch with its typed JSON;
 * upb-zfs is UPB's branch for checkpoints by ZFS, whose daemon nobody has found and which is not here; upb-capsicum is their sandboxed bhyve, which writes beside the first disk;
 * libvdsk is UPB's bhyve of 2021 that opens qcow2 disks; snapshot-15-nvme is a 15 with code for saving NVMe controllers, as UPB's students and the 5BSD fork have it.
 * To add one: a name here, its facts, and where its texts differ, texts.ts.
 */
export const profiles = ['stock-13.2', 'stock-15', 'snapshot-13.2', 'snapshot-13.2-stock', 'snapshot-14', 'snapshot-15', 'snapshot-15-nvme', 'upb-json', 'upb-zfs', 'upb-capsicum', 'libvdsk'] as const;
export type Profile = (typeof profiles)[number];

export const isProfile = (text: string): text is Profile => (profiles as readonly string[]).includes(text);

/** How a kind of bhyve saves and restores guests. */
export interface SaveFacts {
  /** By what `.meta` looks like: array `structs` of 13, array `kern_structs` of 14 and 15, UPB's typed members. */
  readonly family: 'structs' | 'kern-structs' | 'upb-json';
  /** Exit code of bhyve after a suspend. */
  readonly suspendCode: 0 | 5;
  /** Exit code of bhyvectl when it could send the request. */
  readonly requestCode: 0 | 64;
  /** A struct `vmx` is listed and empty, and a restore refuses it. */
  readonly hasVmx: boolean;
  /** bhyvectl opens the folder, and bhyve sees the base name only; else bhyve opens the path as it was given. */
  readonly opensFolder: boolean;
  /** Saved state of a frame buffer: its memory and some registers. */
  readonly screenBytes: number;
  /** An NVMe controller has code for saving. */
  readonly savesNvme: boolean;
  /** Capsicum: none; with the folder that bhyvectl opened; with that of the first disk. The program of bhyve holds the words by which that is told. */
  readonly sandbox: 'none' | 'folder' | 'first-disk';
  /** How bhyve ends the lines about its progress. */
  readonly lineEnd: '\r\n' | '\n';
}

export interface ProfileFacts {
  readonly release: string;
  readonly osReleaseDate: number;
  readonly buildDate: string;
  readonly zfsVersion: string;
  /** What a bhyve built with BHYVE_SNAPSHOT does; null for one that was not. */
  readonly save: SaveFacts | null;
  /** Disks may be qcow2 files, and bhyvectl asks for checkpoints of them by name; see libvdsk.ts. */
  readonly hasLibvdsk: boolean;
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

const stock13: ProfileFacts = {
  release: '13.2-RELEASE', osReleaseDate: 1_302_001, buildDate: 'Mon Nov 23 04:30:48 UTC 2026', zfsVersion: '2.1.9-FreeBSD_g92e0d9d18',
  save: null, hasLibvdsk: false, hasVmmctl: false, hasTopLevelBootrom: false, hasTcpConsole: false, acpiByDefault: false, hasZfsJson: false, hasBootId: false,
};

const stock14: ProfileFacts = { ...stock13, release: '14.5-RELEASE', osReleaseDate: 1_405_000, buildDate: 'Thu Sep 10 01:02:03 UTC 2026', zfsVersion: '2.2.9-FreeBSD_g5c1f3f0aa', acpiByDefault: true };

const stock15: ProfileFacts = {
  release: '15.1-RELEASE-p5', osReleaseDate: 1_501_000, buildDate: 'Thu Oct 15 02:11:09 UTC 2026', zfsVersion: '2.4.2-FreeBSD_g9d1e7a9c4',
  save: null, hasLibvdsk: false, hasVmmctl: true, hasTopLevelBootrom: true, hasTcpConsole: true, acpiByDefault: true, hasZfsJson: true, hasBootId: true,
};

const save13: SaveFacts = { family: 'structs', suspendCode: 0, requestCode: 64, hasVmx: false, opensFolder: false, screenBytes: 16_777_668, savesNvme: false, sandbox: 'none', lineEnd: '\r\n' };
const save14: SaveFacts = { ...save13, family: 'kern-structs', requestCode: 0, opensFolder: true, sandbox: 'folder' };

const save15: SaveFacts = { ...save14, suspendCode: 5, screenBytes: 33_554_884, lineEnd: '\n' };

const facts: Readonly<Record<Profile, ProfileFacts>> = {
  'stock-13.2': stock13,
  'stock-15': stock15,
  'snapshot-13.2': { ...stock13, save: save13 },
  'snapshot-13.2-stock': { ...stock13, save: { ...save13, hasVmx: true } },
  'snapshot-14': { ...stock14, save: save14 },
  'snapshot-15': { ...stock15, save: save15 },
  'snapshot-15-nvme': { ...stock15, save: { ...save15, savesNvme: true } },
  'upb-json': { ...stock13, save: { ...save13, family: 'upb-json', requestCode: 0 } },
  'upb-zfs': { ...stock13, save: { ...save13, requestCode: 0 } },
  'upb-capsicum': { ...stock13, save: { ...save13, requestCode: 0, sandbox: 'first-disk' } },
  libvdsk: { ...stock13, save: save13, hasLibvdsk: true },
};

export const factsOf = (profile: Profile): ProfileFacts => facts[profile];
