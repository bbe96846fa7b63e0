/** bhyve's command line, turned into configuration variables the way bhyve does it. */
import type { ProfileFacts } from './profiles.js';
import { type BhyveConfig, createConfig, readConfigFile, setFromText } from './bhyve-config.js';
import { bhyveUsage, deviceNames, lpcNames } from './bhyve-texts.js';
import { Exit, getopt, getoptMessage } from './tool.js';

export interface CommandLine {
  readonly config: BhyveConfig;
  readonly restoreFile: string | undefined;
}

const flags: Readonly<Record<string, readonly [string, string]>> = {
  a: ['x86.x2apic', 'false'], A: ['acpi_tables', 'true'], C: ['memory.guest_in_core', 'true'], D: ['destroy_on_poweroff', 'true'], e: ['x86.strictio', 'true'],
  H: ['x86.vmexit_on_hlt', 'true'], P: ['x86.vmexit_on_pause', 'true'], S: ['memory.wired', 'true'], u: ['rtc.use_localtime', 'false'], w: ['x86.strictmsr', 'false'],
  W: ['virtio_msix', 'false'], x: ['x86.x2apic', 'true'], Y: ['x86.mptable', 'false'],
};

/** `nameIn` reads the name of the saved VM: that of a configuration gives way to it, an operand does not. */
export function parseCommandLine(args: readonly string[], facts: ProfileFacts, warn: (text: string) => void, nameIn: (restoreFile: string) => string | undefined): CommandLine {
  const config = createConfig(warn);
  setDefaults(config, facts);
  const usage = bhyveUsage(facts);
  const spec = `aehuwxACDHIPSWYk:o:p:G:c:s:m:l:K:U:${facts.save !== null ? 'r:' : ''}${facts.hasTopLevelBootrom ? 'f:n:' : ''}`;
  const { options, operands, bad } = getopt(args, spec);
  let restoreFile: string | undefined;
  for (const { flag, value } of options) {
    if (flag === 'h') throw new Exit(0, usage);
    if (flag === 'r') restoreFile = value;
    else takeOption(config, facts, flag, value);
  }
  if (bad !== undefined) throw new Exit(1, getoptMessage('bhyve', bad) + usage);
  if (operands.length > 1) throw new Exit(1, usage);
  const savedName = restoreFile === undefined ? undefined : nameIn(restoreFile);
  if (savedName !== undefined) config.set('name', savedName);
  if (operands[0] !== undefined) config.set('name', operands[0]);
  if (config.get('name') === undefined) throw new Exit(1, usage);
  return { config, restoreFile };
}

function setDefaults(config: BhyveConfig, facts: ProfileFacts): void {
  config.set('acpi_tables', facts.acpiByDefault ? 'true' : 'false');
  if (facts.acpiByDefault) config.set('acpi_tables_in_memory', 'true');
  config.set('memory.size', '256M');
  config.set('x86.strictmsr', 'true');
  if (facts.acpiByDefault) config.set('lpc.fwcfg', 'bhyve');
}

function takeOption(config: BhyveConfig, facts: ProfileFacts, flag: string, value: string): void {
  const simple = flags[flag];
  if (simple !== undefined) {
    // From 14 on -A changes nothing: tables are the default there.
    if (flag !== 'A' || !facts.acpiByDefault) config.set(simple[0], simple[1]);
    return;
  }
  switch (flag) {
    case 'k':
      readConfigFile(config, value);
      return;
    case 'o':
      if (!setFromText(config, value)) throw new Exit(64, `bhyve: invalid configuration option '${value}'\n`);
      return;
    case 'c':
      parseTopology(config, value);
      return;
    case 'm':
      config.set('memory.size', value);
      return;
    case 'p':
      parsePinning(config, value);
      return;
    case 'U':
      config.set('uuid', value);
      return;
    case 'K':
      config.set('keyboard.layout', value);
      return;
    case 'G':
      parseGdb(config, value);
      return;
    case 's':
      parseSlot(config, value);
      return;
    case 'l':
      parseLpc(config, facts, value);
      return;
    default: // -I, -f and -n change nothing that the lab has
  }
}

