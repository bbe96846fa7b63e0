/**
 * The life of the service: from an empty process to serving, and back. The order of the start is nova-contract section 2: other services
 * judge this host by what exists at each moment.
 *
 *   node prepared ∥ bus reached ─▶ release ─▶ identity ─▶ L2 agent ─▶ cloud joined ─▶ control socket ─▶ queues consumed ─▶ heartbeat, duties
 */
import { dirname } from 'node:path';
import { Semaphore } from 'async-mutex';
import {
  computeEndpoint, createResourceTracker, establishIdentity, joinCloud, planJournal, readProviderAdditions, type ComputeDeps, type ProviderAdditions,
} from './compute/index.js';
import type { Config } from './config/index.js';
import { requestsOf, serveControl, type ControlServer } from './control/index.js';
import { claimFolder } from './host/index.js';
import { createEventWaiters, createGate, shuttingDown } from './instances/index.js';
import { openJournal, type Journal } from './journal/index.js';
import { AgentError } from './lib/errors.js';
import { systemClock, withTimeout } from './lib/clock.js';
import { createL2Agent, createPlugger, createPorts, type L2AgentService, type Plugger } from './network/index.js';
import type { Logger, Metrics } from './observe/index.js';
import { adminContext } from './rpc/context.js';
import type { Notifier, RpcServer } from './rpc/index.js';
import { createConfigDriveWriter } from './storage/index.js';
import { computeOptionsOf, resourceOptionsOf } from './options.js';
import { readVendorData } from './vendor-data.js';
import { makeNotifications, openNotifiers } from './notification-parts.js';
import { refuseFormatWithoutReader } from './disk-format.js';
import { lookAtScreenTls } from './screen-files.js';
import { makeCloud, makeNode, type CloudParts, type NodeParts } from './parts.js';
import { dutiesOf } from './duties.js';
import { runHeartbeat, startDuties } from './periodic/index.js';

const clock = systemClock;

export interface AgentRun {
  /** For /readyz. */
  readonly rpcHealth: () => ReturnType<CloudParts['rpc']['health']>;
  /** Ends the service in good order; resolves when everything is closed. */
  stop(): Promise<void>;
}

export interface RunOptions {
  readonly config: Config;
  /** Files that were read: their folders are looked through for compute_id. */
  readonly configFiles: readonly string[];
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Fires when the start should be given up. */
  readonly signal: AbortSignal;
}

/** Resolves when the agent serves. Rejects when it must not start (lost identity, unusable host …): the error says what to do. */
export async function startAgent(options: RunOptions): Promise<AgentRun> {
  const { config, log, metrics } = options;
  const stopping = new AbortController();
  const node = makeNode(config, log, metrics);
  await node.host.files.makeDirectory(config.DEFAULT.state_path, 0o700);
  const claim = await claimFolder(config.DEFAULT.state_path);
  const cloud = makeCloud(config, log, metrics, stopping.signal);
  const notifiers = openNotifiers(config, log, metrics);
  const bothSignals = AbortSignal.any([options.signal, stopping.signal]);
  const startedMs = clock.monotonicMs();
  try {
    const screenTls = await lookAtScreenTls(config, node.host.files, clock);
    if (screenTls?.isExpired === true) log.error({ validTo: screenTls.validTo }, 'the certificate of [vnc] tls_cert_file has expired');
    void cloud.logInEarly(); // nobody waits for it here: without Keystone the node can still be prepared
    const [capabilities] = await Promise.all([
      node.driver.prepare(),
      node.storage.prepare(),
      cloud.conductor.waitUntilAlive(bothSignals),
    ]);
    refuseFormatWithoutReader(config, capabilities);
    log.info({ release: capabilities.release, architecture: capabilities.architecture }, 'host is usable');
    const run = await serve(options, node, { ...cloud, notifiers }, stopping);
    log.info({ ms: Math.round(clock.monotonicMs() - startedMs) }, 'serving');
    return { ...run, stop: () => run.stop().finally(() => claim.release()) };
  } catch (error) {
    stopping.abort(shuttingDown());
    await Promise.all(notifiers.map((notifier) => notifier.close(0)));
    await cloud.close();
    await node.driver.close();
    await claim.release();
    throw error;
  }
}

async function serve(options: RunOptions, node: NodeParts, { notifiers, ...cloud }: CloudParts & { readonly notifiers: readonly Notifier[] }, stopping: AbortController): Promise<AgentRun> {
  const { config, log, metrics } = options;
  const { conductor, rpc } = cloud;
  const { DEFAULT: main } = config;

  const profile = await conductor.negotiate();
  await refuseTooOldCloud(conductor);
  const service = await conductor.services.byHostAndBinary(ownContext(), main.host, 'nova-compute');
  const uuid = await establishIdentity({
    files: node.host.files, conductor, log, statePath: main.state_path, configPaths: [...new Set(options.configFiles.map((file) => dirname(file)))], host: main.host, node: main.host,
  }, ownContext(), service, (await node.driver.list()).length);

  const journal = await openJournal(`${main.state_path}/journal`, { clock, log: log.child({ part: 'journal' }), metrics });
  const plan = planJournal(journal.unfinished());
  const { l2, plugger } = makeWiring(options, node, cloud);
  const vendorData = await readVendorData(config.api, node.host.files);
  const additions = await readProviderAdditions({
    files: node.host.files, log: log.child({ part: 'resources' }), folder: config.compute.provider_config_location, uuid, name: main.host,
  });
  const deps = makeCompute(options, { node, cloud, notifiers, plugger, journal, uuid, additions, vendorData, resumedOperations: plan.resumed });

  const background: Promise<void>[] = [];
  if (l2 !== null) background.push(l2.run(stopping.signal));
  const row = await joinCloud(deps, service, plan);
  const control = await serveControl({ statePath: main.state_path, requests: requestsOf(deps), clock, log: log.child({ part: 'control' }), metrics });
  const server = rpc.server([computeEndpoint(deps)]);
  await server.start();
  log.info({ profile: profile.name, provider: uuid }, 'queues consumed');
  for (const { message } of plan.again) {
    server.dispatch(message).catch((err: unknown) => log.warn({ err }, 'interrupted operation failed after the restart'));
  }
  background.push(runHeartbeat({
    conductor, clock, log, ownContext, intervalMs: main.report_interval * 1000,
  }, row, stopping.signal));
  const stopDuties = main.periodic_enable
    ? startDuties(dutiesOf(deps, config, row), { clock, log, metrics, random: Math.random, fuzzySeconds: main.periodic_fuzzy_delay })
    : async (): Promise<void> => undefined;

  return {
    rpcHealth: () => rpc.health(),
    async stop() {
      await drain(server, control, deps, main.graceful_shutdown_timeout * 1000);
      await control.close();
      await stopDuties();
      stopping.abort(shuttingDown());
      await Promise.all(background);
      await Promise.all(notifiers.map((notifier) => notifier.close()));
      await cloud.close();
      await node.driver.close();
      await journal.close();
    },
  };
}

