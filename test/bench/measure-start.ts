/** How long a service takes until the cloud counts on it, and what it weighs when nobody wants anything of it. */
import { setTimeout as pause } from 'node:timers/promises';
import { endpoints, sql } from '../cloud/control-plane/index.js';
import type { Contender } from './contenders.js';
import { cpuSecondsOf, residentMiB, totalCpu } from './process-figures.js';
import type { Recorder } from './recorder.js';
import type { Scene } from './scene.js';
import { untilInterrupted } from './until-interrupted.js';

/** Nova forgets that it has heard of the host: otherwise it would count as up for another minute, whether it runs or not. */
async function forgetHeartbeat({ plane }: Scene, host: string): Promise<void> {
  await sql(plane.layout, `UPDATE nova.services SET last_seen_up = '2020-01-01 00:00:00', created_at = '2020-01-01 00:00:00' WHERE host = '${host}' AND topic = 'compute';`);
}

interface Start { readonly seconds: number; readonly cpu: number }

/** From the start of the process until `openstack compute service list` says up. It is asked twenty times a second. */
async function startToUp(scene: Scene, contender: Contender): Promise<Start> {
  const { cloud } = scene;
  await contender.stop();
  await forgetHeartbeat(scene, contender.host);
  const [before] = await cloud.compute.services(contender.host);
  if (before?.state !== 'down') throw new Error(`${contender.host} is stopped and its heartbeat forgotten, but Nova calls it ${String(before?.state)}`);
  const began = performance.now();
  contender.start();
  const pid = contender.pid();
  return untilInterrupted(scene.signal, 60_000, () => `${contender.host} is not up a minute after its start`, async () => {
    const [service] = (await cloud.admin.get<{ services: { state: string }[] }>(`${endpoints.nova}/os-services?binary=nova-compute&host=${contender.host}`)).services;
    return service?.state === 'up' ? { seconds: (performance.now() - began) / 1000, cpu: totalCpu(cpuSecondsOf(pid)) } : null;
  }, 50);
}

export async function measureStart(scene: Scene, { record, note }: Recorder): Promise<void> {
  for (let round = 1; round <= scene.effort.rounds; round += 1) {
    note(`round ${round}`);
    const [ours, peer] = [await startToUp(scene, scene.ours), await startToUp(scene, scene.peer)];
    record('start-to-up', ours.seconds, peer.seconds);
    record('start-cpu', ours.cpu, peer.cpu);
    await measureIdle(scene, { record, note });
  }
}

/** Both have been up for a while: start-up garbage is gone, a report and a heartbeat went by. */
async function measureIdle({ ours, peer, effort, signal }: Scene, { record, note }: Recorder): Promise<void> {
  note('letting both come to rest');
  await pause(effort.isQuick ? 5_000 : 15_000, undefined, { signal });
  record('rss-idle', residentMiB(ours.pid()), residentMiB(peer.pid()));
}
