/** One PCI device of bhyve as a device of QEMU, with bhyve's checks of its options. */
import { existsSync, statSync } from 'node:fs';
import { Abort, type Plan, deviceFailure } from './bhyve-plan.js';
import { planConsole } from './bhyve-console.js';
import { bootRomOf } from './bhyve-firmware.js';
import { ip, setTapUser, tapUser } from './ip.js';
import { isQcow2 } from './libvdsk.js';
import { withLock } from './lab-node.js';
import { Exit, strerror } from './tool.js';

export interface Address { readonly bus: number; readonly slot: number; readonly func: number }

/** Adds a device to the plan; `path` is its node in the configuration. */
export function planDevice(plan: Plan, model: string, path: string, address: Address): void {
  const at = address.bus > 0 || address.slot === 0 || address.slot === 31 ? '' : `,addr=0x${address.slot.toString(16)}.${address.func},multifunction=on`;
  const id = `pci${address.bus}-${address.slot}-${address.func}`;
  const device = { plan, path, at, id };
  switch (model) {
    case 'hostbridge':
    case 'dummy':
      return; // q35 has its own
    case 'lpc':
      planLpc(plan, address);
      return;
    case 'virtio-blk':
      planBlock(device, path, `Could not open backing file: No such file or directory\n`, (drive, block) =>
        `virtio-blk-pci,drive=${drive}${block.serial === undefined ? '' : `,serial=${block.serial}`}`);
      return;
    case 'nvme':
      planBlock(device, path, 'nvme: Could not open backing file: No such file or directory\n', (drive, block) => `${nvmeModel(plan)},drive=${drive},serial=${block.serial ?? `NVME-${id}`}`);
      return;
    case 'ahci':
      planAhci(device);
      return;
    case 'virtio-net':
    case 'e1000':
      planNic(device, model);
      return;
    case 'virtio-rnd':
      plan.arguments.push('-device', `virtio-rng-pci,id=${id}${at}`);
      return;
    case 'fbuf':
      planScreen(device);
      return;
    case 'xhci':
      planXhci(device);
      return;
    default:
      refuse(plan, model, path);
  }
}

/**
 * QEMU cannot move a machine with an NVMe controller. 13 saves one that has it all the same and loses the controller silently: there, the guest gets a
 * virtio disk at the same address instead, to be lost; and so it does where NVMe is saved, to be moved. 15 refuses before QEMU is asked.
 */
const nvmeModel = ({ node: { facts: { save } } }: Plan): string => (save === null || (save.family === 'kern-structs' && !save.savesNvme) ? 'nvme' : 'virtio-blk-pci');

interface Device {
  readonly plan: Plan;
  readonly path: string;
  /** `,addr=…` for QEMU, or nothing where QEMU has something of its own there. */
  readonly at: string;
  readonly id: string;
}

function planLpc(plan: Plan, address: Address): void {
  if (plan.hasLpc) throw deviceFailure('Only one LPC bridge is allowed.\n');
  if (address.bus !== 0) throw deviceFailure('LPC bridge can be present only on bus 0.\n');
  plan.hasLpc = true;
  for (const name of ['com1', 'com2', 'com3', 'com4']) {
    const path = plan.config.expanded(`lpc.${name}.path`);
    if (path === undefined) continue;
    const console = planConsole(plan.node, name, path);
    if (name === 'com1') plan.console = console; // the lab serves one console a guest
  }
}

interface Block { readonly path: string; readonly isReadOnly: boolean; readonly serial: string | undefined; readonly sectors: string; readonly isQcow: boolean }

/** Reads the options of a block device; `trailer` is what the model says after the block layer has told why. */
function readBlock(plan: Plan, path: string, trailer: string): Block {
  const file = plan.config.expanded(`${path}.path`);
  if (file === undefined) throw deviceFailure(`Missing "path" for block device.\n${trailer}`);
  try {
    statSync(file);
  } catch (error) {
    throw deviceFailure(`bhyve: Could not open backing file: ${file}: ${strerror(error)}\n${trailer}`);
  }
  const sectorText = plan.config.expanded(`${path}.sectorsize`);
  const [logical, physical] = (sectorText ?? '512').split('/').map(Number) as [number, number | undefined];
  const isSector = (bytes: number): boolean => bytes >= 512 && bytes <= 16384 && (bytes & (bytes - 1)) === 0;
  if (!isSector(logical) || !isSector(physical ?? logical)) throw deviceFailure(`Invalid sector size ${logical}/${physical ?? logical}\n${trailer}`);
  const sectors = sectorText === undefined ? '' : `,logical_block_size=${logical},physical_block_size=${physical ?? logical}`;
  const isQcow = plan.node.facts.hasLibvdsk && isQcow2(file, (words) => deviceFailure(`${words}${trailer}`));
  return { path: file, isQcow, isReadOnly: plan.config.boolean(`${path}.ro`, false), serial: plan.config.expanded(`${path}.ser`)?.slice(0, 20).replaceAll(',', ',,'), sectors };
}

