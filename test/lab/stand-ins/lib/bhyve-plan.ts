/**
 * From configuration variables to a QEMU machine. Checks come in bhyve's order with bhyve's words; whatever bhyve would refuse ends
 * here with its exit code. What QEMU needs beyond arguments (taps to take, consoles and screens to serve) is in the plan.
 */
import { type BhyveConfig, type ConfigTree } from './bhyve-config.js';
import { planDevice } from './bhyve-devices.js';
import { deviceAliases, deviceNames } from './bhyve-texts.js';
import { bootRomArguments } from './bhyve-firmware.js';
import { host } from './host-numbers.js';
import type { StandInNode } from './lab-node.js';
import type { PciDevice } from './save-layout.js';
import { Exit } from './tool.js';

export type ConsolePlan = { readonly kind: 'none' } | { readonly kind: 'stdio' } | { readonly kind: 'nmdm'; readonly peer: string } | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface ScreenPlan {
  readonly host: string;
  readonly port: number;
  readonly password: string | undefined;
  readonly waits: boolean;
}

/** Filled by the devices in the order of their PCI addresses. */
export interface Plan {
  readonly node: StandInNode;
  readonly config: BhyveConfig;
  readonly name: string;
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly arguments: string[];
  readonly taps: string[];
  /** Disks that libvdsk has found to be qcow2 files, by the name of QEMU's drive. */
  readonly qcowDisks: { readonly drive: string; readonly isAhci: boolean }[];
  /** All PCI devices, in the order of their addresses. */
  readonly devices: PciDevice[];
  console: ConsolePlan;
  screen: ScreenPlan | undefined;
  /** Next boot index; disks in PCI order boot in that order, as firmware finds them. */
  bootIndex: number;
  hasLpc: boolean;
  /** What bhyve prints on stdout. */
  readonly say: (text: string) => void;
}

/** How init of a device fails: its own words, then the general line; exit 4. */
export const deviceFailure = (words: string, reason = 'No such file or directory'): Exit => new Exit(4, `${words}device emulation initialization error: ${reason}\n`);
/** An assertion that bhyve dies of, or a memory fault. */
export class Abort extends Error {
  constructor(
    message: string,
    readonly signal: 'SIGABRT' | 'SIGSEGV' = 'SIGABRT',
  ) {
    super(message);
  }
}

/** Step 1, before the VM exists: numbers. */
export function readSize(config: BhyveConfig): { cpus: number; memoryMiB: number } {
  const cpus = topology(config);
  const text = config.expanded('memory.size')!;
  const match = /^(-?\d+)([kmgt]?)b?$/i.exec(text);
  if (match === null) throw new Exit(64, `bhyve: invalid memsize '${text}'\n`);
  const number = Number(match[1]);
  const scale: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };
  const bytes = match[2] === '' && number < 2 ** 20 ? number * 2 ** 20 : number * scale[match[2]!.toLowerCase()]!;
  return { cpus, memoryMiB: bytes / 2 ** 20 };
}

function topology(config: BhyveConfig): number {
  const count = (name: string): number | undefined => {
    const text = config.expanded(name);
    if (text === undefined) return undefined;
    if (!/^\s*(0x[0-9a-f]+|\d+)$/i.test(text) || Number(text) < 1 || Number(text) > 65535) throw new Exit(4, `bhyve: Invalid value for ${name}: '${text}'\n`);
    return Number(text);
  };
  const [cpus, sockets, cores, threads] = [count('cpus'), count('sockets'), count('cores'), count('threads')];
  const product = (sockets ?? 1) * (cores ?? 1) * (threads ?? 1);
  if (cpus !== undefined && sockets !== undefined && cores !== undefined && threads !== undefined && product !== cpus) {
    throw new Exit(4, `bhyve: Topology (${sockets}s, ${cores}c, ${threads}t) does not match ${cpus} vCPUs\n`);
  }
  return cpus ?? product;
}

