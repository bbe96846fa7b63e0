/**
 * What this host cannot give is refused before anything is made, with a sentence that a user understands (nova-contract 6.2.3, 9, 17,
 * 18). Nothing that was asked for is silently left out.
 */
import { AgentError } from '../../lib/errors.js';
import { novaFaults } from '../../lib/nova-faults.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { HostCapabilities } from '../../virt/index.js';
import type { BuildArguments } from './request.js';

export interface SupportFacts {
  readonly args: Pick<BuildArguments, 'instance' | 'accel_uuids' | 'requested_networks'>;
  readonly blockDevices: readonly NovaObjectOf<'BlockDeviceMapping'>[];
  readonly imageProperties: Readonly<Record<string, string>>;
  readonly capabilities: HostCapabilities;
}

type Rule = (facts: SupportFacts) => string | null;

const oneOf = (property: string, allowed: readonly string[]): Rule => ({ imageProperties }) => {
  const value = imageProperties[property];
  return value === undefined || allowed.includes(value.toLowerCase()) ? null : `image property ${property}=${value} is not supported by this host (it has: ${allowed.join(', ')})`;
};

const architecture: Rule = ({ imageProperties, capabilities }) => {
  const wanted = imageProperties['hw_architecture'] ?? imageProperties['architecture'];
  const ours = capabilities.architecture === 'amd64' ? ['x86_64', 'amd64', 'i686', 'x86'] : ['aarch64', 'arm64'];
  return wanted === undefined || wanted === '' || ours.includes(wanted.toLowerCase()) ? null : `the image is for architecture ${wanted}; this host is ${capabilities.architecture}`;
};

const tags: Rule = ({ args, blockDevices }) => {
  const networks = args.requested_networks?.get('objects') ?? [];
  const hasTag = networks.some((network) => (network.maybe('tag') ?? null) !== null) || blockDevices.some((device) => (device.maybe('tag') ?? null) !== null);
  return hasTag ? 'device tags are not supported by this host' : null;
};

const extraDisks: Rule = ({ args, blockDevices }) => {
  const flavor = args.instance.get('flavor');
  if (flavor.get('ephemeral_gb') > 0) return 'ephemeral disks are not supported by this host yet';
  if (flavor.get('swap') > 0) return 'swap disks are not supported by this host yet';
  const volume = blockDevices.find((device) => device.get('destination_type') === 'volume');
  if (volume !== undefined) return 'volumes are not supported by this host yet; boot from an image';
  return null;
};

const topology: Rule = ({ args, capabilities }) => {
  const vcpus = args.instance.get('flavor').get('vcpus');
  return vcpus > capabilities.maxVcpusPerGuest ? `the flavor wants ${vcpus} vCPUs; a guest on this host can have ${capabilities.maxVcpusPerGuest}` : null;
};

const rules: readonly Rule[] = [
  ({ args }) => ((args.accel_uuids ?? []).length > 0 ? 'accelerators are not supported by this host' : null),
  ({ args }) => ((args.instance.maybe('trusted_certs') ?? null) === null ? null : 'image certificate validation is not supported by this host'),
  tags,
  extraDisks,
  topology,
  architecture,
  oneOf('hw_firmware_type', ['uefi']),
  oneOf('hw_disk_bus', ['virtio']),
  oneOf('hw_vif_model', ['virtio']),
  oneOf('hw_machine_type', ['q35', 'pc']),
  oneOf('img_hv_type', ['bhyve']),
  oneOf('os_secure_boot', ['disabled', 'optional']),
  ({ imageProperties }) => (imageProperties['hw_tpm_version'] === undefined && imageProperties['hw_tpm_model'] === undefined ? null : 'an emulated TPM is not supported by this host'),
  ({ imageProperties }) => (imageProperties['hw_mem_encryption'] === 'true' ? 'memory encryption is not supported by this host' : null),
];

/** Throws AgentError `unsupported-request` (wire BuildAbortException) naming the first thing that this host cannot give. */
export function refuseUnsupported(facts: SupportFacts): void {
  for (const rule of rules) {
    const reason = rule(facts);
    if (reason !== null) {
      throw new AgentError('unsupported-request', reason, { wire: novaFaults.buildAbort(facts.args.instance.get('uuid'), reason) });
    }
  }
}
