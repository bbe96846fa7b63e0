/** bhyvectl(8). Failures of the kernel print `errno = N` on stdout and exit 255; a VM that is not there is exit 1. */
import { statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { currentNode, type StandInNode, withLock } from './lib/lab-node.js';
import { bhyvectlOptions, bhyvectlUsage, unparsedOptions } from './lib/bhyve-texts.js';
import { host } from './lib/host-numbers.js';
import { Exit, out, runTool } from './lib/tool.js';
import { readSaveFaults } from './lib/save-faults.js';
import { type SaveRequest, sendSave } from './lib/save-socket.js';
import { statsText } from './lib/vm-stats.js';
import { createVm, isRunning, order, readVm, removeVm, vmExists, writeVm } from './lib/vmm.js';

const kernelError = (errno: number): Exit => new Exit(255, '', `errno = ${errno}\n`);
const [ENOENT, EEXIST, ENOTDIR, EINVAL, EALREADY] = [2, 17, 20, 22, 37];

interface Asked {
  readonly vm: string | undefined;
  readonly cpu: number;
  readonly actions: ReadonlySet<string>;
  readonly values: Readonly<Record<string, string>>;
}

/** getopt_long: `--name=value`, `--name value`, and every unambiguous beginning of a name. */
function parse(args: readonly string[], node: StandInNode): Asked {
  const known = new Map(['vm=<vmname>', ...bhyvectlOptions(node.facts)].filter((option) => !unparsedOptions.includes(option)).map((option) => [option.split('=')[0]!, option.includes('=')]));
  const usage = bhyvectlUsage(node.facts);
  const values: Record<string, string> = {};
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!;
    if (!arg.startsWith('--')) throw new Exit(1, arg.startsWith('-') ? `bhyvectl: invalid option -- ${arg[1]}\n${usage}` : usage);
    const [word, ...rest] = arg.slice(2).split('=') as [string, ...string[]];
    const fits = known.has(word) ? [word] : [...known.keys()].filter((name) => name.startsWith(word));
    if (fits.length === 0) throw new Exit(1, `bhyvectl: unrecognized option \`--${word}'\n${usage}`);
    if (fits.length > 1) throw new Exit(1, `bhyvectl: option \`--${word}' is ambiguous\n${usage}`);
    const name = fits[0]!;
    const wantsValue = known.get(name) === true;
    const value = rest.length > 0 ? rest.join('=') : wantsValue ? args[++index] : '';
    if (value === undefined) throw new Exit(1, `bhyvectl: option \`--${name}' requires an argument\n${usage}`);
    values[name] = value;
  }
  return { vm: values['vm'], cpu: Number(values['cpu'] ?? 0), actions: new Set(Object.keys(values).filter((name) => name !== 'vm' && name !== 'cpu')), values };
}

async function suspend(node: StandInNode, name: string, what: 'poweroff' | 'reset'): Promise<void> {
  const vm = readVm(node, name);
  if (vm.isSuspended || (vm.pid === null && vm.memoryMiB !== null)) throw kernelError(EALREADY);
  withLock(node, 'vmm', () => writeVm(node, name, { isSuspended: true }));
  await order(vm, what);
}

async function destroy(node: StandInNode, name: string): Promise<void> {
  const vm = readVm(node, name);
  withLock(node, 'vmm', () => removeVm(node, name));
  if (isRunning(vm)) await order(vm, 'destroy');
}

/** Asks for a save and does not wait for it. The exit code tells nothing about the save: on 13.2 it is 64 whenever the request could be sent. */
async function save(node: StandInNode, name: string, file: string, isSuspend: boolean, disks?: SaveRequest['disks']): Promise<number> {
  const { opensFolder, requestCode } = node.facts.save!;
  const folder = resolve(dirname(file));
  // open_directory() fails without a word
  if (opensFolder && statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) throw new Exit(statSync(folder, { throwIfNoEntry: false }) === undefined ? ENOENT : ENOTDIR);
  await sendSave(node, name, { filename: opensFolder ? basename(file) : file, suspend: isSuspend, ...(opensFolder ? { folder } : {}), ...(disks === undefined ? {} : { disks }) });
  return readSaveFaults(node).requestCode ?? requestCode;
}

