/**
 * What the compute methods need, made in main.ts (or in a test from fakes).
 */
import type { Semaphore } from 'async-mutex';
import type { Clock } from '../lib/clock.js';
import type { OperationId } from '../lib/ids.js';
import type { Logger, Metrics } from '../observe/index.js';
import type { Journal } from '../journal/index.js';
import type { RequestContext } from '../rpc/context.js';
import type { GlanceClient, PlacementClient } from '../openstack/index.js';
import type { Conductor } from '../conductor/index.js';
import type { ConfigDriveWriter, NodeStorage } from '../storage/index.js';
import type { Plugger, Ports } from '../network/index.js';
import type { HypervisorDriver } from '../virt/index.js';
import type { EventWaiters, Gate } from '../instances/index.js';
import type { Notifications } from './notifications/notifications.js';
import type { ResourceTracker } from './resources/index.js';

/** Options by nova.conf's names, already in the units of their suffix. */
export interface ComputeOptions {
  readonly host: string;
  readonly node: string;
  readonly instanceNameTemplate: string;
  readonly vifPluggingTimeoutMs: number;
  readonly isVifPluggingFatal: boolean;
  readonly shutdownTimeoutMs: number;
  readonly shutdownRetryMs: number;
  readonly forceConfigDrive: boolean;
  readonly resumeGuestsOnHostBoot: boolean;
  /** Act at once when a guest ends by itself; otherwise the power sync finds out. */
  readonly handlesLifecycleEvents: boolean;
  readonly isGroupPolicyUpcallDisabled: boolean;
  readonly defaultEphemeralFormat: string | null;
  readonly defaultAccessIpNetwork: string | null;
  readonly trackInstanceChanges: boolean;
  readonly consoleTokenTtlSeconds: number;
  readonly isDeferredDeleteOn: boolean;
  /** shelved_offload_time: 0 = offload as soon as it is shelved, negative = never, else the time after which the duty does it. */
  readonly shelvedOffloadSeconds: number;
  /** `bytesPerSecond` 0 = as fast as Glance takes it. */
  readonly snapshots: { readonly format: 'raw' | 'qcow2'; readonly isCompressed: boolean; readonly bytesPerSecond: number };
  /** Nodes that a server's checkpoint tree may have. */
  readonly maxCheckpoints: number;
  /** Null when `[serial_console]enabled` is false. */
  readonly serial: { readonly baseUrl: string } | null;
  /** Null when `[vnc]enabled` is false. */
  readonly vnc: { readonly proxyClientAddress: string; readonly novncProxyBaseUrl: string } | null;
}

export interface ComputeDeps {
  readonly options: ComputeOptions;
  readonly conductor: Conductor;
  readonly ports: Ports;
  readonly plugger: Plugger;
  readonly storage: NodeStorage;
  readonly driver: HypervisorDriver;
  readonly tracker: ResourceTracker;
  readonly placement: PlacementClient;
  readonly glance: GlanceClient;
  readonly configDrive: ConfigDriveWriter;
  readonly gate: Gate;
  readonly waiters: EventWaiters;
  readonly notifications: Notifications;
  readonly journal: Journal;
  /** Operations that were begun before the agent was last restarted. */
  readonly resumedOperations: ReadonlySet<OperationId>;
  /** max_concurrent_builds */
  readonly buildSlots: Semaphore;
  /** max_concurrent_snapshots */
  readonly snapshotSlots: Semaphore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** A fresh context of the service itself. */
  readonly ownContext: (readDeleted?: 'no' | 'yes') => RequestContext;
}