const ownContext: ComputeDeps['ownContext'] = (readDeleted = 'no') => adminContext({ readDeleted, timestamp: clock.now() });

interface Made {
  readonly node: NodeParts;
  readonly cloud: CloudParts;
  readonly notifiers: readonly Notifier[];
  readonly plugger: Plugger;
  readonly journal: Journal;
  /** Of the ComputeNode and the provider. */
  readonly uuid: string;
  readonly additions: ProviderAdditions;
  readonly vendorData: Readonly<Record<string, unknown>> | null;
  readonly resumedOperations: ComputeDeps['resumedOperations'];
}

/** What the RPC methods and the duties work with. */
function makeCompute({ config, log, metrics }: RunOptions, { node, cloud, notifiers, plugger, journal, uuid, additions, vendorData, resumedOperations }: Made): ComputeDeps {
  const { conductor } = cloud;
  const { DEFAULT: main } = config;
  const { driver, host, storage } = node;
  return {
    options: computeOptionsOf(config, main.host), conductor, clock, log, metrics, journal, ownContext, plugger, storage, driver, resumedOperations,
    placement: cloud.placement, glance: cloud.glance,
    ports: createPorts({ neutron: cloud.neutron, conductor, clock, log: log.child({ part: 'ports' }) }),
    tracker: createResourceTracker({
      conductor, placement: cloud.placement, driver, storage, clock, log: log.child({ part: 'resources' }), uuid, additions, options: resourceOptionsOf(config, main.host),
    }),
    configDrive: createConfigDriveWriter({ host, folderOf: (instance) => driver.folder(instance), forceConfigDrive: main.force_config_drive, dhcpDomain: config.api.dhcp_domain, vendorData, dynamicVendorData: cloud.vendorData }),
    gate: createGate({ log, metrics }), waiters: createEventWaiters(), notifications: makeNotifications(config, { ...cloud, notifiers }, log.child({ part: 'notifications' })),
    buildSlots: slotsOf(main.max_concurrent_builds), snapshotSlots: slotsOf(main.max_concurrent_snapshots),
  };
}

/** 0 = no limit. */
const slotsOf = (limit: number): Semaphore => new Semaphore(limit === 0 ? Number.MAX_SAFE_INTEGER : limit);

/** Taps and who speaks to Neutron about them; each needs the other. */
function makeWiring({ config, log, metrics }: RunOptions, node: NodeParts, cloud: CloudParts): { l2: L2AgentService | null; plugger: Plugger } {
  const { enabled, bridge_mappings: bridgeMappings, interface_mappings: interfaceMappings, report_interval: seconds } = config.l2_agent;
  const l2: L2AgentService | null = enabled
    ? createL2Agent({
      client: cloud.rpc.client, host: config.DEFAULT.host, bridgeMappings, interfaceMappings, reportIntervalMs: seconds * 1000, clock, log, metrics,
      listDevices: async () => (await plugger.listOwned()).map((tap) => tap.port),
    })
    : null;
  const plugger: Plugger = createPlugger({ host: node.host, l2, clock, log: log.child({ part: 'plugger' }), bridgeMappings, interfaceMappings });
  return { l2, plugger };
}

/** New work stays with the broker; what goes on may end, and events that it waits for still come in. */
async function drain(server: RpcServer, control: ControlServer, deps: ComputeDeps, graceMs: number): Promise<void> {
  control.refuse();
  await server.stop(['compute']);
  deps.gate.close();
  try {
    await withTimeout(deps.clock, graceMs, 'work under way', (signal) => Promise.all([server.drained(signal), control.drained(signal)]));
  } catch (err) {
    deps.log.warn({ err, inFlight: server.inFlight }, 'work under way did not end in time; the journal goes on with it after the restart');
  }
  deps.waiters.close();
  await server.stop();
}

/** Nova's oldest computes that a new one may stand beside; 0 = none yet. */
const oldestService = 61;

async function refuseTooOldCloud(conductor: CloudParts['conductor']): Promise<void> {
  const minimum = await conductor.services.minimumVersion(ownContext(), 'nova-compute');
  if (minimum !== 0 && minimum < oldestService) {
    throw new AgentError('release-unsupported', `a compute service of version ${minimum} is in this cloud; this agent works beside Yoga (61) and newer. Delete stale services with "openstack compute service delete"`);
  }
}