function parseTopology(config: BhyveConfig, text: string): void {
  if (text === '') {
    for (const [name, value] of [['sockets', '1'], ['cores', '1'], ['threads', '1'], ['cpus', '1']] as const) config.set(name, value);
    return;
  }
  for (const part of text.split(',')) {
    const [name, value] = part.split('=') as [string, string | undefined];
    if (value === undefined) config.set('cpus', name);
    else if (['cpus', 'sockets', 'cores', 'threads'].includes(name)) config.set(name, value);
    else throw new Exit(64, `bhyve: invalid cpu topology '${text}'\n`);
  }
}

function parsePinning(config: BhyveConfig, text: string): void {
  const bad = (reason: string): Exit => new Exit(64, `${reason}\nbhyve: invalid vcpu pinning configuration '${text}'\n`);
  const match = /^(-?\d+):(-?\d+)$/.exec(text);
  if (match === null) throw bad(`invalid format: ${text}`);
  const [, vcpu, hostCpu] = match;
  if (Number(vcpu) < 0) throw bad(`invalid vcpu '${vcpu}'`);
  if (Number(hostCpu) < 0 || Number(hostCpu) > 255) throw bad(`hostcpu '${hostCpu}' outside valid range from 0 to 255`);
  config.set(`vcpu.${vcpu}.cpuset`, hostCpu!);
}

function parseGdb(config: BhyveConfig, text: string): void {
  const rest = text.startsWith('w') ? text.slice(1) : text;
  if (rest !== text) config.set('gdb.wait', 'true');
  const colon = rest.lastIndexOf(':');
  if (colon >= 0) config.set('gdb.address', rest.slice(0, colon));
  config.set('gdb.port', rest.slice(colon + 1));
}

/** `-s help`, `-s ''` and every beginning of `help` list the models. */
function parseSlot(config: BhyveConfig, text: string): void {
  if ('help'.startsWith(text)) throw new Exit(0, '', deviceNames.map((name) => `${name}\n`).join(''));
  const comma = text.indexOf(',');
  const badSlot = new Exit(4, `Invalid PCI slot info field "${text}"\n`);
  if (comma < 0) throw badSlot;
  const numbers = text.slice(0, comma).split(':').map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : NaN));
  const [bus, slot, func] = numbers.length >= 3 ? numbers : numbers.length === 2 ? [0, numbers[0], numbers[1]] : [0, numbers[0], 0];
  if (!(bus >= 0 && bus < 256 && slot! >= 0 && slot! < 32 && func! >= 0 && func! < 8)) throw badSlot;
  const rest = text.slice(comma + 1);
  const end = rest.indexOf(',');
  const [emulation, options] = end < 0 ? [rest, undefined] : [rest.slice(0, end), rest.slice(end + 1)];
  const address = `${bus}:${slot}:${func}`;
  if (!deviceNames.includes(emulation)) throw new Exit(4, `pci slot ${address}: unknown device "${emulation}"\n`);
  const path = `pci.${bus}.${slot}.${func}`;
  if (config.get(`${path}.device`) !== undefined) throw new Exit(4, `pci slot ${address} already occupied!\n`);
  setDevice(config, path, emulation, options);
}

const aliases: Readonly<Record<string, string>> = { 'ahci-hd': 'ahci', 'ahci-cd': 'ahci', amd_hostbridge: 'hostbridge' };

function setDevice(config: BhyveConfig, path: string, emulation: string, options: string | undefined): void {
  config.set(`${path}.device`, aliases[emulation] ?? emulation);
  const pairs = (text: string, at = path): void => {
    for (const option of text.split(',')) {
      const equals = option.indexOf('=');
      config.set(`${at}.${equals < 0 ? option : option.slice(0, equals)}`, equals < 0 ? 'true' : option.slice(equals + 1));
    }
  };
  const first = (key: string, at = path): void => {
    if (options === undefined) return;
    const [head, ...more] = options.split(',') as [string, ...string[]];
    config.set(`${at}.${key}`, head);
    if (more.length > 0) pairs(more.join(','), at);
  };
  switch (emulation) {
    case 'amd_hostbridge':
      config.set(`${path}.vendor`, '0x1022');
      config.set(`${path}.devid`, '0x7432');
      return;
    case 'ahci-hd':
    case 'ahci-cd':
      config.set(`${path}.port.0.type`, emulation === 'ahci-hd' ? 'hd' : 'cd');
      first('path', `${path}.port.0`);
      return;
    case 'ahci':
      setAhciPorts(config, path, options);
      return;
    case 'virtio-blk':
    case 'virtio-input':
    case 'uart':
      first('path');
      return;
    case 'nvme':
      if (options?.startsWith('ram=') === true) pairs(options);
      else first('path');
      return;
    case 'virtio-net':
    case 'e1000':
      first('backend');
      return;
    case 'virtio-scsi':
      first('dev');
      return;
    case 'xhci':
      for (const [index, device] of (options ?? '').split(',').filter((word) => word !== '').entries()) config.set(`${path}.slot.${index + 1}.device`, device);
      return;
    case 'virtio-9p':
      setShare(config, path, options ?? '');
      return;
    case 'virtio-console':
      for (const [index, port] of (options ?? '').split(',').filter((word) => word !== '').entries()) {
        config.set(`${path}.port.${index}.name`, port.split('=')[0]!);
        config.set(`${path}.port.${index}.path`, port.split('=').slice(1).join('='));
      }
      return;
    case 'passthru':
      setPassthru(config, path, options ?? '');
      return;
    default:
      if (options !== undefined && options !== '') pairs(options);
  }
}