function show(node: StandInNode, name: string, asked: Asked): void {
  const vm = readVm(node, name);
  const has = (action: string): boolean => asked.actions.has(action) || asked.actions.has('get-all');
  if (!(asked.cpu >= 0 && asked.cpu < host.cpus)) throw kernelError(EINVAL);
  const cpuList = vm.pid === null ? '(none)' : Array.from({ length: vm.cpus }, (_, index) => index).join(', ');
  const register = (label: string): string => `${label}[${asked.cpu}]\t\t0x0000000000000000\n`;
  for (const action of asked.actions) if (/^get-r(ax|bx|cx|dx|si|di|bp|sp|ip|\d+)$|^get-cr\d$/.test(action)) out(register(action.slice(4)));
  if (has('get-all') && vm.memoryMiB !== null) out(`ID  Length      Name\n0   ${vm.memoryMiB * 1024}KB     sysmem\nAddress     Length      Segment     Offset      Prot  Flags\n`);
  if (has('get-active-cpus')) out(`active cpus:\t ${cpuList}\n`);
  if (has('get-suspended-cpus')) out('suspended cpus:\t (none)\n');
  if (has('get-debug-cpus') && node.facts.hasTopLevelBootrom) out('debug cpus:\t (none)\n');
  if (has('get-cpu-topology')) out(`cpu_topology:\tsockets=${vm.cpus}, cores=1, threads=1, maxcpus=${host.cpus}\n`);
  if (has('get-rtc-time')) out(`rtc time 0x${Math.floor(Date.now() / 1000).toString(16)}: ${new Date().toUTCString().replace(/^(\w+), (\d+) (\w+) (\d+) (.*) GMT$/, '$1 $3 $2 $5 $4')}\n`);
  if (has('getcap')) out(capabilities.map((text) => `Capability ${text}${text.endsWith('available') ? '' : ` on vcpu ${asked.cpu}`}\n`).join(''));
  if (asked.actions.has('get-stats') || asked.actions.has('get-all')) out(statsText(vm, asked.cpu));
}

const capabilities = [
  '"hlt_exit" is not set', '"mtrap_exit" is not available', '"pause_exit" is not set', '"unrestricted_guest" is set', '"enable_invpcid" is not available', '"bpt_exit" is not available',
  '"(null)" is not available', '"(null)" is not available', '"(null)" is not set',
];

runTool(async (args) => {
  const node = currentNode();
  const asked = parse(args, node);
  if (asked.vm === undefined) throw new Exit(1, bhyvectlUsage(node.facts));
  const name = asked.vm;
  const exclusive = ['create', 'destroy', 'force-reset', 'force-poweroff', 'checkpoint', 'suspend', 'ext-checkpoint', 'del-checkpoint'].filter((action) => asked.actions.has(action));
  if (asked.actions.has('checkpoint') && asked.actions.has('suspend')) throw new Exit(1, bhyvectlUsage(node.facts));
  if (exclusive.length > 1 && node.facts.hasTopLevelBootrom) throw new Exit(1, 'bhyvectl: mutually exclusive actions specified\n');
  if (asked.actions.has('create')) {
    const made = withLock(node, 'vmm', () => createVm(node, name));
    if (made !== 'created') throw kernelError(made === 'exists' ? EEXIST : EINVAL);
  }
  if (!vmExists(node, name)) throw new Exit(1, `vm_open: ${name} could not be opened: ${name === '' ? 'Is a directory' : 'No such file or directory'}\n`);
  show(node, name, asked);
  if (asked.actions.has('run')) throw new Exit(255, '', 'vm_run error -1\nerrno = 22\n');
  if (asked.actions.has('inject-nmi')) await order(readVm(node, name), 'nmi');
  if (asked.actions.has('force-reset')) await suspend(node, name, 'reset');
  if (asked.actions.has('force-poweroff')) await suspend(node, name, 'poweroff');
  if (asked.actions.has('destroy')) await destroy(node, name);
  if (asked.actions.has('checkpoint')) return save(node, name, asked.values['checkpoint']!, false, node.facts.hasLibvdsk ? 'internal' : undefined);
  if (asked.actions.has('suspend')) return save(node, name, asked.values['suspend']!, true);
  if (asked.actions.has('ext-checkpoint')) return save(node, name, asked.values['ext-checkpoint']!, false, 'external');
  if (asked.actions.has('del-checkpoint')) return save(node, name, asked.values['del-checkpoint']!, false, 'delete');
  return 0;
});
