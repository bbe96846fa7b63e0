/** Usage and help texts of bhyve and bhyvectl, by profile. 13.2: transcripts; 15: options as its manual has them. */
import type { ProfileFacts } from './profiles.js';

/** As `bhyve -s help` lists them. */
export const deviceNames: readonly string[] = [
  'ahci', 'ahci-hd', 'ahci-cd', 'e1000', 'dummy', 'hda', 'fbuf', 'amd_hostbridge', 'hostbridge', 'lpc', 'nvme', 'passthru', 'virtio-9p', 'virtio-blk', 'virtio-console',
  'virtio-input', 'virtio-net', 'virtio-rnd', 'virtio-scsi', 'uart', 'xhci',
];
export const deviceAliases: Readonly<Record<string, string>> = { 'ahci-hd': 'ahci', 'ahci-cd': 'ahci', amd_hostbridge: 'hostbridge' };

export const lpcNames = (facts: ProfileFacts): readonly string[] =>
  facts.acpiByDefault ? ['bootrom', 'com1', 'com2', 'com3', 'com4', 'tpm', 'pc-testdev'] : ['bootrom', 'com1', 'com2', 'com3', 'com4', 'pc-testdev'];

const options13: readonly (readonly [string, string])[] = [
  ['A', 'create ACPI tables'], ['a', 'local apic is in xAPIC mode (deprecated)'], ['C', 'include guest memory in core file'], ['c', 'number of CPUs and/or topology specification'],
  ['D', 'destroy on power-off'], ['e', 'exit on unhandled I/O access'], ['G', 'start a debug server'], ['H', 'vmexit from the guest on HLT'], ['h', 'help'],
  ['k', 'key=value flat config file'], ['K', 'PS2 keyboard layout'], ['l', 'LPC device configuration'], ['m', 'memory size'], ['o', "set config 'var' to 'value'"],
  ['P', 'vmexit from the guest on pause'], ['p', "pin 'vcpu' to 'hostcpu'"], ['r', 'path to checkpoint file'], ['S', 'guest memory cannot be swapped'],
  ['s', '<slot,driver,configinfo> PCI slot config'], ['U', 'UUID'], ['u', 'RTC keeps UTC time'], ['W', 'force virtio to use single-vector MSI'], ['w', 'ignore unimplemented MSRs'],
  ['x', 'local APIC is in x2APIC mode'], ['Y', 'disable MPtable generation'],
];

export function bhyveUsage(facts: ProfileFacts): string {
  const is15 = facts.hasTopLevelBootrom;
  const letters = is15 ? 'aCDeHhPSuWwxY' : 'AaCDeHhPSuWwxY';
  const synopsis = [
    `Usage: bhyve [-${letters}]`, '             [-c [[cpus=]numcpus][,sockets=n][,cores=n][,threads=n]]',
    ...(is15 ? ['             [-f name=name[,string|file]=data]'] : []), '             [-G port] [-k config_file] [-l lpc] [-m mem] [-o var=value]',
    ...(is15 ? ['             [-n id=id[,size=size][,cpus=cpuset][,domain_policy=policy]]'] : []),
    `             [-p vcpu:hostcpu]${facts.save !== null ? ' [-r file]' : ''} [-s pci] [-U uuid] vmname`,
  ];
  const extra: readonly (readonly [string, string])[] = is15 ? [['f', 'add a fw_cfg item'], ['n', 'NUMA domain specification']] : [];
  const shown = [...options13, ...extra].filter(([letter]) => (letter !== 'r' || facts.save !== null) && (letter !== 'A' || !is15));
  return `${[...synopsis, ...shown.map(([letter, text]) => `       -${letter}: ${text}`)].join('\n')}\n`;
}

const descriptors = ['ds', 'es', 'gs', 'fs', 'cs', 'ss', 'tr', 'ldtr', 'gdtr', 'idtr'].flatMap((name) => [`set-desc-${name}`, `get-desc-${name}`]);
const registers = [
  ...['cr0', 'cr2', 'cr3', 'cr4', 'dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7', 'rsp', 'rip'].flatMap((name) => [`set-${name}=<${name.toUpperCase()}>`, `get-${name}`]), 'get-rax', 'set-rax=<RAX>',
  ...['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'].map((name) => `get-${name}`), 'set-rflags=<RFLAGS>', 'get-rflags',
  ...['cs', 'ds', 'es', 'fs', 'gs', 'ss'].flatMap((name) => [`set-${name}`, `get-${name}`]), 'get-tr', 'get-ldtr',
];

/** Long options that a bhyvectl of this profile lists, as `name` or `name=<argument>`. */
export function bhyvectlOptions(facts: ProfileFacts): readonly string[] {
  return [
    'cpu=<vcpu_number>', 'create', 'destroy', ...saveOptions(facts), 'get-all', 'get-stats', ...descriptors, 'run',
    'capname=<capname>', 'getcap', 'setcap=<0|1>', 'desc-base=<BASE>', 'desc-limit=<LIMIT>', 'desc-access=<ACCESS>', ...registers, 'set-x2apic-state=<state>', 'get-x2apic-state',
    'unassign-pptdev=<bus/slot/func>', 'set-mem=<memory in units of MB>', 'get-lowmem', 'get-highmem', 'get-gpa-pmap', 'assert-lapic-lvt=<pin>', 'inject-nmi', 'force-reset', 'force-poweroff',
    'get-rtc-time', 'set-rtc-time=<secs>', 'get-rtc-nvram', 'set-rtc-nvram=<val>', 'rtc-nvram-offset=<offset>', 'get-active-cpus', ...(facts.hasTopLevelBootrom ? ['get-debug-cpus'] : []),
    'get-suspended-cpus', 'get-intinfo', 'get-eptp', 'set-exception-bitmap', 'get-exception-bitmap', 'get-tsc-offset', 'get-guest-pat', 'get-io-bitmap-address', 'get-msr-bitmap',
    'get-msr-bitmap-address', 'get-guest-sysenter', 'get-exit-reason', 'get-cpu-topology', 'get-vmcb-intercepts', 'get-vmcb-asid', 'get-vmcb-exit-details', 'get-vmcb-tlb-ctrl', 'get-vmcb-virq',
    'get-avic-apic-bar', 'get-avic-backing-page', 'get-avic-table',
  ];
}

/** libvdsk's bhyvectl takes names and has no suspend. */
const saveOptions = ({ save, hasLibvdsk }: ProfileFacts): readonly string[] =>
  (save === null ? [] : hasLibvdsk ? ['checkpoint=<name>', 'ext-checkpoint=<name>', 'del-checkpoint=<name>'] : ['checkpoint=<filename>', 'suspend=<filename>']);

/** Listed in the usage, unknown to the parser (seen on 13.2). */
export const unparsedOptions: readonly string[] = ['get-lowmem', 'get-highmem'];

export const bhyvectlUsage = (facts: ProfileFacts): string => `Usage: bhyvectl --vm=<vmname>\n${bhyvectlOptions(facts).map((option) => `       [--${option}]\n`).join('')}`;
