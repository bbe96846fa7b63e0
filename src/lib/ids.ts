/**
 * Branded identifiers: one kind of id must not fit where another is wanted.
 * Each `parse…` accepts the canonical form only, because ids become dataset, file and interface names.
 */
import { AgentError } from './errors.js';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** Nova's id of an instance (canonical lower-case UUID). */
export type InstanceUuid = Branded<'InstanceUuid'>;
/** Neutron's id of a port. */
export type PortId = Branded<'PortId'>;
/** Glance's id of an image. */
export type ImageId = Branded<'ImageId'>;
/** A node of an instance's checkpoint tree; the id of the image that stands for it. */
export type CheckpointId = Branded<'CheckpointId'>;
/** Our own id of one journalled operation. */
export type OperationId = Branded<'OperationId'>;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function parseUuid(kind: string, value: unknown): string {
  if (typeof value === 'string' && UUID.test(value)) return value;
  throw new AgentError('bad-id', `${kind} is not a canonical UUID`);
}

/** Throws AgentError `bad-id` unless `value` is a canonical lower-case UUID. */
export const parseInstanceUuid = (value: unknown): InstanceUuid => parseUuid('instance uuid', value) as InstanceUuid;
/** Throws AgentError `bad-id` unless `value` is a canonical lower-case UUID. */
export const parsePortId = (value: unknown): PortId => parseUuid('port id', value) as PortId;
/** Throws AgentError `bad-id` unless `value` is a canonical lower-case UUID. */
export const parseImageId = (value: unknown): ImageId => parseUuid('image id', value) as ImageId;
/** Throws AgentError `bad-id` unless `value` is a canonical lower-case UUID. */
export const parseCheckpointId = (value: unknown): CheckpointId => parseUuid('checkpoint id', value) as CheckpointId;
/** Throws AgentError `bad-id` unless `value` is a canonical lower-case UUID. */
export const parseOperationId = (value: unknown): OperationId => parseUuid('operation id', value) as OperationId;

/** Whether `value` is a canonical lower-case UUID. */
export const isUuid = (value: unknown): value is string => typeof value === 'string' && UUID.test(value);
