/**
 * What is stored about a guest in `instance.json`: the definition that Nova gave, and everything that was chosen once and must
 * not change behind the guest's back (PCI slots) or must be known after a restart (console unit, VNC port). The layout has a number;
 * an agent that meets a newer one refuses politely instead of guessing.
 */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { parseInstanceUuid, type InstanceUuid } from '../../lib/ids.js';
import { isDiskRole, type DiskRole } from '../../storage/index.js';
import type { GuestDefinition } from '../types.js';
import { assignSlots, emptySlotMap, type DeviceKey, type SlotMap } from './slot-map.js';

/**
 * Layout of instance.json. 1: first. 2: disks of several roles, buses and kinds, interface models, CPU topology, random numbers, tablet; a file
 * of layout 1 reads as the one machine that there was then.
 */
export const instanceLayout = 2;

export interface MachineSpec {
  readonly layout: typeof instanceLayout;
  readonly definition: GuestDefinition;
  readonly slots: SlotMap;
  /** N of /dev/nmdmNA (bhyve's side) and /dev/nmdmNB (the console reader's side). */
  readonly consoleUnit: number;
  /** Where the RFB server listens, and the password that it asks for, if any; null for a guest without one. */
  readonly vnc: { readonly address: string; readonly port: number; readonly password?: string | undefined } | null;
  /** When the guest was first defined, ISO 8601. */
  readonly createdAt: string;
}

const uuid = z.string().transform((value) => parseInstanceUuid(value));

const count = z.number().int().positive();

const limit = z.number().positive().nullable().default(null);

const storedDefinition = z.object({
  instance: uuid,
  name: z.string(),
  vcpus: count,
  memoryMiB: count,
  topology: z.object({ sockets: count, cores: count, threads: count }).optional(),
  disks: z.array(z.object({
    role: z.custom<DiskRole>((value) => typeof value === 'string' && isDiskRole(value)), path: z.string(), serial: z.string(), bus: z.enum(['virtio', 'sata', 'nvme']),
    kind: z.enum(['disk', 'cdrom']).default('disk'),
  })),
  configDrive: z.object({ path: z.string() }).nullable(),
  nics: z.array(z.object({
    port: z.string(), tapName: z.string(), mac: z.string(), mtu: count, model: z.enum(['virtio', 'e1000']),
  })),
  hasVnc: z.boolean(),
  hasTablet: z.boolean().optional(),
  hasRng: z.boolean().default(false),
  clock: z.enum(['utc', 'localtime']).default('utc'),
  limits: z.object({ cpuPercent: limit, readBytesPerSecond: limit, writeBytesPerSecond: limit, readsPerSecond: limit, writesPerSecond: limit }).prefault({}),
}).transform((stored) => ({
  ...stored,
  topology: stored.topology ?? { sockets: stored.vcpus, cores: 1, threads: 1 }, // what bhyve makes of a bare number
  hasTablet: stored.hasTablet ?? stored.hasVnc,
}));

const slot = z.number().int().min(0).max(31);
const storedSpec = z.object({
  layout: z.literal([1, instanceLayout]).transform((): typeof instanceLayout => instanceLayout),
  definition: storedDefinition,
  slots: z.object({ used: z.record(z.string(), slot), retired: z.array(z.object({ key: z.string(), slot })) }),
  consoleUnit: z.number().int().min(0),
  vnc: z.object({ address: z.string(), port: z.number().int().min(1).max(65535), password: z.string().optional() }).nullable(),
  createdAt: z.string(),
});

/** The keys of the movable devices, in the order in which a new guest gets its slots. */
export function deviceKeys(definition: GuestDefinition): DeviceKey[] {
  return [
    ...definition.disks.map((disk): DeviceKey => `disk:${disk.role}`),
    ...(definition.configDrive === null ? [] : (['cdrom:config'] as const)),
    ...definition.nics.map((nic): DeviceKey => `nic:${nic.port}`),
    ...(definition.hasRng ? (['rng:0'] as const) : []),
  ];
}

/** The spec of a new definition; what `before` chose stays. Pure: the caller allocates unit and port. */
export function buildMachineSpec(
  definition: GuestDefinition,
  before: MachineSpec | undefined,
  chosen: Pick<MachineSpec, 'consoleUnit' | 'vnc' | 'createdAt'>,
): MachineSpec {
  checkDefinition(definition);
  return { layout: instanceLayout, definition, slots: slotsAfter(definition, before), ...chosen };
}

const slotsAfter = (definition: GuestDefinition, before: MachineSpec | undefined): SlotMap => assignSlots(before?.slots ?? emptySlotMap, deviceKeys(definition));

/** The slots in use that the spec of this definition would have. */
export const planSlots = (definition: GuestDefinition, before: MachineSpec | undefined): SlotMap['used'] => slotsAfter(definition, before).used;

function checkDefinition(definition: GuestDefinition): void {
  const keys = deviceKeys(definition);
  if (new Set(keys).size !== keys.length) throw new AgentError('bad-guest-definition', 'two devices of one guest have the same key');
  const { sockets, cores, threads } = definition.topology;
  if (sockets * cores * threads !== definition.vcpus) throw new AgentError('bad-guest-definition', 'sockets, cores and threads do not make the number of vCPUs');
  if (definition.vcpus < 1 || definition.memoryMiB < 1) throw new AgentError('bad-guest-definition', 'a guest needs at least one vCPU and 1 MiB');
}

/** Text of instance.json. */
export const renderSpec = (spec: MachineSpec): string => `${JSON.stringify(spec, null, 2)}\n`;

/**
 * Reads instance.json. AgentError `layout-too-new` when a newer agent wrote it, `bad-instance-file` when it is damaged or belongs
 * to another instance.
 */
export function parseSpec(instance: InstanceUuid, text: string): MachineSpec {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw new AgentError('bad-instance-file', `instance.json of ${instance} is not JSON`, { cause });
  }
  const layout: unknown = typeof raw === 'object' && raw !== null && 'layout' in raw ? raw.layout : undefined;
  if (typeof layout === 'number' && layout > instanceLayout) {
    throw new AgentError('layout-too-new',
      `instance ${instance} was written by a newer agent (layout ${layout}, this agent reads up to ${instanceLayout}): upgrade this agent`);
  }
  const parsed = storedSpec.safeParse(raw);
  if (!parsed.success) throw new AgentError('bad-instance-file', `instance.json of ${instance} is damaged`, { cause: parsed.error });
  if (parsed.data.definition.instance !== instance) {
    throw new AgentError('bad-instance-file', `the folder of ${instance} holds the file of ${parsed.data.definition.instance}`);
  }
  return parsed.data;
}
