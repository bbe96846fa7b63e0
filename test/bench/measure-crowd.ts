/** What grows with the guests of a host, and what must not grow with their operations: one agent and a crowd of guests in a stand-in cloud. */
import { join } from 'node:path';
import { sleep } from '../cloud/control-plane/index.js';
import { openCrowd, type Crowd } from './crowd.js';
import type { FigureName } from './goals.js';
import { cpuSecondsOf, residentMiB, totalCpu } from './process-figures.js';
import type { Recorder } from './recorder.js';
import type { Scene } from './scene.js';

interface Sizes { readonly restartMs: number; readonly auditMs: number; readonly syncMs: number }

async function sizesOf(crowd: Crowd): Promise<Sizes> {
  const restartMs = await crowd.restart();
  const [auditMs, syncMs] = await Promise.all([crowd.duty('resource-audit', 3), crowd.duty('power-sync', 3)]);
  return { restartMs, auditMs, syncMs };
}

/** Nobody asks for anything: only its own duties (every 5 s here) and heartbeats run. */
async function rest(crowd: Crowd, seconds: number): Promise<{ rss: number; cpuAMinute: number }> {
  await sleep(5_000);
  const before = totalCpu(cpuSecondsOf(crowd.pid()));
  await sleep(seconds * 1000);
  return { rss: residentMiB(crowd.pid()), cpuAMinute: (60 * (totalCpu(cpuSecondsOf(crowd.pid())) - before)) / seconds };
}

/** Each guest is stopped and started; the rest are questions, eight at a time. */
async function operate(crowd: Crowd, count: number): Promise<void> {
  await crowd.operate('stop_instance');
  await crowd.operate('start_instance');
  const uuids = crowd.uuids();
  let left = count - 2 * uuids.length;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (left > 0) {
      left -= 1;
      await crowd.ask('get_instance_diagnostics', uuids[left % uuids.length]!);
    }
  }));
}

async function measureFlat(crowd: Crowd, guests: number, operations: number, { record, note }: Recorder): Promise<void> {
  note(`${guests} guests`);
  await crowd.grow(guests);
  const before = await rest(crowd, 20);
  note(`${operations} operations on ${guests} guests`);
  await operate(crowd, operations);
  const after = await rest(crowd, 20);
  record('flat-rss', after.rss, before.rss);
  record('flat-idle-cpu', after.cpuAMinute, before.cpuAMinute);
}

export async function measureCrowd(scene: Scene, recorder: Recorder): Promise<void> {
  const { layout } = scene.plane;
  const { isQuick } = scene.effort;
  const { record, note } = recorder;
  const crowd = await openCrowd(scene.brokerUrl, join(layout.root, 'bench'), layout);
  try {
    note('10 guests');
    await crowd.grow(10);
    const few = await sizesOf(crowd);
    const compare = async (guests: 100 | 500): Promise<void> => {
      note(`${guests} guests`);
      await crowd.grow(guests);
      const many = await sizesOf(crowd);
      for (const [name, key] of [['start', 'restartMs'], ['audit', 'auditMs'], ['power-sync', 'syncMs']] as const) {
        record(`${name}-${guests}-guests` satisfies FigureName, many[key], few[key]);
      }
    };
    if (isQuick) return await measureFlat(crowd, 20, 100, recorder);
    await compare(100);
    await measureFlat(crowd, 200, 2000, recorder);
    await compare(500);
  } finally {
    await crowd.close();
  }
}
