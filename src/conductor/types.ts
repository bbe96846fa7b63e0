/**
 * Typed calls to nova-conductor: how a compute reads and writes Nova's database (wire.md 5). Each method is one round
 * trip. Remote exceptions arrive as RemoteError (InstanceNotFound, UnexpectedTaskStateError, …). `object_action` updates
 * are merged into the object that was passed in; what was set meanwhile stays and stays changed.
 *
 * No answer (`rpc-timeout`, `rpc-disconnected`): methods marked † are asked again for `retryForMs` since a second time is
 * harmless, as said at each in the code; the others throw at once, and the caller decides.
 */
import type { NovaObjectOf, ReleaseProfile } from '../objects/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { InstanceUuid } from '../lib/ids.js';

/** A value of expected_task_state: one state, null (= no task), or a list that may contain null. */
export type ExpectedTaskState = string | null | readonly (string | null)[];

export type { ReleaseProfile } from '../objects/index.js';

export interface SaveOptions {
  /** Absent: no check. */
  readonly expectedTaskState?: ExpectedTaskState;
}

export interface Conductor {
  /** Pings until the conductor answers (10 s limit ten times, then rpc_response_timeout, for ever). */
  waitUntilAlive(signal: AbortSignal): Promise<void>;
  /** Reads the conductor's service version and fixes the profile; call again after a reconnect. AgentError `release-unsupported` when the cloud is older than Zed. */
  negotiate(): Promise<ReleaseProfile>;
  /** A Bug before the first negotiate. */
  readonly profile: ReleaseProfile;

