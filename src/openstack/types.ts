/**
 * HTTP clients of the cloud's services. Only this folder makes HTTP calls. Tokens never reach a log or an error.
 * Every call has a time limit and a signal; only what may be repeated is repeated (bounded).
 * AgentError codes: `http-unreachable` and `http-timeout` (retry later), `http-unauthorized`, `http-forbidden`,
 * `http-not-found`, `http-conflict`, `http-bad-request`, `http-server-error` (retry later). `details` carry service, method,
 * path without query, status and the service's request id; never a body.
 */
import type { RequestContext } from '../rpc/context.js';
import type { ImageId } from '../lib/ids.js';

export interface GlanceImage {
  readonly id: ImageId;
  readonly name: string | null;
  readonly status: string;
  readonly diskFormat: string | null;
  readonly containerFormat: string | null;
  readonly sizeBytes: bigint | null;
  readonly minDiskGiB: number;
  readonly minRamMiB: number;
  readonly checksum: string | null;
  readonly hashAlgorithm: string | null;
  readonly hashValue: string | null;
  readonly properties: Readonly<Record<string, string>>;
}

/** What is to become an image: its number of octets, and a way to read them, from the beginning each time. */
export interface ImageContent {
  readonly bytes: bigint;
  open(): AsyncIterable<Uint8Array>;
}

/** What a project may still put into Glance; null: no limit, or none that Glance tells. */
export interface GlanceRoom {
  readonly bytes: bigint | null;
  readonly images: number | null;
}

export interface GlanceClient {
  show(context: RequestContext, id: ImageId): Promise<GlanceImage>;
  /** Octets of an image; the consumer checks the hash. Num_retries applies before the first byte only. */
  download(context: RequestContext, id: ImageId, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Octets into a queued image, with bounded memory; broken connections are tried again from the beginning. An image that was deleted meanwhile is an
   * error with wire ImageNotFound.
   */
  upload(context: RequestContext, id: ImageId, content: ImageContent, signal: AbortSignal): Promise<void>;
  /** Sets attributes (name, disk_format …) and properties; others stay. */
  update(context: RequestContext, id: ImageId, attributes: Readonly<Record<string, string>>): Promise<void>;
  /** Images that have all these properties, newest first. */
  list(context: RequestContext, properties: Readonly<Record<string, string>>): Promise<ImageId[]>;
  /**
   * Images that have all these properties, asked with a log-in of our own; null if that is no administrator's. An image that is not in it (hidden, of a user who
   * changed its properties) may still be there: `isGone` tells.
   */
  seen(properties: Readonly<Record<string, string>>, signal: AbortSignal): Promise<ReadonlySet<ImageId> | null>;
  /** Whether the image is not there (any more), asked with a log-in of our own; null if that is no administrator's, who alone sees every image. */
  isGone(id: ImageId, signal: AbortSignal): Promise<boolean | null>;
  /** DELETE; an image that is gone already is fine. */
  remove(context: RequestContext, id: ImageId): Promise<void>;
  /** A queued image of the user's project that lists do not show (`os_hidden`, API 2.7). AgentError `image-too-much` when a quota is in the way. */
  createHidden(context: RequestContext, attributes: Readonly<Record<string, string>>): Promise<ImageId>;
  /** What the quota of the user's project still takes. */
  room(context: RequestContext): Promise<GlanceRoom>;
  /** Images that lists do not show, with all these properties, asked with a log-in of our own; null if that is no administrator's. */
  hidden(properties: Readonly<Record<string, string>>, signal: AbortSignal): Promise<readonly GlanceImage[] | null>;
  /** One image, asked with a log-in of our own; null if it is not there, or if that is no administrator's. */
  look(id: ImageId, signal: AbortSignal): Promise<GlanceImage | null>;
  /** DELETE with a log-in of our own; an image that is gone already is fine. Nothing is done if that is no administrator's. */
  discard(id: ImageId, signal: AbortSignal): Promise<void>;
}

export interface Inventory {
  readonly total: number;
  readonly reserved: number;
  readonly min_unit: number;
  readonly max_unit: number;
  readonly step_size: number;
  readonly allocation_ratio: number;
}

export interface ResourceProvider {
  readonly uuid: string;
  readonly name: string;
  readonly generation: number;
}

export interface Allocations {
  /** provider uuid → resource class → amount */
  readonly allocations: Readonly<Record<string, { readonly resources: Readonly<Record<string, number>> }>>;
  readonly projectId: string | null;
  readonly userId: string | null;
  readonly consumerGeneration: number | null;
}

/** AgentError codes beside the common ones: `placement-generation-conflict`, `placement-inventory-in-use`. */
export interface PlacementClient {
  providersInTree(uuid: string): Promise<ResourceProvider[]>;
  providerByName(name: string): Promise<ResourceProvider | null>;
  createProvider(uuid: string, name: string): Promise<ResourceProvider>;
  deleteProvider(uuid: string): Promise<void>;
  inventories(uuid: string): Promise<{ generation: number; inventories: Readonly<Record<string, Inventory>> }>;
  putInventories(uuid: string, generation: number, inventories: Readonly<Record<string, Inventory>>): Promise<number>;
  traits(uuid: string): Promise<{ generation: number; traits: readonly string[] }>;
  putTraits(uuid: string, generation: number, traits: readonly string[]): Promise<number>;
  /** Those of `names` that this Placement knows. */
  knownTraits(names: readonly string[]): Promise<ReadonlySet<string>>;
  createCustomTrait(name: string): Promise<void>;
  /** A custom class; there already is fine. */
  createResourceClass(name: string): Promise<void>;
  allocationsOf(consumer: string): Promise<Allocations>;
  allocationsOnProvider(uuid: string): Promise<Readonly<Record<string, { readonly resources: Readonly<Record<string, number>> }>>>;
  /** PUT with empty allocations and the consumer generation; false if there was nothing to remove. */
  removeAllocations(consumer: string): Promise<boolean>;
  /** DELETE, whatever the generation. */
  deleteAllocations(consumer: string): Promise<void>;
  putAllocations(consumer: string, allocations: Allocations): Promise<void>;
  /** One POST: what `from` holds becomes `to`'s, whatever `to` held; `from` holds nothing then. Nothing to move is fine. */
  moveAllocations(from: string, to: string): Promise<void>;
  /** Takes one provider out of a consumer's allocations (evacuated away, refused here); absent is fine. */
  removeProviderFromAllocations(consumer: string, provider: string): Promise<void>;
}

/** `asUser` uses the context's token (with our service token beside it), `asService` the configured [neutron] identity. */
export interface NeutronClient {
  request<T>(identity: { asUser: RequestContext } | 'asService', method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string,
    options?: { query?: Readonly<Record<string, string | readonly string[]>>; body?: unknown; context?: RequestContext; signal?: AbortSignal }): Promise<T>;
  /** Aliases of the extensions, cached for a while. */
  extensions(): Promise<ReadonlySet<string>>;
}
