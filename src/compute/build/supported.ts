/**
 * What this host cannot give is refused before anything is made, with a sentence that a user understands (nova-contract 6.2.3, 9, 17,
 * 18). Nothing that was asked for is silently left out.
 */
import { AgentError } from '../../lib/errors.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { DiskBus, DiskFormat } from '../../storage/index.js';
import type { HostCapabilities } from '../../virt/index.js';
import { unsupportedDisks, type LocalDisk } from '../local-disks.js';
import { unsupportedMachine, type ImageProperties } from '../shape/index.js';
import type { BuildArguments } from './request.js';

export interface SupportFacts {
  readonly args: Pick<BuildArguments, 'instance' | 'accel_uuids'>;
  readonly blockDevices: readonly NovaObjectOf<'BlockDeviceMapping'>[];
  readonly disks: readonly LocalDisk[];
  readonly properties: ImageProperties;
  readonly capabilities: HostCapabilities;
  readonly hasScreens: boolean;
  readonly formats: ReadonlySet<DiskFormat>;
}

/** Buses whose device models this host has. */
const busesOf = ({ deviceModels }: HostCapabilities): ReadonlySet<DiskBus> =>
  new Set(([['virtio', 'virtio-blk'], ['sata', 'ahci'], ['nvme', 'nvme']] as const).filter(([, model]) => deviceModels.has(model)).map(([bus]) => bus));

function firstUnsupported({ args, blockDevices, disks, properties, capabilities, hasScreens, formats }: SupportFacts): string | null {
  if ((args.accel_uuids ?? []).length > 0) return 'accelerators are not supported by this host';
  if ((args.instance.maybe('trusted_certs') ?? null) !== null) return 'image certificate validation is not supported by this host';
  return unsupportedDisks(blockDevices, disks, formats, busesOf(capabilities))
    ?? unsupportedMachine({ flavor: args.instance.get('flavor'), properties, capabilities, hasScreens, diskBuses: blockDevices.map((mapping) => mapping.maybe('disk_bus') ?? null) });
}

/** Throws AgentError `unsupported-request` (wire BuildAbortException) naming the first thing that this host cannot give. */
export function refuseUnsupported(facts: SupportFacts): void {
  const reason = firstUnsupported(facts);
  if (reason !== null) throw new AgentError('unsupported-request', reason, { wire: novaFaults.buildAbort(facts.args.instance.get('uuid'), reason) });
}
