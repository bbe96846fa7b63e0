/** What becomes of a build that failed (nova-contract 6.2, failure table). Pure. */
import { AgentError, wireFaultOf } from '../../lib/errors.js';
import { isDeletedMeanwhile, isInterrupted, isTaskStateConflict } from '../error-text.js';

export type BuildFailure =
  /** Somebody deleted the instance: clean up, no fault. */
  | { readonly kind: 'deleted' }
  /** Another host may do better. By policy: not counted as a failure of this host. */
  | { readonly kind: 'reschedule'; readonly byPolicy: boolean }
  /** No host would do better. */
  | { readonly kind: 'abort'; readonly reason: string | null }
  /** The agent is stopping; the journal brings it back. */
  | { readonly kind: 'interrupted' };

const networkClasses = new Set([
  'ExternalNetworkAttachForbidden', 'VirtualInterfaceCreateException', 'VirtualInterfaceMacAddressException', 'VirtualInterfacePlugException',
  'FixedIpLimitExceeded', 'FixedIpNotFoundForAddress', 'FixedIpAlreadyInUse', 'UnableToAutoAllocateNetwork', 'NetworksWithQoSPolicyNotSupported', 'NetworkNotFound',
  'NetworkAmbiguous', 'PortInUse', 'PortNotFound', 'PortNotUsable', 'PortBindingFailed', 'PortRequiresFixedIP', 'SecurityGroupNotFound', 'SecurityGroupCannotBeApplied',
]);
const requestClasses = new Set([
  'FlavorDiskTooSmall', 'FlavorDiskSmallerThanImage', 'FlavorDiskSmallerThanMinDisk', 'FlavorMemoryTooSmall', 'ImageNotActive', 'ImageUnacceptable', 'InvalidDiskInfo',
  'InvalidDiskFormat', 'SignatureVerificationError', 'CertificateValidationFailed', 'VolumeEncryptionNotSupported', 'InvalidInput', 'BuildAbortException', 'ImageNotFound',
]);

export const networkAbortText = 'Failed to allocate the network(s), not rescheduling.';

/** What to do with a build after this error. PortBindingFailed is about this host: another may bind. */
export function classifyBuildFailure(error: unknown): BuildFailure {
  if (isInterrupted(error)) return { kind: 'interrupted' };
  if (isDeletedMeanwhile(error) || isTaskStateConflict(error)) return { kind: 'deleted' };
  if (error instanceof AgentError && error.code === 'group-policy-violated') return { kind: 'reschedule', byPolicy: true };
  const fault = wireFaultOf(error);
  const className = fault?.className;
  if (fault?.className === 'NoMoreFixedIps') return { kind: 'abort', reason: `Failed to allocate the network(s) with error ${fault.message}, not rescheduling.` };
  if (className === 'PortBindingFailed') return { kind: 'reschedule', byPolicy: false };
  if (className !== undefined && networkClasses.has(className)) return { kind: 'abort', reason: networkAbortText };
  if (className !== undefined && requestClasses.has(className)) return { kind: 'abort', reason: null };
  return { kind: 'reschedule', byPolicy: false };
}
