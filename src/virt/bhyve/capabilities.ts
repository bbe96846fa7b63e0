/**
 * What this host can do, probed and not assumed by version (bhyve-facts 14). A missing optional feature becomes a finding and a false
 * capability; a missing essential is AgentError `host-unusable` with what the operator should do.
 */
import { AgentError } from '../../lib/errors.js';
import type { Host, RunResult, ToolName } from '../../host/index.js';
import type { HostCapabilities } from '../types.js';
import { parseCpuFeatures } from './cpu-features.js';
import { findFirmware } from './firmware.js';
import { readSandbox, sandboxFinding, type SaveLocation } from './sandbox.js';

type Finding = HostCapabilities['findings'][number];

export interface ProbeOptions {
  readonly firmwareDirs: readonly string[];
  /** Boot messages of the kernel, `/var/run/dmesg.boot`. */
  readonly bootMessagesPath: string;
  /** Default auto. */
  readonly saveLocation?: SaveLocation;
}

/** Looks at everything; throws only if the host cannot say what it is. `assertUsable` judges. */
export async function probeCapabilities(realHost: Host, options: ProbeOptions): Promise<HostCapabilities> {
  const host = askedOnce(realHost);
  const findings: Finding[] = [];
  const note = (probe: string, answer: string, isOk: boolean, advice: string | null = null): boolean => {
    findings.push({ probe, answer, isOk, advice: isOk ? null : advice });
    return isOk;
  };
  await Promise.all([
    askAhead(host, ['hw.machine_arch', 'kern.osreldate', 'hw.model'], [['freebsd-version', ['-u']]]),
    ...['vmm', 'nmdm'].map((module) => probeModule(host, module)), // hw.vmm appears with the module
  ]);
  void askAhead(host, ['hw.vmm.vmx.initialized', 'hw.vmm.svm.features', 'hw.vmm.maxcpu'], [['bhyve', deviceHelp], ['bhyvectl', []], ['bhyve', bootromDryRun]]);
  const architecture = await probeArchitecture(host);
  const release = (await attempt(host, 'freebsd-version', ['-u']))?.stdout.trim() || ((await host.sysctl('kern.osrelease')) ?? 'unknown');
  const osReleaseDate = Number((await host.sysctl('kern.osreldate')) ?? 0);
  note('release', `${release} (${osReleaseDate})`, osReleaseDate >= 1_302_000, 'FreeBSD 13.2 or newer is needed');
  for (const tool of ['bhyve', 'bhyvectl', 'daemon', 'ps', 'ifconfig', 'sh'] as const) {
    note(`tool ${tool}`, host.toolPath(tool) ?? 'missing', host.toolPath(tool) !== undefined, `${tool}(8) belongs to the base system: check PATH`);
  }
  const hasVmm = note('vmm', ...(await probeModule(host, 'vmm')));
  note('nmdm', ...(await probeModule(host, 'nmdm')));
  const canVirtualize = hasVmm && (await probeVirtualization(host, architecture, note));
  const devices = await probeDevices(host, note);
  const firmware = await findFirmware(host.files, architecture, options.firmwareDirs);
  note('firmware', firmware?.code ?? 'none', firmware !== null,
    architecture === 'amd64' ? 'pkg install bhyve-firmware, or set [bhyve]firmware_dirs' : 'pkg install u-boot-bhyve-arm64, or set [bhyve]firmware_dirs');
  const cpuFeatures = await probeCpuFeatures(host, options.bootMessagesPath, architecture, note);
  const hasSnapshot = await probeSnapshot(host, architecture, note);
  const sandbox = hasSnapshot ? await readSandbox(host, options.saveLocation ?? 'auto') : 'unknown';
  if (hasSnapshot) findings.push(sandboxFinding(sandbox));
  const cpuModel = (await host.sysctl('hw.model')) ?? 'unknown';
  return {
    architecture, release, osReleaseDate, cpuModel, cpuVendor: await vendorOf(host, architecture, cpuModel), cpuFeatures, hasVmm, canVirtualize,
    maxVcpusPerGuest: await probeMaxVcpus(host, note), deviceModels: devices, hasSnapshot, sandbox,
    hasLibvdsk: await probeLibvdsk(host, note),
    hasResourceLimits: await probeResourceLimits(host, note),
    // Neither help nor usage tells this one: the TCP back end came to the serial ports with 15.0.
    hasTcpConsole: osReleaseDate >= 1_500_000,
    bootromKey: await probeBootromKey(host, architecture, osReleaseDate, note),
    hasFramebuffer: architecture === 'amd64' && devices.has('fbuf'), firmware,
    suspendExit: osReleaseDate >= 1_501_000 ? 5 : osReleaseDate < 1_500_000 ? 0 : null,
    // Not a matter of looking: see save-capability.ts.
    saveRestore: { status: 'untested', reason: 'not looked at yet', family: null, models: [] },
    findings,
  };
}

