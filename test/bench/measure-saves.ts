/**
 * How long a guest stands still to be suspended, to come back, and for a checkpoint with memory, by its memory; beside the plain writing and reading of as many
 * octets on the same disk. The real driver with its manifest, sums and renames; the null node's bhyve writes and reads memory as fast as the disk takes it.
 * No control plane has a part in it.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createHost, type Host } from '../../src/host/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { parseCheckpointId, parseInstanceUuid } from '../../src/lib/ids.js';
import { createBhyveDriver, noLimits, type GuestDefinition, type HypervisorDriver } from '../../src/virt/index.js';
import { renderSelfTest, selfTestPath } from '../../src/virt/bhyve/save-capability.js';
import { readSaveIdentity } from '../../src/virt/bhyve/save-identity.js';
import { noMetrics, recordingLog } from '../fakes/recording-log.js';
import type { CleanUp } from './clean-up.js';
import { figures } from './goals.js';
import { createNullNode, type NullNode } from './null-node.js';
import type { Recorder } from './recorder.js';
import type { Effort } from './scene.js';

/** What the measurement needs of a scene. */
export interface SavesScene {
  /** Where the node is made: memory is written and read there, by both sides. */
  readonly folder: string;
  readonly effort: Effort;
  readonly signal: AbortSignal;
  readonly cleanUp: CleanUp;
}

const MiB = 1024 * 1024;
const disks = { root: 'still' };

/** MiB of memory of the guests; their names are in goals.ts. */
export const sizesOfSaves = [128, 512, 2048] as const;
type Size = (typeof sizesOfSaves)[number];

async function openDriver(node: NullNode): Promise<{ host: Host; driver: HypervisorDriver }> {
  writeFileSync(join(node.path, 'etc/saves'), '');
  const { log } = recordingLog();
  const host = createHost({ deviceRoot: node.deviceRoot, path: node.env['PATH'] ?? '', clock: systemClock, log, metrics: noMetrics });
  const driver = createBhyveDriver({
    host, statePath: node.statePath, firmwareDirs: [node.firmwareDir], bootMessagesPath: node.bootMessagesPath, clock: systemClock, log, metrics: noMetrics, vnc: null,
  });
  await driver.prepare();
  mkdirSync(join(node.statePath, 'selftest'), { recursive: true });
  const identity = await readSaveIdentity(host, driver.capabilities);
  writeFileSync(selfTestPath(node.statePath), renderSelfTest([{
    at: new Date().toISOString(), host: identity, family: 'kern-structs', models: ['hostbridge', 'lpc', 'virtio-blk'], isGood: true, reason: '',
  }]));
  return { host, driver };
}

const definitionOf = (memoryMiB: Size, disk: string): GuestDefinition => ({
  instance: parseInstanceUuid(randomUUID()), name: 'bench-saves', vcpus: 1, topology: { sockets: 1, cores: 1, threads: 1 }, memoryMiB, configDrive: null, nics: [],
  disks: [{ role: 'root', path: disk, serial: 'bench', bus: 'virtio', kind: 'disk' }], hasVnc: false, hasTablet: false, hasRng: false, clock: 'utc', limits: noLimits,
});

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now();
  await work();
  return performance.now() - began;
};

/** In pieces of 1 MiB, on the disk when it is over: what no save can be faster than. */
const plainWrite = (path: string, memoryMiB: number): Promise<number> => {
  const piece = randomBytes(MiB);
  return timed(async () => {
    const file = await open(path, 'w', 0o600);
    for (let count = 0; count < memoryMiB; count += 1) await file.write(piece);
    await file.sync();
    await file.close();
  });
};

const plainRead = (path: string): Promise<number> => {
  const piece = Buffer.alloc(MiB);
  return timed(async () => {
    const file = await open(path, 'r');
    while ((await file.read(piece, 0, MiB)).bytesRead > 0);
    await file.close();
  });
};

/** One guest of this size: suspended, resumed, then kept in a checkpoint. Milliseconds. */
async function oneGuest(driver: HypervisorDriver, definition: GuestDefinition, signal: AbortSignal): Promise<{ suspend: number; resume: number; checkpoint: number }> {
  const { instance } = definition;
  const suspend = (): Promise<void> => driver.suspend(instance, { holdDisks: async () => disks, signal });
  /** Until it is up: it is watched for some seconds more. */
  const resume = async (): Promise<number> => {
    const began = performance.now();
    let upMs = 0;
    await driver.resume(instance, { disks, signal, onUp: () => { upMs = performance.now() - began; } });
    return upMs;
  };
  await driver.define(definition);
  await driver.start(instance);
  const [suspendMs, resumeMs] = [await timed(suspend), await resume()];
  const savedMs = await timed(async () => {
    await suspend();
    await driver.keepSave(instance, parseCheckpointId(randomUUID()));
  });
  return { suspend: suspendMs, resume: resumeMs, checkpoint: savedMs + (await resume()) };
}

export async function measureSaves({ folder, effort, signal, cleanUp }: SavesScene, { record, note }: Recorder): Promise<void> {
  const node = createNullNode('bench-saves', folder);
  const remove = cleanUp.add(() => node.destroy());
  const { driver } = await openDriver(node);
  const [disk, plain] = [join(node.path, 'dev/zvol/root'), join(node.path, 'plain')];
  writeFileSync(disk, '');
  try {
    for (const memoryMiB of sizesOfSaves.filter((size) => !effort.isQuick || figures[`save-suspend-${size}`].isQuick)) {
      for (let round = 1; round <= effort.rounds; round += 1) {
        signal.throwIfAborted();
        note(`${memoryMiB} MiB, round ${round}`);
        const [written, read] = [await plainWrite(plain, memoryMiB), await plainRead(plain)];
        await rm(plain);
        const definition = definitionOf(memoryMiB, disk);
        try {
          const took = await oneGuest(driver, definition, signal);
          record(`save-suspend-${memoryMiB}`, took.suspend, written);
          record(`save-resume-${memoryMiB}`, took.resume, read);
          record(`save-checkpoint-${memoryMiB}`, took.checkpoint, written + read);
        } finally {
          await driver.destroy(definition.instance);
        }
      }
    }
  } finally {
    await driver.close();
    await remove();
  }
}
