/** Puts the parts of the bhyve driver together; the theory is in index.ts. */
import { assert } from '../../lib/assert.js';
import type { Clock } from '../../lib/clock.js';
import { AgentError } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import { KeyedMutex } from '../../lib/keyed-mutex.js';
import { sideBySide } from '../../lib/side-by-side.js';
import { createRelay } from '../../console/index.js';
import type { Host } from '../../host/index.js';
import type { Logger, Metrics } from '../../observe/index.js';
import { powerStates, type GuestState, type HostCapabilities, type HypervisorDriver, type PowerState } from '../types.js';
import { adoptGuests } from './adopt.js';
import { createListeningPorts, type VncOptions } from './allocations.js';
import { readBootId } from './boot-id.js';
import { assertUsable, probeCapabilities } from './capabilities.js';
import { defineGuest, readStoredSpec } from './define-guest.js';
import { diagnosticsOff, diagnosticsOn, readFigures, readTscHz } from './diagnostics.js';
import { createGuestFiles, filesAtOnce } from './guest-files.js';
import { injectNmi } from './inject-nmi.js';
import { readInventory } from './inventory.js';
import { checkpointDisks, moveDisks } from './live-disks.js';
import { planSlots } from './machine-spec.js';
import { destroyGuest, softRebootGuest, startGuest, stopGuest, type LifecycleDeps } from './lifecycle.js';
import { listProcesses, observeGuest } from './observe-guest.js';
import { pauseGuest, unpauseGuest } from './pause.js';
import { isStopped, type SortedProcesses } from './proof.js';
import { readSaveRestore, withFinding } from './save-capability.js';
import { readSaveIdentity, type SaveIdentity } from './save-identity.js';
import type { SaveLocation } from './sandbox.js';
import { createSaves } from './saves.js';
import { openScreen, screenOf } from './guarded-screens.js';
import { createSerialConsoles, type SerialOptions } from './serial-consoles.js';
import { fixedSlots } from './slot-map.js';
import { trimLogs } from './trim-logs.js';
import { hasSave } from './suspend-guest.js';
import { createTakenNumbers } from './taken-numbers.js';
import { interpretVerdict } from './verdict.js';
import { createWatch } from './watch.js';

export interface BhyveDriverOptions {
  readonly host: Host;
  /** The agent's state folder; guests live in `instances/` below it. */
  readonly statePath: string;
  /** Searched in order; see `defaultFirmwareDirs`. */
  readonly firmwareDirs: readonly string[];
  /** Null: guests get no screen. */
  readonly vnc: VncOptions | null;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Name of the node towards Nova; default kern.hostname. */
  readonly hypervisorHostname?: string;
  /** Default /var/run/dmesg.boot. */
  readonly bootMessagesPath?: string;
  /** Default 30 s. */
  readonly startTimeoutMs?: number;
  /** Octets of a console's log before it is turned over. Default 8 MiB. */
  readonly consoleLogMaxBytes?: number;
  /** Null or absent: no interactive serial consoles. */
  readonly serial?: SerialOptions | null;
  /** False: guests are not saved, whatever the host can do. Default true. */
  readonly mayRestore?: boolean;
  /** True: new guests have SATA disks and no others. Default false. */
  readonly hasSataDisksOnly?: boolean;
  /** True: nor are they where bhyve has no sandbox. Default false. */
  readonly needsSandbox?: boolean;
  /** Where bhyve writes saves: as its sandbox wants it, in the guest's folder, or beside its first disk. Default auto. */
  readonly saveLocation?: SaveLocation;
  /** True: of the self-test. Default false. */
  readonly isTrial?: boolean;
}

const addressesOf = (slots: Readonly<Record<string, number>>): Record<string, string> =>
  Object.fromEntries(Object.entries(slots).map(([key, slot]) => [key, `0:${slot}:0`]));

const bhyveLogMaxBytes = 1024 * 1024;
const identityMs = 3_600_000;

