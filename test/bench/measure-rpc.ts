/** Calls over the bus: a ping, which costs nothing but the RPC server, and a question about a guest. The floor is an echo on the bare library. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { repository } from '../lab/engine.js';
import { bootOne } from './measure-boots.js';
import { removeServersOf } from './host-records.js';
import { cpuSecondsOf, totalCpu } from './process-figures.js';
import type { RawCall, RawClient } from './raw-client.js';
import type { Recorder } from './recorder.js';
import { median } from './results.js';
import type { Scene } from './scene.js';

interface Rates {
  readonly p50Ms: number;
  readonly oneAtATime: number;
  readonly inFlight: number;
  readonly cpuMs: number;
}

const width = 32;

async function manyAtOnce(client: RawClient, call: RawCall, count: number): Promise<number> {
  const began = performance.now();
  let left = count;
  await Promise.all(Array.from({ length: width }, async () => {
    while (left > 0) {
      left -= 1;
      await client.call(call);
    }
  }));
  return count / ((performance.now() - began) / 1000);
}

/** `count` calls one after the other, then twice as many with 32 in flight; the first tenth of each is for warming up. */
async function rates(client: RawClient, pid: number, call: RawCall, count: number): Promise<Rates> {
  const times: number[] = [];
  for (let index = 0; index < count * 1.1; index += 1) {
    const began = performance.now();
    await client.call(call);
    if (index >= count * 0.1) times.push(performance.now() - began);
  }
  await manyAtOnce(client, call, Math.ceil(count / 5));
  const before = totalCpu(cpuSecondsOf(pid));
  const inFlight = await manyAtOnce(client, call, 2 * count);
  const cpuMs = (1000 * (totalCpu(cpuSecondsOf(pid)) - before)) / (2 * count);
  return { p50Ms: median(times), oneAtATime: 1000 / (times.reduce((sum, ms) => sum + ms, 0) / times.length), inFlight, cpuMs };
}

const ping = (host: string): RawCall =>
  ({ exchange: 'nova', routingKey: `compute.${host}`, method: 'ping', namespace: 'baseapi', version: '1.0', args: { arg: 'a short question' } });

async function startEcho(url: string, queue: string): Promise<{ readonly pid: number; readonly stop: () => void }> {
  const child = spawn(process.execPath, [join(repository, 'dist/test/bench/echo-server.js'), url, queue], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', () => resolve());
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the echo server ended with ${String(code)}`)));
  });
  return { pid: child.pid!, stop: () => void child.kill() };
}

export async function measurePing(scene: Scene, { record, note }: Recorder): Promise<void> {
  const { client, effort } = scene;
  const queue = 'bench-echo';
  const echo = await startEcho(scene.brokerUrl, queue);
  const stopEcho = scene.cleanUp.add(echo.stop);
  const count = effort.isQuick ? 1000 : 3000;
  const floorCall = { ...ping(''), exchange: '', routingKey: queue };
  try {
    await rates(client, echo.pid, floorCall, count / 2); // our own client must be warm too, or what is asked first looks slow
    for (let round = 1; round <= effort.rounds; round += 1) {
      note(`round ${round}: the bare echo`);
      const floor = await rates(client, echo.pid, floorCall, count);
      note(`round ${round}: ours`);
      const ours = await rates(client, scene.ours.pid(), ping(scene.ours.host), count);
      note(`round ${round}: the peer`);
      const peer = await rates(client, scene.peer.pid(), ping(scene.peer.host), count);
      record('ping-p50', ours.p50Ms, peer.p50Ms);
      record('ping-one-at-a-time', ours.oneAtATime, peer.oneAtATime);
      record('ping-32-in-flight', ours.inFlight, peer.inFlight);
      record('ping-cpu', ours.cpuMs, peer.cpuMs);
      record('ping-p50-over-echo', ours.p50Ms, floor.p50Ms);
      record('ping-32-over-echo', ours.inFlight, floor.inFlight);
    }
  } finally {
    await stopEcho();
  }
}

/** The question as nova-api was recorded asking it, about another instance. */
function diagnosticsOf(host: string, uuid: string): RawCall {
  const [line] = readFileSync(join(repository, 'test/samples/wire/zed/diagnostics.jsonl'), 'utf8').split('\n').filter((each) => each.includes('"get_instance_diagnostics"'));
  const { message } = JSON.parse(line!) as { message: { args: { instance: { 'nova_object.data': Record<string, unknown> } }; version: string } };
  const instance = { ...message.args.instance, 'nova_object.data': { ...message.args.instance['nova_object.data'], uuid, host, node: host, launched_on: host } };
  return { exchange: 'nova', routingKey: `compute.${host}`, method: 'get_instance_diagnostics', version: message.version, args: { instance } };
}

export async function measureDiagnostics(scene: Scene, { record, note }: Recorder): Promise<void> {
  const { client, effort } = scene;
  const [ourUuid, peerUuid] = [(await bootOne(scene, scene.ours)).id, (await bootOne(scene, scene.peer)).id];
  const count = effort.isQuick ? 100 : 400;
  for (let round = 1; round <= effort.rounds; round += 1) {
    note(`round ${round}`);
    const ours = await rates(client, scene.ours.pid(), diagnosticsOf(scene.ours.host, ourUuid), count);
    const peer = await rates(client, scene.peer.pid(), diagnosticsOf(scene.peer.host, peerUuid), count);
    record('diagnostics-p50', ours.p50Ms, peer.p50Ms);
    record('diagnostics-one-at-a-time', ours.oneAtATime, peer.oneAtATime);
    record('diagnostics-32-in-flight', ours.inFlight, peer.inFlight);
  }
  for (const { host } of [scene.ours, scene.peer]) await removeServersOf(scene.cloud, host, scene.signal);
}
