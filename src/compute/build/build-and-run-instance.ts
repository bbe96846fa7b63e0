/**
 * Build (nova-contract 6.2). Told as an operator would: take the instance from the scheduler, claim it, let Neutron make the ports
 * while the disk is made, plug, wait for Neutron's word, start, say ACTIVE. A failure takes everything away again and then either asks
 * the scheduler for another host or tells the user why not.
 */
import { taskStates, vmStates, toNovaTime, type NovaObjectOf } from '../../objects/index.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { AgentError } from '../../lib/errors.js';
import { novaFaults } from '../../lib/nova-faults.js';
import { inSlot } from '../../lib/slots.js';
import { runSteps } from '../../journal/index.js';
import type { NetworkInfo } from '../../network/index.js';
import type { GlanceImage } from '../../openstack/index.js';
import { elevated } from '../../rpc/context.js';
import { forgetCheckpoint } from '../checkpoint-image.js';
import { isDeletedMeanwhile, isInstanceGone, isTaskStateConflict } from '../error-text.js';
import { refuseUnfit, showImage } from '../fetch-image.js';
import { createEvent } from '../notifications/events.js';
import { notified } from '../notifications/notifications.js';
import type { InstanceMethod, Operation } from '../operation.js';
import { saveState } from '../save-state.js';
import { wrapped } from '../wrappers.js';
import { giveUp } from './give-up.js';
import { setNetworkAllocated } from './network-flag.js';
import { createGroupPolicy, type GroupPolicy } from './group-policy.js';
import { classifyBuildFailure } from './outcome.js';
import { buildArguments, decodeFiles, securityGroupNames, textProperties, type BuildArguments } from './request.js';
import { requireAllocation } from './require-allocation.js';
import { spawnSteps } from './spawn-steps.js';
import { refuseUnsupported } from './supported.js';
import { localDisks, nameDisks, rootBus, rootDeviceName, rootMapping, type LocalDisk } from '../local-disks.js';
import { capabilitiesFor, imagePropertiesOf, machineShape, normalProperties, shapeFacts, type MachineShape } from '../shape/index.js';
import { powerStates } from '../../virt/index.js';

type Build = Operation<BuildArguments>;

/** The method; it holds the mutexes of the server groups. */
export function buildAndRunInstance(): InstanceMethod<BuildArguments> {
  const groupPolicy = createGroupPolicy();
  return {
    kind: 'instance',
    rpc: 'build_and_run_instance',
    args: buildArguments,
    // The event belongs to the inner part, as in Nova, whose users see `compute__do_build_and_run_instance`.
    wrappers: { revertsTask: true, event: null, recordsFault: true },
    gate: 'build',
    isJournalled: true,
    run: (operation) => inTurn(operation, () => build(operation, groupPolicy)),
  };
}

/** One of max_concurrent_builds. A deleted server does not wait for its turn: its build needs no slot to see that there is nothing to do. */
async function inTurn({ deps, signal }: Build, work: () => Promise<null>): Promise<null> {
  let hasBegun = false;
  try {
    return await inSlot(deps.buildSlots, signal, () => {
      hasBegun = true;
      return work();
    });
  } catch (error) {
    if (hasBegun || !isDeletedMeanwhile(error)) throw error;
    return work();
  }
}

async function build(operation: Build, groupPolicy: GroupPolicy): Promise<null> {
  const { args: { instance }, context, deps } = operation;
  const inner = { revertsTask: true, event: 'compute__do_build_and_run_instance', recordsFault: true };
  await wrapped(deps, inner, context, instance, async () => {
    if (!(await takeOver(operation))) return;
    try {
      const subject = { rpc: 'build_and_run_instance', context, args: operation.wireArgs };
      await notified(deps.notifications, subject, instance, [createEvent], () => attempt(operation, groupPolicy));
    } catch (error) {
      const failure = classifyBuildFailure(error);
      if (failure.kind === 'interrupted') throw error;
      await giveUp(operation, failure, error);
      return;
    }
    await deps.tracker.recordBuildSuccess();
  });
  return null;
}

/** False when somebody else has the instance now (deleted, or built twice): nothing was done then. */
async function takeOver({ args: { instance }, context, deps, log }: Build): Promise<boolean> {
  try {
    await saveState(deps, context, instance, { vmState: vmStates.building, taskState: null }, [taskStates.scheduling, null]);
    return true;
  } catch (error) {
    if (!isInstanceGone(error) && !isTaskStateConflict(error)) throw error;
    log.info({ err: error }, 'instance is no longer ours to build');
    return false;
  }
}