export function createBhyveDriver(options: BhyveDriverOptions): HypervisorDriver {
  const { host, clock, log } = options;
  assert(options.statePath.startsWith('/'), 'the state path is absolute');
  const files = createGuestFiles(host, options.statePath);
  let probed: HostCapabilities | undefined;
  let bootId: Promise<string> | undefined;
  let tscHzRead: Promise<bigint | null> | undefined;
  let identityRead: { readonly identity: SaveIdentity; readonly atMs: number } | undefined;
  const capabilities = (): HostCapabilities => {
    assert(probed !== undefined, 'prepare() comes before the use of the driver');
    return probed;
  };
  const lifecycle: LifecycleDeps = {
    host, files, clock, log, capabilities, vnc: options.vnc,
    boot: () => (bootId ??= readBootId(host)),
    allocations: new KeyedMutex(),
    taken: createTakenNumbers(files, log),
    listening: createListeningPorts({ host, clock, log }),
    closeScreen: async (instance) => relay?.close(instance),
    startTimeoutMs: options.startTimeoutMs ?? 30_000,
    consoleLogMaxBytes: options.consoleLogMaxBytes ?? 8 * 1024 * 1024,
    isTrial: options.isTrial ?? false,
  };
  /** A constant of the machine, unless it could not be read. */
  const tscHz = async (): Promise<bigint | null> => {
    tscHzRead ??= readTscHz(host).catch((error: unknown) => {
      tscHzRead = undefined;
      throw error;
    });
    return tscHzRead;
  };
  const mutex = new KeyedMutex<InstanceUuid>();
  const watch = createWatch({ lifecycle, clock, log, metrics: options.metrics, mutex });
  const serial = options.serial === undefined || options.serial === null ? null : createSerialConsoles({ host, clock, log }, options.serial);
  const guard = options.vnc?.guard ?? null;
  const relay = guard === null ? null : createRelay({ host, clock, log: log.child({ part: 'console' }), screenOf: (instance) => screenOf({ files, state }, instance) }, guard);
  /** What leads to a guest that has ended. */
  const closeConsoles = async (instance: InstanceUuid): Promise<void> => {
    await serial?.close(instance);
    await relay?.close(instance);
  };
  watch.onEvent(({ instance, kind }) => { if (kind === 'stopped') void closeConsoles(instance); });

  const noteStopped = (instance: InstanceUuid): void => watch.note(instance, { kind: 'stopped' });
  const noteRunning = (instance: InstanceUuid, pid: number): void => watch.note(instance, { kind: 'running', pid, isSupervised: true });

  /** Whatever became of a guest in an operation of ours is known, not an event: also when the operation failed half way. */
  async function withGuest<T>(instance: InstanceUuid, work: () => Promise<T>): Promise<T> {
    return mutex.run(instance, async () => {
      try {
        return await work();
      } catch (error) {
        const seen = await observeGuest(lifecycle, instance).catch(() => undefined);
        if (seen?.kind === 'running') noteRunning(instance, seen.process.pid);
        else if (seen !== undefined) noteStopped(instance);
        throw error;
      }
    });
  }

  /** `all`: a process list of this moment, for a first look. */
  async function state(instance: InstanceUuid, all?: SortedProcesses): Promise<GuestState> {
    if (all === undefined && !(await files.isDefined(instance))) return { kind: 'absent' };
    const deadline = clock.monotonicMs() + 3000;
    for (let list = all; ; list = undefined) {
      const seen = await observeGuest(lifecycle, instance, list);
      if (seen.kind !== 'running' && all !== undefined && !(await files.isDefined(instance))) return { kind: 'absent' };
      if (seen.kind === 'ended') return { kind: 'stopped', verdict: seen.verdict === null ? null : interpretVerdict(seen.verdict) };
      if (seen.kind === 'left-over') return { kind: 'stopped', verdict: null };
      if (seen.kind === 'running') {
        const { pid, startedAtSeconds } = seen.process;
        return { kind: 'running', pid, startedAtSeconds, isPaused: isStopped(seen.process) };
      }
      // Between two runs of bhyve for long: the supervisor is at it, and Nova has no word for that but running.
      if (clock.monotonicMs() >= deadline) {
        return { kind: 'running', pid: seen.status?.pid ?? 0, startedAtSeconds: seen.status?.sinceSeconds ?? 0, isPaused: false };
      }
      await clock.sleep(200);
    }
  }

  async function powerState(instance: InstanceUuid, all?: SortedProcesses): Promise<PowerState> {
    const seen = await state(instance, all);
    if (seen.kind === 'absent') return powerStates.noState;
    if (seen.kind === 'running') return seen.isPaused ? powerStates.paused : powerStates.running;
    if (seen.verdict?.kind === 'suspended' || (seen.verdict === null && (await hasSave(lifecycle, instance)))) return powerStates.suspended;
    return seen.verdict?.kind === 'crashed' ? powerStates.crashed : powerStates.shutdown;
  }

  async function readIdentity(): Promise<SaveIdentity> {
    identityRead = { identity: await readSaveIdentity(host, capabilities()), atMs: clock.monotonicMs() };
    return identityRead.identity;
  }

  /** Programs of many MiB are read for it, so what only tells the scheduler may be an hour old; a save and a restore look anew. */
  const recentIdentity = async (): Promise<SaveIdentity> =>
    (identityRead !== undefined && clock.monotonicMs() - identityRead.atMs < identityMs ? identityRead.identity : readIdentity());

  /** What the operator says about saves on such a host; null: they are wanted. */
  function whyUnwanted(): string | null {
    if (options.mayRestore === false) return 'switched off by [bhyve] save_restore';
    return options.needsSandbox === true && capabilities().sandbox === 'none' ? 'this bhyve has no sandbox, and [bhyve] save_restore = sandboxed' : null;
  }

  /** The self-test may have been run since, by another process. */
  async function lookAtSelfTest(identity: () => Promise<SaveIdentity> = readIdentity): Promise<HostCapabilities> {
    const saveRestore = await readSaveRestore(host, options.statePath, capabilities(), whyUnwanted(), identity);
    return (probed = { ...capabilities(), saveRestore });
  }

  return {
    async prepare() {
      probed = await probeCapabilities(host, {
        firmwareDirs: options.firmwareDirs, bootMessagesPath: options.bootMessagesPath ?? '/var/run/dmesg.boot', saveLocation: options.saveLocation ?? 'auto',
      });
      probed = withFinding(await lookAtSelfTest());
      assertUsable(probed);
      await host.files.makeDirectory(files.root, 0o700);
      await host.files.makeDirectory(files.events, 0o700);
      return probed;
    },
    get capabilities() {
      return capabilities();
    },
    inventory: async () => readInventory(host, await lookAtSelfTest(recentIdentity), { hasScreens: options.vnc !== null, hasSataDisksOnly: options.hasSataDisksOnly ?? false }, options.hypervisorHostname),
    list: () => files.list(),
    state: (instance) => state(instance),
    powerState: (instance) => powerState(instance),
    async powerStates(instances) {
      const seen = new Map<InstanceUuid, PowerState>();
      if (instances.length === 0) return seen;
      const all = await listProcesses(host);
      await sideBySide(instances, filesAtOnce, async (instance) => {
        try {
          seen.set(instance, await powerState(instance, all));
        } catch (err) {
          log.warn({ err, instance }, 'power state of a guest not read');
        }
      });
      return seen;
    },
    define: (definition) => withGuest(definition.instance, async () => {
      // Without a stored definition there never was a guest; a stranger of its name is refused when it is started.
      const seen = !(await files.isDefined(definition.instance)) ? null : await observeGuest(lifecycle, definition.instance);
      if (seen?.kind === 'running' || seen?.kind === 'coming-up') {
        throw new AgentError('guest-running', `guest ${definition.instance} runs: stop it before it is defined anew`);
      }
      await defineGuest(lifecycle, definition);
      noteStopped(definition.instance);
    }),
    definition: async (instance) => (await files.readSpec(instance))?.definition,
    plannedSlots: async (definition) => addressesOf(planSlots(definition, await files.readSpec(definition.instance))),
    async slots(instance) {
      const { slots, definition } = await readStoredSpec(files, instance);
      const isAmd64 = capabilities().architecture === 'amd64';
      const fixed: [string, number][] = [['hostbridge', fixedSlots.hostbridge]];
      if (isAmd64) fixed.push(['lpc', fixedSlots.lpc]);
      if (isAmd64 && definition.hasVnc && options.vnc !== null) {
        fixed.push(['framebuffer', fixedSlots.framebuffer], ...(definition.hasTablet ? [['tablet', fixedSlots.tablet] as [string, number]] : []));
      }
      return addressesOf({ ...Object.fromEntries(fixed), ...slots.used });
    },
    start: (instance) => withGuest(instance, async () => {
      await readStoredSpec(files, instance);
      noteRunning(instance, (await startGuest(lifecycle, instance)).process.pid);
    }),
    stop: (instance, stopOptions) => withGuest(instance, async () => {
      const stored = await stopGuest(lifecycle, instance, stopOptions);
      await closeConsoles(instance);
      noteStopped(instance);
      return stored === null ? null : interpretVerdict(stored);
    }),
    softReboot: (instance, stopOptions) => withGuest(instance, async () => {
      const isBack = await softRebootGuest(lifecycle, instance, stopOptions);
      const seen = await observeGuest(lifecycle, instance);
      if (seen.kind === 'running') noteRunning(instance, seen.process.pid);
      return isBack;
    }),
    pause: (instance) => withGuest(instance, () => pauseGuest(lifecycle, instance)),
    unpause: (instance) => withGuest(instance, () => unpauseGuest(lifecycle, instance)),
    ...createSaves({ lifecycle, withGuest, noteStopped, noteRunning, lookAtSelfTest, closeConsole: closeConsoles }),
    moveDisks: (instance, paths) => withGuest(instance, () => moveDisks(lifecycle, instance, paths)),
    checkpointDisks: (instance, name, kind) => withGuest(instance, () => checkpointDisks(lifecycle, instance, name, kind)),
    injectNmi: (instance) => injectNmi(lifecycle, instance),
    forgetVariables: (instance) => withGuest(instance, () => files.forget(instance, ['variableStore'])),
    destroy: (instance) => withGuest(instance, async () => {
      await closeConsoles(instance);
      await destroyGuest(lifecycle, instance);
      watch.note(instance, null);
    }),
    async folder(instance) {
      const { folder } = files.paths(instance);
      await host.files.makeDirectory(folder, 0o700);
      return folder;
    },
    async adopt() {
      await adoptGuests(lifecycle, watch);
      watch.start();
    },
    onEvent: (listener) => watch.onEvent(listener),
    // A guest that has just been started has a console, on which nothing has been said.
    consoleLog: async (instance, tailLines) => (await files.consoleTail(instance, tailLines)) ?? ((await files.readSpec(instance)) === undefined ? undefined : ''),
    async vncEndpoint(instance) {
      const screen = await screenOf({ files, state }, instance);
      return screen === null ? null : { host: screen.host, port: screen.port };
    },
    openVncConsole: (instance) => openScreen({ files, state, relay, address: guard?.address ?? '' }, instance),
    async diagnostics(instance) {
      const { definition } = await readStoredSpec(files, instance);
      // Asked for while ps tells whether the guest runs, and thrown away if it does not.
      const figures = tscHz().then((hz) => readFigures(host, instance, definition, hz));
      figures.catch(() => undefined);
      const seen = await observeGuest(lifecycle, instance);
      if (seen.kind === 'running') return diagnosticsOn(definition, seen.process, await figures, Math.floor(clock.now().getTime() / 1000));
      return diagnosticsOff(definition, (await powerState(instance)) === powerStates.crashed);
    },
    uptimeLine: async () => (await host.run('uptime', [])).stdout.trim(),
    async openSerialConsole(instance) {
      const spec = await files.readSpec(instance);
      if (serial === null || spec === undefined || (await state(instance)).kind !== 'running') return null;
      return serial.open(instance, { log: files.paths(instance).consoleLog, terminal: `${host.deviceRoot}/nmdm${spec.consoleUnit}B` });
    },
    admitToSerialConsole: async (instance, port) => serial !== null && (await state(instance)).kind === 'running' && serial.admit(instance, port),
    async upkeep() {
      await trimLogs(host, files, log, bhyveLogMaxBytes);
      await serial?.closeIdle();
    },
    async close() {
      await watch.close();
      await serial?.closeAll();
      await relay?.closeAll();
    },
  };
}