function setAhciPorts(config: BhyveConfig, path: string, options: string | undefined): void {
  let port = -1;
  for (const word of (options ?? '').split(',').filter((text) => text !== '')) {
    const drive = /^(hd|cd):(.*)$/.exec(word);
    if (drive !== null) {
      port++;
      config.set(`${path}.port.${port}.type`, drive[1]!);
      config.set(`${path}.port.${port}.path`, drive[2]!);
    } else if (port >= 0) {
      const equals = word.indexOf('=');
      config.set(`${path}.port.${port}.${equals < 0 ? word : word.slice(0, equals)}`, equals < 0 ? 'true' : word.slice(equals + 1));
    }
  }
}

function setShare(config: BhyveConfig, path: string, options: string): void {
  const [share, ...more] = options.split(',') as [string, ...string[]];
  const equals = share.indexOf('=');
  config.set(`${path}.sharename`, equals < 0 ? share : share.slice(0, equals));
  if (equals >= 0) config.set(`${path}.path`, share.slice(equals + 1));
  for (const word of more) config.set(`${path}.${word}`, 'true');
}

function setPassthru(config: BhyveConfig, path: string, options: string): void {
  const [device, ...more] = options.split(',') as [string, ...string[]];
  const match = /^(\d+)\/(\d+)\/(\d+)$/.exec(device) ?? /^pci\d+:(\d+):(\d+):(\d+)$/.exec(device);
  if (match === null) throw new Exit(4, `passthru: invalid options "${device}"\n`);
  for (const [index, name] of ['bus', 'slot', 'func'].entries()) config.set(`${path}.${name}`, match[index + 1]!);
  for (const word of more) config.set(`${path}.${word.split('=')[0]}`, word.includes('=') ? word.slice(word.indexOf('=') + 1) : 'true');
}

function parseLpc(config: BhyveConfig, facts: ProfileFacts, text: string): void {
  if ('help'.startsWith(text)) throw new Exit(0, '', lpcNames(facts).map((name) => `${name}\n`).join(''));
  const [device, ...rest] = text.split(',') as [string, ...string[]];
  const name = device.toLowerCase();
  const prefix = facts.hasTopLevelBootrom ? '' : 'lpc.';
  const isKnown = lpcNames(facts).includes(name) || (name === 'tpm' && facts.acpiByDefault) || (name === 'fwcfg' && facts.acpiByDefault);
  if (!isKnown) throw new Exit(64, `bhyve: invalid lpc device configuration '${text}'\n`);
  if (name === 'bootrom') {
    const [rom, vars] = rest;
    if (rom === undefined || rom === '') throw new Exit(4, `bhyve: invalid bootrom option "${text}"\n`);
    config.set(`${prefix}bootrom`, rom);
    if (vars !== undefined) config.set(`${prefix}bootvars`, vars);
  } else if (name.startsWith('com')) {
    if (rest[0] !== undefined) config.set(`lpc.${name}.path`, rest.join(','));
  } else if (name === 'tpm') {
    config.set('tpm.type', rest[0] ?? '');
    if (rest[1] !== undefined) config.set('tpm.path', rest[1]);
  } else config.set(`lpc.${name}`, rest[0] ?? 'true');
}