async function attempt(operation: Build, groupPolicy: GroupPolicy): Promise<void> {
  const { args, context, deps, signal } = operation;
  const { instance } = args;
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const admin = elevated(context);
  const injectedFiles = decodeFiles(args.injected_files);
  forgetCheckpoint(instance);
  instance.set('system_metadata', { ...instance.get('system_metadata'), boot_roles: context.roles.join(',') });
  const blockDevices = args.block_device_mapping?.get('objects') ?? (await deps.conductor.blockDevices.byInstance(admin, uuid));
  const properties = { ...normalProperties(textProperties(args.image?.properties)), ...imagePropertiesOf(instance) };
  const disks = localDisks(blockDevices, instance.get('flavor'), deps.options.defaultEphemeralFormat);
  const capabilities = capabilitiesFor(deps.driver.capabilities, await deps.storage.formOf(uuid));
  refuseUnsupported({ args, blockDevices, disks, properties, capabilities, hasScreens: deps.options.vnc !== null, formats: deps.storage.formats });
  await requireAllocation(operation);

  await deps.tracker.claim(admin, instance, { node: args.node ?? null, limits: args.limits });
  await groupPolicy.check(deps, context, instance, args.request_spec?.maybe('scheduler_hints')?.['group']?.[0] ?? null);

  await saveState(deps, context, instance, { taskState: taskStates.networking }, [null]);
  const vifs = allocateNetworks(operation);
  try {
    await nameDevices(operation, blockDevices, disks, machineShape(shapeFacts(instance, capabilities)));
    await saveState(deps, context, instance, { taskState: taskStates.blockDeviceMapping });
    await saveState(deps, context, instance, { taskState: taskStates.spawning }, taskStates.blockDeviceMapping);
    const image = await imageOf(operation);
    refuseUnfit(instance.get('flavor'), image);
    const hasTaggedPorts = (args.requested_networks?.get('objects') ?? []).some((request) => (request.maybe('tag') ?? null) !== null);
    await runSteps(deps.journal, operation.id, spawnSteps(operation, {
      image, injectedFiles, adminPassword: args.admin_password ?? null, blockDevices, disks, hasTaggedPorts, vifs: () => vifs,
    }), signal);
  } finally {
    await vifs.catch(() => undefined); // the clean-up must see every port that was made
  }
  await reportActive(operation, await vifs);
}

/** Ports are made in the background, from here on; on a reschedule the existing ones are bound to this host. */
function allocateNetworks({ args, context, deps, signal }: Build): Promise<NetworkInfo> {
  const { instance, requested_networks: requestedNetworks } = args;
  const isRescheduled = instance.get('system_metadata')['network_allocated'] === 'True';
  const work = async (): Promise<NetworkInfo> => {
    const vifs = isRescheduled
      ? await deps.ports.rebind(context, instance, deps.options.host)
      : await deps.ports.allocate(context, { instance, requestedNetworks, securityGroups: securityGroupNames(args.security_groups), host: deps.options.host }, signal);
    // Only now: a next host that read this flag would take over ports instead of making them.
    setNetworkAllocated(instance, true);
    return vifs;
  };
  const vifs = work();
  vifs.catch(() => undefined); // whoever awaits it sees the failure
  return vifs;
}

async function nameDevices(
  { args: { instance }, context, deps }: Build, blockDevices: readonly NovaObjectOf<'BlockDeviceMapping'>[], disks: readonly LocalDisk[], shape: MachineShape,
): Promise<void> {
  if (instance.get('root_device_name') === null) instance.set('root_device_name', rootDeviceName(rootBus(blockDevices) ?? shape.diskBus, shape.rootKind));
  for (const mapping of nameDisks(instance.get('root_device_name') ?? '', rootMapping(blockDevices), disks, shape.diskBus)) {
    await deps.conductor.blockDevices.save(context, mapping);
  }
}

async function imageOf({ args: { instance }, context, deps }: Build): Promise<GlanceImage> {
  const reference = instance.get('image_ref');
  if (reference === null || reference === '') {
    throw new AgentError('unsupported-request', 'the server has no image', { wire: novaFaults.buildAbort(instance.get('uuid'), 'servers without an image are not supported by this host yet') });
  }
  return showImage(deps, context, reference);
}

async function reportActive({ args: { instance }, context, deps }: Build, vifs: NetworkInfo): Promise<void> {
  const { network_allocated: _dropped, ...metadata } = instance.get('system_metadata');
  instance.set('system_metadata', metadata);
  instance.set('launched_at', toNovaTime(deps.clock.now()));
  setAccessIps(deps.options.defaultAccessIpNetwork, instance, vifs);
  // The start has just seen it run. Should it have ended since, that is an event, whose power sync waits for the end of this build.
  await saveState(deps, context, instance, { vmState: vmStates.active, taskState: null, powerState: powerStates.running }, taskStates.spawning);
  if (deps.options.trackInstanceChanges) await deps.conductor.scheduler.updateInstances(context, deps.options.host, [instance]);
}

function setAccessIps(label: string | null, instance: Build['args']['instance'], vifs: NetworkInfo): void {
  if (label === null || instance.get('access_ip_v4') !== null || instance.get('access_ip_v6') !== null) return;
  for (const subnet of vifs.filter((vif) => vif.network.label === label).flatMap((vif) => vif.network.subnets)) {
    const address = subnet.ips[0]?.address;
    if (address !== undefined) instance.set(subnet.version === 4 ? 'access_ip_v4' : 'access_ip_v6', address);
  }
}
