/**
 * Faults that Nova's services rebuild and map to HTTP codes (nova/exception.py, Zed to 2026.2; the classes and codes
 * are those of nova-contract section 17). The message is the final text; kwargs are what the class formats it from.
 */
import { AgentError, type NovaFault } from './errors.js';

function nova(className: string, httpCode: number, message: string, kwargs: Record<string, unknown> = {}): NovaFault {
  return { className, module: 'nova.exception', message, kwargs: { ...kwargs, code: httpCode }, httpCode };
}

export const novaFaults = {
  /** Becomes HTTP 501. `builtins` exceptions must not carry kwargs, or the caller cannot rebuild them. */
  notImplemented: (message = ''): NovaFault => ({
    className: 'NotImplementedError', module: 'builtins', message, kwargs: {}, httpCode: 500,
  }),
  typeError: (message: string): NovaFault => ({ className: 'TypeError', module: 'builtins', message, kwargs: {}, httpCode: 500 }),
  unsupportedVersion: (version: string, method: string): NovaFault => ({
    className: 'UnsupportedVersion', module: 'oslo_messaging.rpc.dispatcher',
    message: `Endpoint does not support RPC version ${version}. Attempted method: ${method}`, kwargs: {}, httpCode: 500,
  }),
  noSuchMethod: (method: string): NovaFault => ({
    className: 'NoSuchMethod', module: 'oslo_messaging.rpc.dispatcher',
    message: `Endpoint does not support RPC method ${method}`, kwargs: {}, httpCode: 500,
  }),
  instanceNotFound: (uuid: string): NovaFault =>
    nova('InstanceNotFound', 404, `Instance ${uuid} could not be found.`, { instance_id: uuid }),
  instanceNotReady: (uuid: string): NovaFault =>
    nova('InstanceNotReady', 409, `Instance ${uuid} is not ready`, { instance_id: uuid }),
  instanceInvalidState: (uuid: string, attr: string, state: string, method: string): NovaFault =>
    nova('InstanceInvalidState', 409, `Instance ${uuid} in ${attr} ${state}. Cannot ${method} while the instance is in this state.`,
      { instance_uuid: uuid, attr, state, method }),
  instanceNotRunning: (uuid: string): NovaFault =>
    nova('InstanceNotRunning', 400, `Instance ${uuid} is not running.`, { instance_id: uuid }),
  instanceSuspendFailure: (reason: string): NovaFault => nova('InstanceSuspendFailure', 400, `Failed to suspend instance: ${reason}`, { reason }),
  instanceResumeFailure: (reason: string): NovaFault => nova('InstanceResumeFailure', 400, `Failed to resume instance: ${reason}`, { reason }),
  instancePasswordSetFailed: (uuid: string, reason: string): NovaFault =>
    nova('InstancePasswordSetFailed', 500, `Failed to set admin password on ${uuid} because ${reason}`, { instance: uuid, reason }),
  socketPortRangeExhausted: (host: string): NovaFault =>
    nova('SocketPortRangeExhaustedException', 500, `Not able to acquire a free port for ${host}`, { host }),
  consoleNotAvailable: (): NovaFault => nova('ConsoleNotAvailable', 404, 'Guest does not have a console available.'),
  consoleTypeUnavailable: (type: string): NovaFault =>
    nova('ConsoleTypeUnavailable', 400, `Unavailable console type ${type}.`, { console_type: type }),
  consoleTypeInvalid: (type: string): NovaFault => nova('ConsoleTypeInvalid', 400, `Invalid console type ${type}`, { console_type: type }),
  migrationPreCheckError: (reason: string): NovaFault =>
    nova('MigrationPreCheckError', 400, `Migration pre-check error: ${reason}`, { reason }),
  attachInterfaceNotSupported: (uuid: string): NovaFault =>
    nova('AttachInterfaceNotSupported', 400, `Attaching interfaces is not supported for instance ${uuid}.`, { instance_uuid: uuid }),
  networkInterfaceTaggedAttachNotSupported: (): NovaFault =>
    nova('NetworkInterfaceTaggedAttachNotSupported', 400, 'Tagged network interface attachment is not supported for this server instance.'),
  volumeTaggedAttachNotSupported: (): NovaFault =>
    nova('VolumeTaggedAttachNotSupported', 400, 'Tagged volume attachment is not supported for this server instance.'),
  multiattachNotSupportedByVirtDriver: (volume: string): NovaFault =>
    nova('MultiattachNotSupportedByVirtDriver', 400, `Volume ${volume} has 'multiattach' set, which is not supported for this instance.`,
      { volume_id: volume }),
  invalidVolume: (reason: string): NovaFault => nova('InvalidVolume', 400, `Invalid volume: ${reason}`, { reason }),
  instanceQuiesceNotSupported: (uuid: string, reason: string): NovaFault =>
    nova('InstanceQuiesceNotSupported', 400, `Quiescing is not supported in instance ${uuid}: ${reason}`, { instance_id: uuid, reason }),
  instanceNotRescuable: (uuid: string, reason: string): NovaFault =>
    nova('InstanceNotRescuable', 400, `Instance ${uuid} cannot be rescued: ${reason}`, { instance_id: uuid, reason }),
  unableToMigrateToSelf: (uuid: string, host: string): NovaFault =>
    nova('UnableToMigrateToSelf', 400, `Unable to migrate instance (${uuid}) to current host (${host}).`, { instance_id: uuid, host }),
  resizeError: (reason: string): NovaFault => nova('ResizeError', 500, `Resize error: ${reason}`, { reason }),
  migrationError: (reason: string): NovaFault => nova('MigrationError', 500, `Migration error: ${reason}`, { reason }),
  computeResourcesUnavailable: (reason: string): NovaFault =>
    nova('ComputeResourcesUnavailable', 500, `Insufficient compute resources: ${reason}.`, { reason }),
  buildAbort: (uuid: string, reason: string): NovaFault =>
    nova('BuildAbortException', 500, `Build of instance ${uuid} aborted: ${reason}`, { instance_uuid: uuid, reason }),
  rescheduled: (uuid: string, reason: string): NovaFault =>
    nova('RescheduledException', 500, `Build of instance ${uuid} was re-scheduled: ${reason}`, { instance_uuid: uuid, reason }),
  imageUnacceptable: (imageId: string, reason: string): NovaFault =>
    nova('ImageUnacceptable', 500, `Image ${imageId} is unacceptable: ${reason}`, { image_id: imageId, reason }),
  imageNotFound: (imageId: string): NovaFault => nova('ImageNotFound', 404, `Image ${imageId} could not be found.`, { image_id: imageId }),
  imageNotAuthorized: (imageId: string): NovaFault =>
    nova('ImageNotAuthorized', 500, `Not authorized for image ${imageId}.`, { image_id: imageId }),
  imageNotActive: (imageId: string): NovaFault => nova('ImageNotActive', 500, `Image ${imageId} is not active.`, { image_id: imageId }),
  imageQuotaExceeded: (imageId: string): NovaFault =>
    nova('ImageQuotaExceeded', 500, `Quota exceeded or out of space for image ${imageId} in the image service.`, { image_id: imageId }),
  flavorDiskSmallerThanImage: (flavorBytes: bigint, imageBytes: bigint): NovaFault =>
    nova('FlavorDiskSmallerThanImage', 500,
      `Flavor's disk is too small for requested image. Flavor disk is ${flavorBytes} bytes, image is ${imageBytes} bytes.`,
      { flavor_size: flavorBytes.toString(), image_size: imageBytes.toString() }),
  flavorDiskSmallerThanMinDisk: (flavorBytes: bigint, minDiskBytes: bigint): NovaFault =>
    nova('FlavorDiskSmallerThanMinDisk', 500,
      `Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is ${flavorBytes} bytes, minimum size is ${minDiskBytes} bytes.`,
      { flavor_size: flavorBytes.toString(), image_min_disk: minDiskBytes.toString() }),
  flavorMemoryTooSmall: (): NovaFault => nova('FlavorMemoryTooSmall', 500, "Flavor's memory is too small for requested image."),
  virtualInterfaceCreateException: (): NovaFault => nova('VirtualInterfaceCreateException', 500, 'Virtual Interface creation failed'),
  // Networks; codes and texts as in Zed's nova/exception.py (`Invalid` is 400, `NotFound` 404, `OverQuota` 413, a plain NovaException 500).
  externalNetworkAttachForbidden: (network: string): NovaFault =>
    nova('ExternalNetworkAttachForbidden', 403, `It is not allowed to create an interface on external network ${network}`, { network_uuid: network }),
  fixedIpAlreadyInUse: (address: string): NovaFault => nova('FixedIpAlreadyInUse', 500, `Fixed IP ${address} is already in use.`, { address, instance_uuid: '' }),
  fixedIpInvalidOnHost: (port: string): NovaFault =>
    nova('FixedIpInvalidOnHost', 400, `The fixed IP associated with port ${port} is not compatible with the host.`, { port_id: port }),
  interfaceAttachFailedNoNetwork: (project: string): NovaFault =>
    nova('InterfaceAttachFailedNoNetwork', 400, `No specific network was requested and none are available for project '${project}'.`, { project_id: project }),
  networkAmbiguous: (): NovaFault =>
    nova('NetworkAmbiguous', 400, 'Multiple possible networks found, use a Network ID to be more specific.'),
  networkNotFound: (network: string): NovaFault => nova('NetworkNotFound', 404, `Network ${network} could not be found.`, { network_id: network }),
  networksWithQoSPolicyNotSupported: (uuid: string, network: string): NovaFault =>
    nova('NetworksWithQoSPolicyNotSupported', 400,
      `Using networks with QoS policy is not supported for instance ${uuid}. (Network ID is ${network})`, { instance_uuid: uuid, network_id: network }),
  noMoreFixedIps: (network: string): NovaFault => nova('NoMoreFixedIps', 500, `No fixed IP addresses available for network: ${network}`, { net: network }),
  noUniqueSecurityGroup: (name: string): NovaFault =>
    nova('NoUniqueMatch', 409, `Multiple security groups found matching '${name}'. Use an ID to be more specific.`),
  portLimitExceeded: (): NovaFault => nova('PortLimitExceeded', 413, 'Maximum number of ports exceeded'),
  portNotUsable: (port: string, uuid: string): NovaFault =>
    nova('PortNotUsable', 400, `Port ${port} not usable for instance ${uuid}.`, { port_id: port, instance: uuid }),
  portNotUsableDns: (port: string, uuid: string, value: string, hostname: string): NovaFault =>
    nova('PortNotUsableDNS', 400,
      `Port ${port} not usable for instance ${uuid}. Value ${value} assigned to dns_name attribute does not match instance's hostname ${hostname}`,
      { port_id: port, instance: uuid, value, hostname }),
  portRequiresFixedIp: (port: string): NovaFault =>
    nova('PortRequiresFixedIP', 400, `Port ${port} requires a FixedIP in order to be used.`, { port_id: port }),
  securityGroupCannotBeApplied: (): NovaFault =>
    nova('SecurityGroupCannotBeApplied', 400, 'Network requires port_security_enabled and subnet associated in order to apply security groups.'),
  securityGroupNotFound: (group: string): NovaFault =>
    nova('SecurityGroupNotFound', 404, `Security group ${group} not found.`, { security_group_id: group }),
  unableToAutoAllocateNetwork: (project: string): NovaFault =>
    nova('UnableToAutoAllocateNetwork', 400, `Unable to automatically allocate a network for project ${project}`, { project_id: project }),
  portBindingFailed: (port: string): NovaFault =>
    nova('PortBindingFailed', 400, `Binding failed for port ${port}, please check neutron logs for more information.`, { port_id: port }),
  portInUse: (port: string): NovaFault => nova('PortInUse', 400, `Port ${port} is still in use.`, { port_id: port }),
  portNotFound: (port: string): NovaFault => nova('PortNotFound', 404, `Port id ${port} could not be found.`, { port_id: port }),
  invalidInput: (reason: string): NovaFault => nova('InvalidInput', 400, `Invalid input received: ${reason}`, { reason }),
} as const;

/** An AgentError (to be thrown) that a Python caller sees as `fault`. The code is 'refused'. */
export function refuse(fault: NovaFault): AgentError {
  return new AgentError('refused', fault.message === '' ? fault.className : fault.message, { wire: fault });
}
