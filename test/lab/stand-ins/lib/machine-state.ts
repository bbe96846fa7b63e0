/**
 * Everything of a guest but its memory: QEMU's migration stream, which leaves shared memory out (`x-ignore-shared`). It is a few MiB, mostly the
 * firmware's flash and the screen, and is kept packed.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { constants, gunzipSync, gzipSync } from 'node:zlib';
import type { Machine } from './bhyve-machine.js';
import type { PciDevice } from './save-layout.js';

const LIMIT_MS = 60_000;

async function withoutMemory(machine: Machine): Promise<void> {
  await machine.command('migrate-set-capabilities', { capabilities: [{ capability: 'x-ignore-shared', state: true }] });
}

/** Until QEMU says that its migration, out or in, is over. */
async function migrated(machine: Machine): Promise<void> {
  for (const end = Date.now() + LIMIT_MS; ; await sleep(10)) {
    const { status, ['error-desc']: reason } = (await machine.command('query-migrate')) as { status?: string; 'error-desc'?: string };
    if (status === 'completed') return;
    if (status === 'failed' || Date.now() > end) throw new Error(`QEMU's state did not move: ${reason ?? status ?? 'nothing happens'}`);
  }
}

/** State of a stopped machine. `scratch` is a file that nobody else has. */
export async function readState(machine: Machine, scratch: string): Promise<Buffer> {
  await withoutMemory(machine);
  await machine.command('migrate-set-parameters', { 'max-bandwidth': 4_000_000_000 });
  await machine.command('migrate', { uri: `exec:cat >${scratch}` });
  await migrated(machine);
  const state = readFileSync(scratch);
  rmSync(scratch);
  return gzipSync(state, { level: constants.Z_BEST_SPEED });
}

/** Gives a machine that was started with `-incoming defer` its state; its memory must be there already. */
export async function loadState(machine: Machine, state: Buffer, scratch: string): Promise<void> {
  writeFileSync(scratch, gunzipSync(state));
  await withoutMemory(machine);
  await machine.command('migrate-incoming', { uri: `exec:cat ${scratch}` });
  await migrated(machine);
  rmSync(scratch);
}

/**
 * Makes PCI devices of a stopped machine deaf, as one is that nobody has set up: no access to memory, no registers. The guest's driver believes in
 * it, and what it asks for never happens. The guest may be between the two accesses of its own to these ports: the address is put back.
 */
export async function resetDevices(machine: Machine, devices: readonly PciDevice[]): Promise<void> {
  const monitor = async (line: string): Promise<string> => String(await machine.command('human-monitor-command', { 'command-line': line }));
  const before = /=\s*(0x[0-9a-f]+)/i.exec(await monitor('i /w 0xcf8'))?.[1] ?? '0';
  for (const { bus, slot, func } of devices) {
    const register = 0x80000004 + bus * 0x10000 + slot * 0x800 + func * 0x100;
    await monitor(`o /w 0xcf8 0x${register.toString(16)}`);
    await monitor('o /w 0xcfc 0');
  }
  await monitor(`o /w 0xcf8 ${before}`);
}

/**
 * Whether the guest has given its AHCI ports their lists, without which bhyve cannot save them. A real controller is asked for its first port's; one that is a
 * virtio-scsi controller here counts as set up once the guest's kernel has switched ACPI on, which it does before.
 */
export async function hasAhciPorts(machine: Machine): Promise<boolean> {
  if (await machine.hasAcpi()) return true;
  const monitor = async (line: string): Promise<string> => String(await machine.command('human-monitor-command', { 'command-line': line }));
  // The chipset's own controller, which bhyve does not have, is without a name.
  const controllers = (await monitor('info pci')).split(/^ {2}Bus/m).filter((text) => text.includes('SATA controller') && !/id ""/.test(text));
  const places = controllers.map((text) => Number(/BAR5: 32 bit memory at (0x[0-9a-f]{1,8}) /.exec(text)?.[1] ?? 0));
  const lists = await Promise.all(places.map(async (place) => (place === 0 ? 0 : Number(/: (0x[0-9a-f]+)/.exec(await monitor(`xp /1wx 0x${(place + 0x100).toString(16)}`))?.[1] ?? 0))));
  return lists.length > 0 && lists.every((list) => list !== 0);
}