const deviceHelp = ['-s', 'help'];
const bootromDryRun = ['-l', 'bootrom,/nonexistent', '-o', 'config.dump=1', 'nova-bhyve-probe'];

/** The same host, but each question is put to it once: one that was asked ahead is answered when it is needed. */
function askedOnce(host: Host): Host {
  const answers = new Map<string, Promise<unknown>>();
  const once = <T>(key: string, ask: () => Promise<T>): Promise<T> => {
    const answer = (answers.get(key) as Promise<T> | undefined) ?? ask();
    answers.set(key, answer);
    return answer;
  };
  return {
    ...host,
    sysctl: (name) => once(name, () => host.sysctl(name)),
    run: (tool, args, options) => once([tool, ...args].join(' '), () => host.run(tool, args, options)),
  };
}

/** Whether a question can be answered is judged where the answer is needed. */
async function askAhead(host: Host, sysctls: readonly string[], commands: readonly (readonly [ToolName, readonly string[]])[]): Promise<void> {
  await Promise.allSettled([...sysctls.map((name) => host.sysctl(name)), ...commands.map(([tool, args]) => attempt(host, tool, args))]);
}

/** AgentError `host-unusable` naming the first thing that makes guests impossible, with advice. */
export function assertUsable(capabilities: HostCapabilities): void {
  const essential = capabilities.findings.filter(({ probe }) => probe.startsWith('tool ') || ['vmm', 'nmdm', 'virtualization', 'firmware', 'device models'].includes(probe));
  const missing = essential.find(({ isOk }) => !isOk);
  if (missing === undefined) return;
  throw new AgentError('host-unusable', `this host cannot run guests: ${missing.probe}: ${missing.answer}. ${missing.advice ?? ''}`.trim());
}

type Note = (probe: string, answer: string, isOk: boolean, advice?: string | null) => boolean;

/** A command whose failure is an answer; undefined if the host does not have it or it hangs. */
async function attempt(host: Host, tool: ToolName, args: readonly string[]): Promise<RunResult | undefined> {
  try {
    return await host.run(tool, args, { okExits: 'any', timeoutMs: 20_000 });
  } catch (error) {
    if (error instanceof AgentError) return undefined;
    throw error;
  }
}

async function probeArchitecture(host: Host): Promise<HostCapabilities['architecture']> {
  const machine = await host.sysctl('hw.machine_arch');
  if (machine === 'amd64') return 'amd64';
  if (machine === 'aarch64' || machine === 'arm64') return 'arm64';
  throw new AgentError('host-unusable', `hw.machine_arch is ${machine ?? 'unknown'}: bhyve guests are supported on amd64 and arm64`);
}

/** Loaded, or could be loaded now. kldload -n says yes to a module that is in the kernel already. */
async function probeModule(host: Host, module: string): Promise<[answer: string, isOk: boolean, advice: string]> {
  const advice = `kldload ${module}, and kld_list in rc.conf to have it at boot`;
  if ((await attempt(host, 'kldstat', ['-q', '-m', module]))?.code === 0) return ['loaded', true, advice];
  const loaded = await attempt(host, 'kldload', ['-n', module]);
  return loaded?.code === 0 ? ['loaded now', true, advice] : [loaded?.stderr.trim() || 'not loaded', false, advice];
}

async function probeVirtualization(host: Host, architecture: HostCapabilities['architecture'], note: Note): Promise<boolean> {
  const advice = 'switch on VT-x or SVM in the firmware of the machine (or nested virtualization in its host)';
  // On arm64 vmm loads only if the kernel was entered at EL2.
  if (architecture === 'arm64') return note('virtualization', 'vmm is loaded', true);
  if (Number(await host.sysctl('hw.vmm.vmx.initialized')) === 1) return note('virtualization', 'VT-x', true);
  if (Number((await host.sysctl('hw.vmm.svm.features')) ?? 0) !== 0) return note('virtualization', 'SVM', true);
  return note('virtualization', 'the CPU offers none', false, advice);
}

async function probeDevices(host: Host, note: Note): Promise<ReadonlySet<string>> {
  const answer = await attempt(host, 'bhyve', deviceHelp);
  const names = new Set(`${answer?.stdout ?? ''}\n${answer?.stderr ?? ''}`.split('\n').map((line) => line.trim()).filter((line) => /^[a-z0-9_-]+$/.test(line)));
  const missing = ['hostbridge', 'virtio-blk', 'virtio-net', 'ahci'].filter((name) => !names.has(name));
  note('device models', missing.length === 0 ? [...names].join(' ') : `missing: ${missing.join(' ')}`, missing.length === 0, 'bhyve -s help does not list what guests need');
  return names;
}