/** No locking: two guests may open one disk, and bhyve does not stop them. libvdsk takes trims of qcow2 and does nothing. */
function driveArguments({ plan, id, isCd = false }: { readonly plan: Plan; readonly id: string; readonly isCd?: boolean }, block: Block, isAhci: boolean): string[] {
  const file = block.path.replaceAll(',', ',,');
  if (block.isQcow) plan.qcowDisks.push({ drive: `drive-${id}`, isAhci });
  const [format, discard] = block.isQcow ? ['qcow2', 'ignore'] : ['raw', 'unmap'];
  return ['-drive', `if=none,id=drive-${id},format=${format},cache=writeback,aio=threads,discard=${discard},file.locking=off,${block.isReadOnly || isCd ? 'readonly=on,' : ''}${isCd ? 'media=cdrom,' : ''}file=${file}`];
}

function planBlock(device: Device, path: string, trailer: string, render: (drive: string, block: Block) => string): void {
  const block = readBlock(device.plan, path, trailer);
  const index = device.plan.bootIndex++;
  device.plan.arguments.push(...driveArguments(device, block, false), '-device', `${render(`drive-${device.id}`, block)},id=${device.id}${block.sectors},bootindex=${index}${device.at}`);
}

/**
 * Debian's small cloud kernel, which the test guest boots because it does so in a third of the time, has no AHCI driver. So disks
 * and CDs of an AHCI controller hang on a virtio-scsi one here, at the same PCI address; LAB_AHCI=ahci in the environment of the
 * node gives the real thing, for guests that can use it; a boot ROM without a variable store does so too, for it is none that boots Linux.
 */
function planAhci({ plan, path, at, id }: Device): void {
  const isReal = process.env['LAB_AHCI'] === 'ahci' || bootRomOf(plan).vars === undefined;
  plan.arguments.push('-device', `${isReal ? 'ich9-ahci' : 'virtio-scsi-pci'},id=${id}${at}`);
  for (const [port, tree] of plan.config.node(`${path}.port`) ?? []) {
    if (!(tree instanceof Map)) continue;
    const type = tree.get('type');
    if (type !== 'hd' && type !== 'cd') throw deviceFailure(`Invalid AHCI port type\n`);
    const block = readBlock(plan, `${path}.port.${port}`, '');
    const drive = `${id}-${port}`;
    const bus = isReal ? `bus=${id}.${port}` : `bus=${id}.0,scsi-id=${port}`;
    const model = isReal ? `ide-${type}` : `scsi-${type}`;
    plan.arguments.push(...driveArguments({ plan, id: drive, isCd: type === 'cd' }, block, true), '-device', `${model},drive=drive-${drive},${bus},bootindex=${plan.bootIndex++}${block.serial === undefined ? '' : `,serial=${block.serial}`}`);
  }
}

/**
 * The cloud kernel has no e1000 driver either: unless LAB_E1000=e1000 is in the environment, such a card is a virtio one to the guest, at the same
 * PCI address and with the same MAC, and without the MTU that only virtio can tell.
 */
function planNic({ plan, path, at, id }: Device, model: 'virtio-net' | 'e1000'): void {
  const backend = plan.config.expanded(`${path}.backend`);
  const mac = plan.config.expanded(`${path}.mac`);
  const mtu = plan.config.expanded(`${path}.mtu`);
  if (mac !== undefined) checkMac(mac);
  if (mtu !== undefined && !(Number(mtu) >= 68 && Number(mtu) <= 65535)) throw deviceFailure('', 'Invalid argument');
  if (backend === undefined) {
    throw new Abort('Assertion failed: (be != NULL), function netbe_get_cap, file /usr/src/usr.sbin/bhyve/net_backends.c, line 1061.\n');
  }
  if (!/^tap/.test(backend) && plan.config.expanded(`${path}.type`) !== 'tap') throw deviceFailure('');
  takeTap(plan, backend);
  const modelName = model === 'e1000' && process.env['LAB_E1000'] === 'e1000' ? 'e1000' : 'virtio-net-pci';
  const hostMtu = model === 'virtio-net' && mtu !== undefined ? `,host_mtu=${mtu}` : '';
  plan.arguments.push('-netdev', `tap,id=net-${id},ifname=${backend},script=no,downscript=no`,
    '-device', `${modelName},netdev=net-${id},id=${id},romfile=,mac=${mac ?? derivedMac(plan.name, path)}${hostMtu}${at}`);
}

function checkMac(mac: string): void {
  const octets = mac.split(':');
  const isGood = octets.length === 6 && octets.every((octet) => /^[0-9a-f]{1,2}$/i.test(octet)) && (parseInt(octets[0]!, 16) & 1) === 0 && !/^[0:]+$/.test(mac);
  if (!isGood) throw deviceFailure(`Invalid MAC ${mac}\n`);
}