  /** † but `save`: the heartbeat has its own rhythm, and a late beat is worth nothing. */
  readonly services: {
    minimumVersion(context: RequestContext, binary: string): Promise<number>;
    byHostAndBinary(context: RequestContext, host: string, binary: string): Promise<NovaObjectOf<'Service'> | null>;
    byComputeHost(context: RequestContext, host: string): Promise<NovaObjectOf<'Service'>>;
    /** Answers the row that is there already if somebody was faster. */
    create(context: RequestContext, fields: { host: string; binary: string; topic: string; reportCount: number; version: number }): Promise<NovaObjectOf<'Service'>>;
    save(context: RequestContext, service: NovaObjectOf<'Service'>): Promise<void>;
  };
  /** † */
  readonly computeNodes: {
    byUuids(context: RequestContext, uuids: readonly string[]): Promise<NovaObjectOf<'ComputeNode'>[]>;
    byHost(context: RequestContext, host: string): Promise<NovaObjectOf<'ComputeNode'>[]>;
    byHostAndNodename(context: RequestContext, host: string, node: string): Promise<NovaObjectOf<'ComputeNode'> | null>;
    byUuid(context: RequestContext, uuid: string): Promise<NovaObjectOf<'ComputeNode'> | null>;
    create(context: RequestContext, node: NovaObjectOf<'ComputeNode'>): Promise<void>;
    save(context: RequestContext, node: NovaObjectOf<'ComputeNode'>): Promise<void>;
    destroy(context: RequestContext, node: NovaObjectOf<'ComputeNode'>): Promise<void>;
  };
  /** † */
  readonly instances: {
    byUuid(context: RequestContext, uuid: InstanceUuid, expectedAttrs?: readonly string[]): Promise<NovaObjectOf<'Instance'>>;
    byHost(context: RequestContext, host: string, expectedAttrs?: readonly string[]): Promise<NovaObjectOf<'Instance'>[]>;
    byHostAndNode(context: RequestContext, host: string, node: string, expectedAttrs?: readonly string[]): Promise<NovaObjectOf<'Instance'>[]>;
    byFilters(context: RequestContext, filters: Readonly<Record<string, unknown>>, expectedAttrs?: readonly string[]): Promise<NovaObjectOf<'Instance'>[]>;
    uuidsByHost(context: RequestContext, host: string): Promise<InstanceUuid[]>;
    /**
     * Writes the changed fields, nested objects included. Without any changed field Nova checks no expected state either.
     * When a repeat meets UnexpectedTaskStateError the row is read: if it holds what we wrote, the first attempt got through.
     */
    save(context: RequestContext, instance: NovaObjectOf<'Instance'>, options?: SaveOptions): Promise<void>;
    refresh(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void>;
    destroy(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void>;
    /** Loads unset attributes (a fresh get with expected_attrs) into the object. */
    load(context: RequestContext, instance: NovaObjectOf<'Instance'>, attrs: readonly string[]): Promise<void>;
    /** Rows of this host, deleted ones included, that were there at some time between the two; with what notifications tell of. */
    activeBetween(context: RequestContext, period: { readonly begin: Date; readonly end: Date }, host: string): Promise<NovaObjectOf<'Instance'>[]>;
    /** Deletes the record of a move that is over; that there is none is fine. */
    dropMigrationContext(context: RequestContext, instance: NovaObjectOf<'Instance'>): Promise<void>;
  };
  /** † */
  readonly infoCaches: {
    /** Null when the row is gone. */
    byInstance(context: RequestContext, uuid: InstanceUuid): Promise<NovaObjectOf<'InstanceInfoCache'> | null>;
    save(context: RequestContext, cache: NovaObjectOf<'InstanceInfoCache'>): Promise<void>;
  };
  /** † */
  readonly blockDevices: {
    byInstance(context: RequestContext, uuid: InstanceUuid): Promise<NovaObjectOf<'BlockDeviceMapping'>[]>;
    save(context: RequestContext, mapping: NovaObjectOf<'BlockDeviceMapping'>): Promise<void>;
  };
  /** Events †: a second start leaves one more unfinished event in the list, which is better than a lost build. `actionStart` once. */
  readonly actions: {
    eventStart(context: RequestContext, uuid: InstanceUuid, event: string, host: string): Promise<void>;
    eventFinish(context: RequestContext, uuid: InstanceUuid, event: string, failure: { message: string; trace: string } | null): Promise<void>;
    /** InstanceAction.action_start, for operations that we begin ourselves (power sync). */
    actionStart(context: RequestContext, uuid: InstanceUuid, action: string): Promise<void>;
  };
  /** †: users see the newest fault only. */
  readonly faults: {
    create(context: RequestContext, fault: { instance: InstanceUuid; code: number; message: string; details: string; host: string }): Promise<void>;
  };
  /** † */
  readonly migrations: {
    byFilters(context: RequestContext, filters: Readonly<Record<string, unknown>>): Promise<NovaObjectOf<'Migration'>[]>;
    inProgressAndError(context: RequestContext, host: string, node: string): Promise<NovaObjectOf<'Migration'>[]>;
    /** Moves to this host that have been `finished` for longer than `seconds` and that nobody confirmed. */
    unconfirmed(context: RequestContext, host: string, seconds: number): Promise<NovaObjectOf<'Migration'>[]>;
    /** Null when there is none. */
    byId(context: RequestContext, id: number, instance: InstanceUuid): Promise<NovaObjectOf<'Migration'> | null>;
    save(context: RequestContext, migration: NovaObjectOf<'Migration'>): Promise<void>;
  };
  /** † */
  readonly virtualInterfaces: {
    create(context: RequestContext, fields: { port: string; instance: InstanceUuid; mac: string; tag: string | null }): Promise<void>;
    byInstance(context: RequestContext, uuid: InstanceUuid): Promise<NovaObjectOf<'VirtualInterface'>[]>;
    deleteByInstance(context: RequestContext, uuid: InstanceUuid): Promise<void>;
  };
  /** `authorize` once: its caller waits no longer than we do. The others †. */
  readonly consoleTokens: {
    /** Returns the token that the conductor generated. */
    authorize(context: RequestContext, fields: { consoleType: string; host: string; port: number; instance: InstanceUuid; accessUrlBase: string; ttlSeconds: number }): Promise<string>;
    cleanForInstance(context: RequestContext, uuid: InstanceUuid): Promise<void>;
    cleanExpired(context: RequestContext): Promise<void>;
  };
  /** What was told of a period's usage. `begin` once. */
  readonly usageAudits: {
    /** Whether this host has begun it, or more. */
    hasBegun(context: RequestContext, period: { readonly begin: Date; readonly end: Date }, host: string): Promise<boolean>;
    /** RemoteError TaskAlreadyRunning if somebody has. */
    begin(context: RequestContext, audit: NovaObjectOf<'TaskLog'>): Promise<void>;
    /** †: columns are set to values. */
    end(context: RequestContext, audit: NovaObjectOf<'TaskLog'>): Promise<void>;
  };
  /** † */
  readonly groups: {
    /** Null when there is none. */
    byName(context: RequestContext, name: string): Promise<NovaObjectOf<'InstanceGroup'> | null>;
    byUuid(context: RequestContext, uuid: string): Promise<NovaObjectOf<'InstanceGroup'> | null>;
  };
  /**
   * compute_task.build_instances: gives a failed build back to the scheduler. Once: a second message could build twice.
   * Objects among the arguments are written by this call.
   */
  rebuildElsewhere(context: RequestContext, args: Readonly<Record<string, unknown>>): Promise<void>;
  /** compute_task.migrate_server: asks for another host for a move that this one refuses. Once, as above. */
  moveElsewhere(context: RequestContext, args: Readonly<Record<string, unknown>>): Promise<void>;
  /**
   * A cast to nova-compute of a host, ours included: the next part of a move. Resolved when the broker has it. Where the release has a second
   * topic for work that was begun already, it goes there. Objects among the arguments are written by this call.
   */
  continueOn(context: RequestContext, host: string, method: 'resize_instance' | 'finish_resize' | 'finish_revert_resize' | 'confirm_resize', args: Readonly<Record<string, unknown>>): Promise<void>;
  /** Fanout casts that keep the schedulers' view of this host (topic scheduler, 4.2). Never throw: the next sync repairs a lost one. */
  readonly scheduler: {
    updateInstances(context: RequestContext, host: string, instances: readonly NovaObjectOf<'Instance'>[]): Promise<void>;
    deleteInstance(context: RequestContext, host: string, uuid: InstanceUuid): Promise<void>;
    syncInstances(context: RequestContext, host: string, uuids: readonly InstanceUuid[]): Promise<void>;
  };
}