async function probeMaxVcpus(host: Host, note: Note): Promise<number> {
  const limit = Number((await host.sysctl('hw.vmm.maxcpu')) ?? (await host.sysctl('hw.ncpu')) ?? 1);
  note('vCPUs per guest', String(limit), limit >= 1);
  return Math.max(1, Number.isFinite(limit) ? limit : 1);
}

/** What bhyvectl says that it can do; '' without it. */
async function bhyvectlUsage(host: Host): Promise<string> {
  const usage = await attempt(host, 'bhyvectl', []);
  return `${usage?.stdout ?? ''}${usage?.stderr ?? ''}`;
}

/** Both halves must have been built with BHYVE_SNAPSHOT; a kernel without its configuration text is believed. */
async function probeSnapshot(host: Host, architecture: HostCapabilities['architecture'], note: Note): Promise<boolean> {
  const hasUserland = architecture === 'amd64' && (await bhyvectlUsage(host)).includes('--suspend=');
  const kernel = hasUserland ? await host.sysctl('kern.conftxt') : undefined;
  const hasKernel = kernel === undefined || kernel.includes('BHYVE_SNAPSHOT');
  note('save and restore', hasUserland ? (hasKernel ? 'built in' : 'bhyvectl has it, the kernel has not') : 'not built in', hasUserland && hasKernel,
    'suspend needs a FreeBSD built with BHYVE_SNAPSHOT');
  return hasUserland && hasKernel;
}

/** Only the bhyvectl that comes with libvdsk knows checkpoints outside a disk. Not having it is nothing that an operator should put right. */
async function probeLibvdsk(host: Host, note: Note): Promise<boolean> {
  const hasLibvdsk = (await bhyvectlUsage(host)).includes('--ext-checkpoint');
  note('libvdsk', hasLibvdsk ? 'bhyve opens qcow2 disks and makes checkpoints of them' : 'not there: bhyve opens raw disks only', true);
  return hasLibvdsk;
}

/** A loader tunable: GENERIC kernels have resource accounting, switched off. */
async function probeResourceLimits(host: Host, note: Note): Promise<boolean> {
  const isOn = host.toolPath('rctl') !== undefined && (await host.sysctl('kern.racct.enable')) === '1';
  return note('resource limits', isOn ? 'kern.racct.enable is 1' : 'switched off', isOn, 'flavors with quota: extra specs need kern.racct.enable=1 in loader.conf');
}

/** A dry run of the old argument shows where this bhyve puts it; no VM is made (exit 1 by design). */
async function probeBootromKey(
  host: Host, architecture: HostCapabilities['architecture'], osReleaseDate: number, note: Note,
): Promise<HostCapabilities['bootromKey']> {
  if (architecture === 'arm64') return 'top';
  const dump = await attempt(host, 'bhyve', bootromDryRun);
  const lines = (dump?.stdout ?? '').split('\n');
  const probed = lines.some((line) => line.startsWith('bootrom=')) ? 'top' : lines.some((line) => line.startsWith('lpc.bootrom=')) ? 'lpc' : undefined;
  // 15 reads the old key too, with a warning.
  const key = probed ?? (osReleaseDate >= 1_500_000 ? 'top' : 'lpc');
  note('boot ROM option', `${key === 'lpc' ? 'lpc.bootrom' : 'bootrom'}${probed === undefined ? ' (by release)' : ''}`, true);
  return key;
}

async function probeCpuFeatures(host: Host, path: string, architecture: HostCapabilities['architecture'], note: Note): Promise<readonly string[]> {
  if (architecture !== 'amd64') return [];
  const features = parseCpuFeatures((await host.files.readText(path)) ?? '');
  note('CPU features', features.length === 0 ? 'unknown' : `${features.length} known`, features.length > 0, `${path} has no Features= line: no HW_CPU trait is reported`);
  return features;
}

/** By its name; one that hides it (a host that is a virtual machine itself) by the kind of virtualization that it has: both trees are there on every amd64 host. */
async function vendorOf(host: Host, architecture: HostCapabilities['architecture'], model: string): Promise<HostCapabilities['cpuVendor']> {
  if (architecture === 'arm64') return 'ARM';
  if (/intel/i.test(model)) return 'Intel';
  if (/amd|opteron|ryzen|epyc/i.test(model)) return 'AMD';
  if (Number(await host.sysctl('hw.vmm.vmx.initialized')) === 1) return 'Intel';
  return Number((await host.sysctl('hw.vmm.svm.features')) ?? 0) !== 0 ? 'AMD' : 'unknown';
}
