/** What grows with the guests of a host, and what must not grow with their operations: one agent and a crowd of guests in a stand-in cloud. */
import { createCleanUp } from './clean-up.js';
import { openCrowd, type Crowd } from './crowd.js';
import type { FigureName } from './goals.js';
import { cpuSecondsOf, residentMiB, totalCpu } from './process-figures.js';
import type { Recorder } from './recorder.js';
import type { Effort, Scene } from './scene.js';

interface Sizes { readonly restartMs: number; readonly auditMs: number; readonly syncMs: number }

async function sizesOf(crowd: Crowd): Promise<Sizes> {
  const restartMs = await crowd.restart();
  const [auditMs, syncMs] = await Promise.all([crowd.duty('resource-audit', 3), crowd.duty('power-sync', 3)]);
  return { restartMs, auditMs, syncMs };
}

interface Rest { readonly rss: number; readonly cpuAMinute: number }

/** Nobody asks for anything: only its own duties (every 5 s here) and heartbeats run. Six runs of the duties, or three when in a hurry. */
async function rest(crowd: Crowd, isQuick: boolean): Promise<Rest> {
  const look = (): { atMs: number; cpu: number; rss: number } => ({ atMs: performance.now(), cpu: totalCpu(cpuSecondsOf(crowd.pid())), rss: residentMiB(crowd.pid()) });
  const [begin, end] = await crowd.between('power-sync', isQuick ? 3 : 6, look);
  return { rss: (begin.rss + end.rss) / 2, cpuAMinute: (60_000 * (end.cpu - begin.cpu)) / (end.atMs - begin.atMs) };
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

async function measureFlat(crowd: Crowd, { isQuick }: Effort, { record, note }: Recorder): Promise<void> {
  const [guests, operations] = isQuick ? [20, 100] : [200, 2000];
  note(`${guests} guests`);
  await crowd.grow(guests);
  const before = await rest(crowd, isQuick);
  note(`${operations} operations on ${guests} guests`);
  await operate(crowd, operations);
  const after = await rest(crowd, isQuick);
  record('flat-rss', after.rss, before.rss);
  record('flat-idle-cpu', after.cpuAMinute, before.cpuAMinute);
}

export async function measureCrowd(scene: Scene, recorder: Recorder): Promise<void> {
  const { isQuick } = scene.effort;
  const { record, note } = recorder;
  const cleanUp = createCleanUp();
  const close = scene.cleanUp.add(async (say) => {
    const failures = await cleanUp.run(say);
    if (failures.length > 0) throw new Error(failures.join('; '));
  });
  try {
    const crowd = await openCrowd(scene, cleanUp);
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
    if (isQuick) return await measureFlat(crowd, scene.effort, recorder);
    await compare(100);
    await measureFlat(crowd, scene.effort, recorder);
    await compare(500);
  } finally {
    await close();
  }
}
