/** One life of the agent's compute part on a World: from its start until it is killed or asked to end. */
import { Semaphore } from 'async-mutex';
import { computeEndpoint, joinCloud, noNotifications, planJournal, type ComputeDeps } from '../../src/compute/index.js';
import { requestsOf } from '../../src/control/index.js';
import { createEventWaiters, createGate } from '../../src/instances/index.js';
import { openJournal, type Journal } from '../../src/journal/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { adminContext, contextFromWire } from '../../src/rpc/context.js';
import type { IncomingMessage, RpcEndpoint, WireMessage } from '../../src/rpc/index.js';
import { noMetrics, recordingLog } from '../fakes/recording-log.js';
import { createCrash, withEffects, type CrashPoint, type CrashRecorder } from './crash.js';
import { fakeConductor, fakeGlance, fakePlacement, fakePorts, fakeTracker } from './fake-cloud.js';
import { fakeConfigDrive, fakeDriver, fakePlugger, fakeStorage } from './fake-node.js';
import { ourHost, type World } from './world.js';

export interface Agent {
  readonly crash: CrashRecorder;
  /** As from the broker: accepted, acknowledged, handled. Resolves when handled or when the agent died. */
  receive(wire: WireMessage): Promise<void>;
  /** As an operator over the control socket. Resolves with the error that he is told, with the result, or with nothing when the agent died. */
  ask(request: string, args: unknown): Promise<unknown>;
  /** Resolves when nothing goes on any more, or when the agent died. */
  idle(): Promise<void>;
  readonly log: ReturnType<typeof recordingLog>;
  /** The process is gone: the kernel closes its files. */
  close(): Promise<void>;
}

export function incoming(wire: WireMessage): IncomingMessage {
  return {
    method: String(wire['method']), args: wire['args'] as Record<string, unknown>, context: contextFromWire(wire), messageId: String(wire['_unique_id']), isCall: false,
    version: '6.0', wire,
  };
}

/** Starts as main.ts does: settle the journal, recover, then take the journalled messages again. */
export async function startAgent(world: World, journalFolder: string, point: CrashPoint | null): Promise<Agent> {
  const crash = createCrash(point);
  const log = recordingLog();
  const metrics = noMetrics;
  const file = await openJournal(journalFolder, { clock: systemClock, log: log.log });
  const journal = withEffects<Journal>(file, 'journal', crash, ['accept', 'begin', 'mark', 'end']);
  const gate = createGate({ log: log.log, metrics });
  const waiters = createEventWaiters();
  const plan = planJournal(journal.unfinished());
  const deps: ComputeDeps = {
    options: {
      host: ourHost, node: ourHost, instanceNameTemplate: 'instance-%08x', vifPluggingTimeoutMs: 5000, isVifPluggingFatal: true, shutdownTimeoutMs: 0, shutdownRetryMs: 0,
      forceConfigDrive: false, resumeGuestsOnHostBoot: false, handlesLifecycleEvents: true, isGroupPolicyUpcallDisabled: false, defaultEphemeralFormat: null, defaultAccessIpNetwork: null, trackInstanceChanges: true,
      consoleTokenTtlSeconds: 600, isDeferredDeleteOn: false, serial: null, shelvedOffloadSeconds: world.shelvedOffloadSeconds, snapshots: { format: 'raw', isCompressed: false, bytesPerSecond: 0 }, maxCheckpoints: 2, vnc: null,
    },
    conductor: fakeConductor(world, crash), ports: fakePorts(world, crash), plugger: fakePlugger(world, crash), storage: fakeStorage(world, crash), driver: fakeDriver(world, crash),
    tracker: fakeTracker(world, crash), placement: fakePlacement(world, crash), glance: fakeGlance(world, crash), configDrive: fakeConfigDrive(world, crash), gate, waiters, journal, notifications: noNotifications,
    resumedOperations: plan.resumed, buildSlots: new Semaphore(10), snapshotSlots: new Semaphore(5), clock: systemClock, log: log.log, metrics, ownContext: (readDeleted = 'no') => adminContext({ readDeleted }),
  };
  world.deliver = (instance, name, tag) => void waiters.deliver(instance, name, tag, 'completed');
  const endpoint = computeEndpoint(deps);
  const orDead = async (work: Promise<unknown>): Promise<void> => { await Promise.race([work, crash.died]); };
  const handle = (wire: WireMessage): Promise<void> => orDead(handleOne(endpoint, wire));
  let open: Promise<void>[] = [];

  /** What the broker holds for us: gone from there when it is accepted, in order. */
  const drain = (): Promise<void> => orDead((async () => {
    for (let wire = world.queue[0]; wire !== undefined; wire = world.queue[0]) {
      const message = incoming(wire);
      const answer = await endpoint.methods.get(message.method)?.accept?.(message);
      world.queue.shift();
      if (answer !== 'duplicate') await handleOne(endpoint, wire);
    }
  })());

  await orDead(joinCloud(deps, null, plan));
  open = crash.isDead ? [] : plan.again.map(({ message }) => handle(message));
  return {
    crash,
    log,
    close: () => file.close(),
    receive: (wire) => orDead((async () => {
      const message = incoming(wire);
      const method = endpoint.methods.get(message.method);
      if (method?.accept !== undefined && (await method.accept(message)) === 'duplicate') return;
      await handleOne(endpoint, wire);
      await drain();
    })()),
    async ask(request, args) {
      let answer: unknown;
      await orDead(requestsOf(deps).get(request)!(args, () => undefined).then((result) => { answer = result; }, (error: unknown) => { answer = error; }));
      return answer;
    },
    async idle() {
      await Promise.all(open);
      while (gate.open > 0 && !crash.isDead) await systemClock.sleep(1);
      await drain();
    },
  };
}

async function handleOne(endpoint: RpcEndpoint, wire: WireMessage): Promise<void> {
  const message = incoming(wire);
  const method = endpoint.methods.get(message.method);
  if (method === undefined) throw new Error(`no method ${message.method}`);
  try {
    await method.handle(message);
  } catch {
    // A cast has no reply; what the user sees is in the rows.
  }
}
