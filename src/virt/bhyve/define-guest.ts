/** Writing a guest's files. Nothing here starts or ends a guest. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../lib/clock.js';
import { AgentError } from '../../lib/errors.js';
import type { KeyedMutex } from '../../lib/keyed-mutex.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { Host } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import type { GuestDefinition, HostCapabilities } from '../types.js';
import { chooseConsoleUnit, chooseVncPort, type ListeningPorts, type VncOptions } from './allocations.js';
import { ensureVariableStore } from './firmware.js';
import type { GuestFiles } from './guest-files.js';
import { buildMachineSpec, type MachineSpec } from './machine-spec.js';
import { renderConfig } from './render-config.js';
import { renderLimits } from './render-limits.js';
import { supervisorScript } from './supervisor-script.js';
import type { TakenNumbers } from './taken-numbers.js';

export interface DefineDeps {
  readonly host: Host;
  readonly files: GuestFiles;
  readonly clock: Clock;
  readonly log: Logger;
  /** One key, 'allocations': two guests must not choose the same number. */
  readonly allocations: KeyedMutex<'allocations'>;
  readonly taken: TakenNumbers;
  readonly listening: ListeningPorts;
  readonly capabilities: () => HostCapabilities;
  readonly vnc: VncOptions | null;
  /** Gives up the port at which proxies reach the guest's screen; none = fine. */
  readonly closeScreen: (instance: InstanceUuid) => Promise<void>;
}

/** All of what counts of a VNC password: eight octets, of 64 characters each. */
const newPassword = (): string => randomBytes(6).toString('base64url');

const isRescued = (definition: GuestDefinition | undefined): boolean => definition?.disks.some(({ role }) => role === 'rescue') === true;

const wantsScreen = (deps: DefineDeps, definition: GuestDefinition): boolean =>
  definition.hasVnc && deps.vnc !== null && deps.capabilities().hasFramebuffer && deps.capabilities().architecture === 'amd64';

/** Stores the definition with everything chosen for it, and writes bhyve.conf and the variable store. The guest must not run. */
export async function defineGuest(deps: DefineDeps, definition: GuestDefinition): Promise<void> {
  const { host, files } = deps;
  const capabilities = deps.capabilities();
  if (definition.vcpus > capabilities.maxVcpusPerGuest) {
    throw new AgentError('too-many-vcpus',
      `a guest on this host can have ${capabilities.maxVcpusPerGuest} vCPUs (hw.vmm.maxcpu), ${definition.vcpus} are asked for`);
  }
  await deps.allocations.run('allocations', async () => {
    const before = await files.readSpec(definition.instance);
    await deps.closeScreen(definition.instance);
    const others = await deps.taken.ofOthers(definition.instance);
    const consoleUnit = before?.consoleUnit ?? (await chooseConsoleUnit(host, definition.instance, others));
    const vnc = wantsScreen(deps, definition) ? await screenOf(deps, before, others, {}) : null;
    const createdAt = before?.createdAt ?? deps.clock.now().toISOString();
    const spec = buildMachineSpec(definition, before, { consoleUnit, vnc, createdAt });
    await host.files.makeDirectory(files.paths(definition.instance).folder, 0o700);
    // A rescue begins with firmware that has no boot entries: that is what lets its disk boot.
    if (!isRescued(before?.definition) || !isRescued(definition)) await files.forget(definition.instance, ['rescueVariableStore']);
    await store(deps, spec);
  });
  await writeGuestFiles(deps, definition.instance);
}

/**
 * The stored port, unless somebody else listens there now, on whatever address: the guest is off, so it is not the guest itself. A guarded screen gets a password,
 * another one unless it is to be kept.
 */
async function screenOf(
  deps: DefineDeps, before: MachineSpec | undefined, others: readonly Pick<MachineSpec, 'vnc'>[], { looksNow = false, keepsPassword = false },
): Promise<MachineSpec['vnc']> {
  const options = deps.vnc;
  if (options === null) return null;
  const isGuarded = (options.guard ?? null) !== null;
  const secret = isGuarded ? { password: (keepsPassword ? before?.vnc?.password : undefined) ?? newPassword() } : {};
  const stored = before?.vnc?.port;
  // An earlier look may have heard the guest itself: only one of this moment says that the port is taken.
  const isFree = async (port: number): Promise<boolean> =>
    (!looksNow && !(await deps.listening()).has(port)) || !(await deps.listening({ now: true })).has(port);
  if (stored !== undefined && (await isFree(stored))) return { address: options.address, port: stored, ...secret };
  return { address: options.address, port: await chooseVncPort(deps.listening, options, others), ...secret };
}

async function store(deps: DefineDeps, spec: MachineSpec): Promise<void> {
  await deps.files.writeSpec(spec);
  deps.taken.note(spec);
}

/** Looks again whether the screen's port is free, before a cold start or a resume, and changes its password. `wasJustDefined`: that look and that password may do. */
export async function refreshScreen(deps: DefineDeps, instance: InstanceUuid, wasJustDefined: boolean): Promise<void> {
  await deps.allocations.run('allocations', async () => {
    const spec = await readStoredSpec(deps.files, instance);
    if (!wantsScreen(deps, spec.definition)) return;
    await deps.closeScreen(instance);
    const vnc = await screenOf(deps, spec, await deps.taken.ofOthers(instance), { looksNow: !wasJustDefined, keepsPassword: wasJustDefined });
    if (vnc?.port !== spec.vnc?.port || vnc?.address !== spec.vnc?.address || vnc?.password !== spec.vnc?.password) await store(deps, { ...spec, vnc });
  });
}

/** AgentError `guest-not-defined` if there is no folder for the instance. */
export async function readStoredSpec(files: GuestFiles, instance: InstanceUuid): Promise<MachineSpec> {
  const spec = await files.readSpec(instance);
  if (spec === undefined) throw new AgentError('guest-not-defined', `this host has no guest ${instance}`);
  return spec;
}

/**
 * Renders bhyve.conf and the supervisor anew from the stored spec: at each start, so that an upgrade of the agent or of FreeBSD
 * reaches a guest when it starts next, never while it runs.
 */
export async function writeGuestFiles(deps: DefineDeps, instance: InstanceUuid): Promise<void> {
  const { host, files } = deps;
  const capabilities = deps.capabilities();
  const spec = await readStoredSpec(files, instance);
  const { firmware } = capabilities;
  if (firmware === null) throw new AgentError('host-unusable', 'no guest firmware is installed: pkg install bhyve-firmware');
  const paths = files.paths(instance);
  const store = isRescued(spec.definition) ? paths.rescueVariableStore : paths.variableStore;
  const firmwareVars = firmware.vars === null ? null : store;
  const config = renderConfig(spec, capabilities, { deviceRoot: host.deviceRoot, firmwareCode: firmware.code, firmwareVars });
  const limits = renderLimits(spec.definition.limits, host.toolPath('rctl'));
  // At the same time: most of it is waiting for the disk.
  await Promise.all([
    ensureVariableStore(host.files, firmware, store),
    writeIfDifferent(host, paths.config, config, 0o600),
    limits === '' ? files.forget(instance, ['limits']) : writeIfDifferent(host, paths.limits, limits, 0o600),
    writeIfDifferent(host, paths.supervisor, supervisorScript, 0o500),
  ]);
}

async function writeIfDifferent({ files }: Host, path: string, content: string, mode: number): Promise<void> {
  if ((await files.readText(path)) !== content) await files.writeAtomic(path, content, mode);
}
