/** Which machines the self-test saves and restores. Each has one thing more than the plain one, so that a failure names its cause. */
import { randomUUID } from 'node:crypto';
import { parseInstanceUuid } from '../../../lib/ids.js';
import type { SaveFamily } from '../../saves/index.js';
import { noLimits, type DiskBus, type GuestDefinition, type NicModel } from '../../types.js';

export interface Trial {
  readonly title: string;
  /** bhyve's models that come back if this trial is passed; besides the bridges, which every machine has. */
  readonly models: readonly string[];
  readonly disks: readonly DiskBus[];
  readonly nics: readonly NicModel[];
  readonly hasRng: boolean;
  readonly hasScreen: boolean;
  readonly hasTablet: boolean;
}

const bridges = ['hostbridge', 'lpc'] as const;
const machine = (title: string, models: readonly string[], more: Partial<Omit<Trial, 'title' | 'models'>> = {}): Trial =>
  ({ title, models: [...bridges, ...models], disks: [], nics: [], hasRng: false, hasScreen: false, hasTablet: false, ...more });

/** A machine without anything: what fails here fails everywhere. */
export const plainTrial = machine('no device', []);

/** One model of device each. */
export const modelTrials: readonly Trial[] = [
  machine('virtio-blk', ['virtio-blk'], { disks: ['virtio'] }),
  machine('virtio-net', ['virtio-net'], { nics: ['virtio'] }),
  machine('ahci', ['ahci'], { disks: ['sata'] }),
  machine('e1000', ['e1000'], { nics: ['e1000'] }),
  machine('virtio-rnd', ['virtio-rnd'], { hasRng: true }),
  machine('fbuf', ['fbuf'], { hasScreen: true }),
  machine('xhci', ['fbuf', 'xhci'], { hasScreen: true, hasTablet: true }),
  machine('nvme', ['nvme'], { disks: ['nvme'] }),
];

/** Two of one model. Files of the family `structs` cannot hold them, so there it is not tried. */
export const pairTrials: readonly Trial[] = [
  machine('two virtio-blk', ['virtio-blk'], { disks: ['virtio', 'virtio'] }),
  machine('two virtio-net', ['virtio-net'], { nics: ['virtio', 'virtio'] }),
];

/** Everything that came back one by one, together; two disks and two network cards where the family can. */
export function wholeTrial(models: ReadonlySet<string>, family: SaveFamily): Trial {
  const count = family === 'kern-structs' ? 2 : 1;
  const some = <T>(model: string, value: T, times = 1): T[] => (models.has(model) ? Array.from({ length: times }, () => value) : []);
  return machine('all of them together', [...models], {
    disks: [...some('virtio-blk', 'virtio' as const, count), ...some('ahci', 'sata' as const), ...some('nvme', 'nvme' as const)],
    nics: [...some('virtio-net', 'virtio' as const, count), ...some('e1000', 'e1000' as const)],
    hasRng: models.has('virtio-rnd'), hasScreen: models.has('fbuf'), hasTablet: models.has('xhci'),
  });
}

/** The same for a bhyve that can save a guest beside its first disk only. */
export const withDisk = (trial: Trial): Trial =>
  (trial.disks.length > 0 ? trial : { ...trial, title: `${trial.title}, with a disk`, models: [...trial.models, 'virtio-blk'], disks: ['virtio'] });

/** Small, so that a trial is quick. */
const memoryMiB = 16;
const roles = ['root', 'eph0', 'eph1', 'eph2'] as const;

/** The guest of a trial: new each time. `disk` and `taps` are what it may use. */
export function definitionOf(trial: Trial, disk: (index: number) => string, taps: readonly string[]): GuestDefinition {
  const instance = parseInstanceUuid(randomUUID());
  return {
    instance, name: 'selftest', vcpus: 1, topology: { sockets: 1, cores: 1, threads: 1 }, memoryMiB, configDrive: null, clock: 'utc', limits: noLimits,
    disks: trial.disks.map((bus, index) => ({ role: roles[index]!, path: disk(index), serial: `selftest-${index}`, bus, kind: 'disk' })),
    nics: trial.nics.map((model, index) => ({ port: parseInstanceUuid(randomUUID()), tapName: taps[index]!, mac: `58:9c:fc:00:00:0${index + 1}`, mtu: 1500, model })),
    hasVnc: trial.hasScreen, hasTablet: trial.hasTablet, hasRng: trial.hasRng,
  };
}