/** Step 2, after the VM exists: devices, firmware, identity. Taps that were opened are in `taps`, also when it throws. */
export function planMachine(node: StandInNode, config: BhyveConfig, size: { cpus: number; memoryMiB: number }, say: (text: string) => void, taps: string[]): Plan {
  const plan: Plan = {
    node, config, name: config.get('name')!, ...size, taps, devices: [], qcowDisks: [], console: { kind: 'none' }, screen: undefined, bootIndex: 0, hasLpc: false, say,
    arguments: [...memory(node, Math.ceil(size.memoryMiB)), '-accel', 'tcg,thread=multi', '-cpu', 'qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt', '-smp', smp(config, size.cpus),
      '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-rtc', config.boolean('rtc.use_localtime', true) ? 'base=localtime' : 'base=utc'],
  };
  for (const { bus, slot, func, tree } of slots(config)) {
    const model = tree.get('device') as string;
    const address = `${bus}:${slot}:${func}`;
    if (!deviceNames.includes(model)) throw deviceFailure(`pci slot ${address}: unknown device "${model}"\n`);
    if (deviceAliases[model] !== undefined) throw deviceFailure(`pci slot ${address}: legacy device "${model}", use "${deviceAliases[model]}" instead\n`);
    plan.devices.push({ model, bus, slot, func });
    planDevice(plan, model, `pci.${bus}.${slot}.${func}`, { bus, slot, func });
  }
  plan.arguments.push(...bootRomArguments(plan), ...identity(plan));
  if (config.boolean('x86.mptable', true) && slots(config).some(({ bus }) => bus > 0)) {
    throw new Exit(4, 'MPtable is incompatible with multiple PCI hierarchies.\nMPtable generation can be disabled by passing the -Y option to bhyve(8).\nerror to build the guest tables: No such file or directory\n');
  }
  checkPins(config);
  return plan;
}

/** Where guests can be saved, their memory is a file without a name that we read and fill ourselves; QEMU's own stream leaves it out. */
function memory(node: StandInNode, mebibytes: number): string[] {
  const size = ['-m', String(mebibytes)];
  if (node.facts.save === null) return ['-machine', 'q35', ...size];
  return ['-machine', 'q35,memory-backend=ram', '-object', `memory-backend-memfd,id=ram,size=${mebibytes}M,share=on`, ...size];
}

/** What the guest sees of its CPUs; bhyve makes a socket of each where only their number is given. */
function smp(config: BhyveConfig, cpus: number): string {
  const [sockets, cores, threads] = ['sockets', 'cores', 'threads'].map((name) => Number(config.get(name) ?? 1)) as [number, number, number];
  return sockets * cores * threads === cpus ? `cpus=${cpus},sockets=${sockets},cores=${cores},threads=${threads}` : `cpus=${cpus},sockets=${cpus},cores=1,threads=1`;
}

interface Slot { readonly bus: number; readonly slot: number; readonly func: number; readonly tree: ConfigTree }

function slots(config: BhyveConfig): Slot[] {
  const found: Slot[] = [];
  const below = (tree: ConfigTree | undefined): [number, ConfigTree][] =>
    [...(tree ?? [])].flatMap(([key, value]) => (value instanceof Map && /^\d+$/.test(key) ? [[Number(key), value] as [number, ConfigTree]] : [])).sort(([a], [b]) => a - b);
  for (const [bus, inBus] of below(config.node('pci'))) {
    for (const [slot, inSlot] of below(inBus)) {
      for (const [func, tree] of below(inSlot)) if (typeof tree.get('device') === 'string') found.push({ bus, slot, func, tree });
    }
  }
  return found;
}

function identity(plan: Plan): string[] {
  const uuid = plan.config.expanded('uuid');
  if (uuid !== undefined && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid)) throw new Exit(4, 'Invalid UUID\n');
  const text = (key: string, otherwise: string): string => (plan.config.expanded(key) ?? otherwise).replaceAll(',', ',,');
  const system = [
    `type=1,manufacturer=${text('system.manufacturer', 'FreeBSD')},product=${text('system.product_name', 'BHYVE')},version=${text('system.version', '1.0')}`,
    `serial=${text('system.serial_number', 'None')},sku=${text('system.sku', 'None')},family=${text('system.family_name', 'Virtual Machine')}`, ...(uuid === undefined ? [] : [`uuid=${uuid}`]),
  ].join(',');
  const bios = `type=0,vendor=${text('bios.vendor', 'BHYVE')},version=${text('bios.version', '14.0')},date=${text('bios.release_date', '10/17/2021')}`;
  return ['-smbios', bios, '-smbios', system, ...(uuid === undefined ? [] : ['-uuid', uuid]), '-name', `${plan.name.replaceAll(',', ',,')},debug-threads=on`];
}

function checkPins(config: BhyveConfig): void {
  for (const [, tree] of config.node('vcpu') ?? []) {
    const cpuset = tree instanceof Map ? tree.get('cpuset') : undefined;
    if (typeof cpuset === 'string' && Number(cpuset) >= host.cpus) {
      throw new Abort('Assertion failed: (error == 0), function fbsdrun_start_thread, file /usr/src/usr.sbin/bhyve/bhyverun.c, line 539.\n');
    }
  }
}

