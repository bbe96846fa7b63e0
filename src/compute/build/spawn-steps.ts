/**
 * The steps of a build that change this machine. Each can be undone until the guest runs; the guest starts last, after Neutron has
 * said that its vifs are wired.
 */
import { parseImageId, parseInstanceUuid } from '../../lib/ids.js';
import type { Step } from '../../journal/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { GuestDefinition } from '../../virt/index.js';
import type { NetworkInfo, PluggedVif } from '../../network/index.js';
import { rolePlace, type DiskInfo, type DiskRole } from '../../storage/index.js';
import type { GlanceImage } from '../../openstack/index.js';
import { deviceMetadata } from '../device-metadata.js';
import { cacheImage, rootBytesOf } from '../fetch-image.js';
import { guestDefinition } from '../guest-definition.js';
import { machineShape, shapeFacts } from '../shape/index.js';
import { localDiskSteps, rootBus, rootMapping, type LocalDisk } from '../local-disks.js';
import { defineGuest, plugVifs, startGuest } from '../machine-steps.js';
import { expectPlugged, type PlugWait } from '../plug-events.js';
import type { Operation } from '../operation.js';

type Spawn = Operation<{ instance: NovaObjectOf<'Instance'> }>;

export interface SpawnInput {
  readonly image: GlanceImage;
  readonly injectedFiles: readonly (readonly [string, Uint8Array])[];
  readonly adminPassword: string | null;
  readonly blockDevices: readonly NovaObjectOf<'BlockDeviceMapping'>[];
  /** Ephemeral and swap disks. */
  readonly disks: readonly LocalDisk[];
  /** Ports may carry tags: their rows are asked for. */
  readonly hasTaggedPorts: boolean;
  /** The ports are made while the disk is; this is awaited before plugging. */
  readonly vifs: () => Promise<NetworkInfo>;
}

export function spawnSteps(operation: Spawn, input: SpawnInput): readonly Step[] {
  const { args: { instance }, context, deps } = operation;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const imageId = parseImageId(input.image.id);
  const rootBytes = rootBytesOf(instance.get('flavor'));
  const { rootKind } = machineShape(shapeFacts(instance, deps.driver.capabilities));
  const disks = new Map<DiskRole, DiskInfo>();
  const keep = (disk: DiskInfo): void => void disks.set(disk.role, disk);
  let vifs: NetworkInfo = [];
  let plugged: readonly PluggedVif[] = [];
  let configDrivePath: string | null = null;
  let plugWait: PlugWait | null = null;
  const definition = (): GuestDefinition => guestDefinition({
    instance, nameTemplate: deps.options.instanceNameTemplate, disks: [...disks.values()].sort((a, b) => rolePlace(a.role) - rolePlace(b.role)), plugged, configDrivePath, hasVnc: deps.options.vnc !== null,
    capabilities: deps.driver.capabilities,
  });

  return [
    {
      name: 'cache-image', // the cache is everybody's: no undo
      look: async () => 'not-done',
      leavesNothing: true,
      act: (signal) => cacheImage(deps, context, input.image, { maxBytes: rootBytes, signal, for: uuid }),
      undo: async () => undefined,
    },
    {
      name: 'root-disk',
      look: async () => 'not-done', // idempotent, and it also grows the disk
      act: async () => {
        keep(await deps.storage.createDiskFromImage(uuid, 'root', imageId, rootKind === 'cdrom' ? null : rootBytes, rootBus(input.blockDevices)));
      },
      undo: () => deps.storage.buryDisks(uuid),
    },
    ...localDiskSteps(deps, uuid, input.disks, keep),
    {
      name: 'await-ports',
      look: async () => 'not-done',
      leavesNothing: true,
      act: async () => {
        vifs = await input.vifs();
        plugWait = expectPlugged(deps, context, instance, vifs); // before plugging: the event may be quick
      },
      undo: async () => plugWait?.cancel(),
    },
    plugVifs(deps, uuid, () => vifs, (result) => { plugged = result; }),
    {
      name: 'device-tags', // before the config drive, which tells them
      look: async () => 'not-done',
      leavesNothing: true,
      act: () => tagDevices(operation, input, definition),
      undo: async () => undefined,
    },
    {
      name: 'config-drive',
      look: async () => (deps.configDrive.isRequired(instance, input.image.properties) ? 'not-done' : 'done'),
      act: async () => {
        configDrivePath = await deps.configDrive.write({
          instance, networkInfo: vifs, injectedFiles: input.injectedFiles, adminPassword: input.adminPassword,
        });
        instance.set('config_drive', 'True');
      },
      undo: () => deps.driver.destroy(uuid),
    },
    defineGuest(deps, uuid, async () => definition(), { isNew: true }),
    {
      name: 'await-plugged',
      look: async () => 'not-done',
      leavesNothing: true,
      act: async (signal) => plugWait?.wait(signal),
      undo: async () => undefined,
    },
    startGuest(deps, uuid),
  ];
}

/** Nothing is asked or set for a server without tags. */
async function tagDevices({ args, context, deps }: Spawn, { image, blockDevices, disks, hasTaggedPorts }: SpawnInput, define: () => GuestDefinition): Promise<void> {
  const roles = [[rootMapping(blockDevices), 'root'] as const, ...disks.map(({ mapping, role }) => [mapping, role] as const)];
  const diskTags = roles.flatMap(([mapping, role]) => ((mapping?.maybe('tag') ?? null) === null ? [] : [[role, mapping!.get('tag')!] as const]));
  if (!hasTaggedPorts && diskTags.length === 0) return;
  const definition = define();
  const rows = hasTaggedPorts ? await deps.conductor.virtualInterfaces.byInstance(context, definition.instance) : [];
  const nicTags = rows.flatMap((row) => ((row.maybe('tag') ?? null) === null ? [] : [[row.get('uuid'), row.get('tag')!] as const]));
  const tags = { nics: new Map(nicTags), disks: new Map(diskTags) };
  // A config drive that comes later takes a slot before the interfaces: plan with it.
  const planned = { ...definition, configDrive: deps.configDrive.isRequired(args.instance, image.properties) ? { path: '' } : null };
  args.instance.set('device_metadata', deviceMetadata(deps.conductor.profile, planned, await deps.driver.plannedSlots(planned), tags));
}