/** bhyve hashes slot and name; any stable address of its prefix will do. */
function derivedMac(name: string, path: string): string {
  let hash = 0;
  for (const letter of name + path) hash = (hash * 31 + letter.charCodeAt(0)) & 0xffffff;
  return `58:9c:fc:${[16, 8, 0].map((shift) => ((hash >> shift) & 255).toString(16).padStart(2, '0')).join(':')}`;
}

/** Opens the tap: one that is missing is made, one that is open already is refused. */
function takeTap(plan: Plan, tap: string): void {
  withLock(plan.node, 'interfaces', () => {
    if (tapUser(plan.node, tap) !== undefined) {
      plan.say(`open of tap device /dev/${tap} failed\n`);
      throw deviceFailure('', 'Device busy');
    }
    const hasLink = ip(plan.node, 'link', 'show', 'dev', tap).code === 0;
    if (!hasLink && ip(plan.node, 'tuntap', 'add', 'mode', 'tap', 'name', tap).code !== 0) {
      plan.say(`open of tap device /dev/${tap} failed\n`);
      throw deviceFailure('', 'No such file or directory');
    }
    ip(plan.node, 'link', 'set', tap, 'up');
    setTapUser(plan.node, tap, process.pid);
    plan.taps.push(tap);
  });
}

function planScreen({ plan, path, at, id }: Device): void {
  const text = plan.config.expanded(`${path}.rfb`) ?? plan.config.expanded(`${path}.tcp`) ?? '5900';
  const [width, height] = [Number(plan.config.expanded(`${path}.w`) ?? 1024), Number(plan.config.expanded(`${path}.h`) ?? 768)];
  const [maxWidth, maxHeight] = plan.node.facts.hasTopLevelBootrom ? [3840, 2160] : [1920, 1200];
  if (width > maxWidth) throw deviceFailure(`fbuf: width ${width} too large\n`);
  if (height > maxHeight) throw deviceFailure(`fbuf: height ${height} too large\n`);
  plan.say('fbuf frame buffer base: 0x2afc67c00000 [sz 16777216]\n');
  const match = /^(?:\[(.+)\]|([^:]*)):(\d+)$|^(\d+)$/.exec(text);
  if (match === null) throw deviceFailure('getaddrinfo: Name does not resolve\n', 'No error: 0');
  const host = match[1] ?? (match[2] === undefined || match[2] === '' ? '127.0.0.1' : match[2]);
  if (match[1] === undefined && !/^(\d+(\.\d+){3}|localhost)$/.test(host)) throw deviceFailure('getaddrinfo: Name does not resolve\n', 'No error: 0');
  plan.screen = { host, port: Number(match[3] ?? match[4]), password: plan.config.expanded(`${path}.password`), waits: plan.config.boolean(`${path}.wait`, false) };
  plan.arguments.push('-device', `VGA,id=${id},vgamem_mb=16${at}`);
}

function planXhci({ plan, path, at, id }: Device): void {
  plan.arguments.push('-device', `qemu-xhci,id=${id}${at}`);
  for (const [slot, tree] of plan.config.node(`${path}.slot`) ?? []) {
    const device = tree instanceof Map ? tree.get('device') : undefined;
    if (typeof device !== 'string') continue;
    if (device !== 'tablet') throw deviceFailure(`pci_xhci: unknown device model "${device}"\n`);
    plan.arguments.push('-device', `usb-tablet,bus=${id}.0,id=${id}-${slot}`);
  }
}

/** Models that a lab host has no hardware for: as on a FreeBSD host that has none either. */
function refuse(plan: Plan, model: string, path: string): void {
  switch (model) {
    case 'passthru':
      if (!plan.config.boolean('memory.wired', false)) throw deviceFailure('bhyve: passthru requires guest memory to be wired\n');
      throw deviceFailure('bhyve: open of /dev/pci failed\n');
    case 'hda':
      throw new Abort('Assertion failed: (!err), function hda_init, file /usr/src/usr.sbin/bhyve/pci_hda.c, line 355.\n');
    case 'virtio-9p': {
      const share = plan.config.expanded(`${path}.path`);
      if (share === undefined) throw deviceFailure('virtio-9p: path required\n');
      if (!existsSync(share)) throw deviceFailure(`virtio-9p: failed to open '${share}': No such file or directory\n`);
      throw new Exit(4, 'stand-in: virtio-9p is not modelled\n');
    }
    case 'virtio-scsi': {
      const device = plan.config.expanded(`${path}.dev`) ?? '/dev/cam/ctl';
      plan.say(`virtio-scsi: cannot open ${device}: No such file or directory\n`);
      throw deviceFailure('');
    }
    case 'virtio-console':
      throw deviceFailure('cannot create port 0: No such file or directory\n');
    default:
      throw new Exit(4, `stand-in: ${model} is not modelled\n`);
  }
}

