/** Servers without network or config drive, asked for at Nova's API as a user would, on a host that the request names. */
import { endpoints } from '../cloud/control-plane/index.js';
import type { Contender } from './contenders.js';
import { removeServersOf } from './host-records.js';
import { cpuSecondsOf, totalCpu, type CpuSeconds } from './process-figures.js';
import type { Recorder } from './recorder.js';
import { median } from './results.js';
import type { Scene } from './scene.js';
import { untilInterrupted } from './until-interrupted.js';

const request = ({ image, flavor }: Scene, { host }: Contender, more: Readonly<Record<string, unknown>> = {}): unknown => ({
  server: { name: 'bench', imageRef: image, flavorRef: flavor, networks: 'none', config_drive: false, host, ...more },
});

/** Of each of `count` boots since `before`. */
function cpuSince(contender: Contender, before: CpuSeconds, count: number): CpuSeconds {
  const { own, children } = cpuSecondsOf(contender.pid());
  return { own: (own - before.own) / count, children: (children - before.children) / count };
}

/** One server; the seconds from the request to the first answer that says ACTIVE. */
export async function bootOne(scene: Scene, contender: Contender): Promise<{ id: string; seconds: number }> {
  const { admin } = scene.cloud;
  scene.signal.throwIfAborted();
  const began = performance.now();
  const { server: { id } } = await admin.post<{ server: { id: string } }>(`${endpoints.nova}/servers`, request(scene, contender));
  const seconds = await untilInterrupted(scene.signal, 60_000, () => `server ${id} on ${contender.host} is not ACTIVE after a minute`, async () => {
    const { server } = await admin.get<{ server: { status: string; fault?: { message: string } } }>(`${endpoints.nova}/servers/${id}`);
    if (server.status === 'ERROR') throw new Error(`server ${id} on ${contender.host} failed: ${String(server.fault?.message)}`);
    return server.status === 'ACTIVE' ? (performance.now() - began) / 1000 : null;
  }, 25);
  return { id, seconds };
}

async function bootsInTurn(scene: Scene, contender: Contender, count: number): Promise<{ p50: number; cpu: CpuSeconds }> {
  const before = cpuSecondsOf(contender.pid());
  const times: number[] = [];
  for (let index = 0; index < count; index += 1) times.push((await bootOne(scene, contender)).seconds);
  return { p50: median(times), cpu: cpuSince(contender, before, count) };
}

export async function measureBoots(scene: Scene, { record, note }: Recorder): Promise<void> {
  const { effort, cloud } = scene;
  const both = [scene.ours, scene.peer] as const;
  const count = effort.isQuick ? 5 : 20;
  for (const each of both) await bootOne(scene, each); // the image gets into the cache, the code into the processor's
  for (let round = 1; round <= effort.rounds; round += 1) {
    note(`round ${round}: ours`);
    const ours = await bootsInTurn(scene, scene.ours, count);
    note(`round ${round}: the peer`);
    const peer = await bootsInTurn(scene, scene.peer, count);
    record('boot-p50', ours.p50, peer.p50);
    record('boot-cpu', totalCpu(ours.cpu), totalCpu(peer.cpu));
    record('boot-commands-cpu', ours.cpu.children, peer.cpu.children);
    for (const each of both) await removeServersOf(cloud, each.host, scene.signal);
  }
}

interface AtOnce { readonly seconds: number; readonly cpu: CpuSeconds }

async function bootsAtOnce(scene: Scene, contender: Contender, count: number): Promise<AtOnce> {
  const { admin } = scene.cloud;
  scene.signal.throwIfAborted();
  const before = cpuSecondsOf(contender.pid());
  const began = performance.now();
  const { reservation_id: reservation } = await admin.post<{ reservation_id: string }>(`${endpoints.nova}/servers`,
    request(scene, contender, { min_count: count, max_count: count, return_reservation_id: true }));
  let states: string[] = [];
  const seconds = await untilInterrupted(scene.signal, 240_000, () => `of ${count} servers on ${contender.host} only ${states.filter((state) => state === 'ACTIVE').length} are ACTIVE`, async () => {
    states = (await admin.get<{ servers: { status: string }[] }>(`${endpoints.nova}/servers/detail?reservation_id=${reservation}`)).servers.map(({ status }) => status);
    if (states.includes('ERROR')) throw new Error(`a server of ${count} on ${contender.host} failed`);
    return states.length === count && states.every((state) => state === 'ACTIVE') ? (performance.now() - began) / 1000 : null;
  }, 400);
  return { seconds, cpu: cpuSince(contender, before, count) };
}

/** At full strength one round is fifty boots on each side, of which the control plane takes the better part of a minute: two rounds must do. */
export async function measureBootsAtOnce(scene: Scene, { record, note }: Recorder): Promise<void> {
  const { effort, cloud } = scene;
  const count = effort.isQuick ? 10 : 50;
  for (let round = 1; round <= Math.min(2, effort.rounds); round += 1) {
    const samples: AtOnce[] = [];
    for (const each of [scene.ours, scene.peer]) {
      note(`round ${round}: ${count} boots at once, ${each.name}`);
      samples.push(await bootsAtOnce(scene, each, count));
      await removeServersOf(cloud, each.host, scene.signal);
    }
    const [ours, peer] = samples as [AtOnce, AtOnce];
    record('boots-at-once-wall', ours.seconds, peer.seconds);
    record('boots-at-once-cpu', totalCpu(ours.cpu), totalCpu(peer.cpu));
    record('boots-at-once-commands-cpu', ours.cpu.children, peer.cpu.children);
  }
}
