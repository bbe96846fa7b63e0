/** One agent on a null node in a stand-in cloud, and a crowd of guests on it, made by the messages that Nova sends. */
import { randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseInstanceUuid } from '../../src/lib/ids.js';
import { renderIni, tailOf, writeIfChanged, type Ini } from '../cloud/control-plane/index.js';
import { agentProgram } from '../cloud/support/agent.js';
import type { CleanUp } from './clean-up.js';
import { agentEnv, benchDaemons } from './contenders.js';
import { createNullNode, type NullNode } from './null-node.js';
import { openPrivateBroker } from './private-broker.js';
import { openRawClient, type RawClient } from './raw-client.js';
import type { Scene } from './scene.js';
import { startStandInCloud, type StandInCloud } from './stand-in-cloud.js';
import { untilInterrupted } from './until-interrupted.js';
import { newInstance } from '../sim/world.js';

type Row = Record<string, unknown>;

export interface Crowd {
  readonly node: NullNode;
  readonly cloud: StandInCloud;
  readonly pid: () => number;
  /** Until this many guests run. */
  grow(count: number): Promise<void>;
  /** A power operation of every guest, as nova-api asks for it, until all are through. */
  operate(method: 'stop_instance' | 'start_instance'): Promise<void>;
  ask(method: string, uuid: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>;
  readonly uuids: () => readonly string[];
  /** Stops the agent and starts it; the milliseconds that it says it took to serve. */
  restart(): Promise<number>;
  /** The mean of a duty's runs from now on, in milliseconds, over `runs` runs. */
  duty(name: string, runs: number): Promise<number>;
  /** From the end of one run of a duty to the end of the run that is `runs` later, whatever `look` says at both ends: windows that hold the same work. */
  between<T>(name: string, runs: number, look: () => T): Promise<readonly [T, T]>;
}

/** Of every duty here. */
export const dutySeconds = 5;

const name = 'bench-crowd';
const httpPort = 9891;
const atOnce = 10;

/** What `--network none` becomes. */
const object = (type: string, version: string, data: unknown): unknown => ({ 'nova_object.name': type, 'nova_object.namespace': 'nova', 'nova_object.version': version, 'nova_object.data': data });
const noNetwork = object('NetworkRequestList', '1.1', { objects: [object('NetworkRequest', '1.3', { network_id: 'none', port_id: null, device_profile: null })] });

function configurationOf(node: NullNode, cloud: StandInCloud, brokerUrl: string): Ini {
  const login = { auth_type: 'password', auth_url: cloud.keystone, username: 'u', password: cloud.password, project_name: 'service', user_domain_name: 'Default',
    project_domain_name: 'Default', region_name: 'RegionOne', valid_interfaces: 'internal' };
  return {
    DEFAULT: {
      host: node.name, my_ip: '127.0.0.1', state_path: node.statePath, transport_url: brokerUrl, control_exchange: cloud.exchange, periodic_fuzzy_delay: 0,
      update_resources_interval: dutySeconds, sync_power_state_interval: dutySeconds, heal_instance_info_cache_interval: -1, max_concurrent_builds: atOnce,
    },
    agent: { device_root: node.deviceRoot, boot_messages: node.bootMessagesPath, path: `${join(node.path, 'bin')},/usr/sbin,/usr/bin,/sbin,/bin`, http_bind: '127.0.0.1', http_port: httpPort },
    bhyve: { firmware_dirs: node.firmwareDir, vnc_port_min: 22_000, vnc_port_max: 22_999 },
    zfs: { root: node.zfsRoot },
    l2_agent: { enabled: false },
    placement: login, neutron: login, glance: login,
    vnc: { enabled: true, server_listen: '127.0.0.1', server_proxyclient_address: '127.0.0.1', novncproxy_base_url: 'http://127.0.0.1:6080/vnc_auto.html' },
  };
}

/** It goes away with `cleanUp`, agent first. */
export async function openCrowd({ plane, signal }: Pick<Scene, 'plane' | 'signal'>, cleanUp: CleanUp): Promise<Crowd> {
  const { layout } = plane;
  const brokerUrl = await openPrivateBroker(layout, cleanUp);
  const cloud = await startStandInCloud(brokerUrl);
  cleanUp.add(() => cloud.close());
  const daemons = benchDaemons(layout);
  await daemons.stop(name, 5_000); // before its folder is made anew
  const node = createNullNode(name, join(layout.root, 'bench'));
  cleanUp.add(() => node.destroy());
  const configFile = join(node.path, 'etc/nova-bhyve.conf');
  writeIfChanged(configFile, renderIni(configurationOf(node, cloud, brokerUrl)));
  const client = await openRawClient(brokerUrl, signal);
  cleanUp.add(() => client.close());
  const log = join(layout.logs, `${name}.log`);
  const pid = (): number => {
    const found = daemons.pid(name);
    if (found === null) throw new Error(`the agent of the crowd has ended:\n${tailOf(log, 30)}`);
    return found;
  };
  cleanUp.add(() => daemons.stop(name, 10_000));
  const crowd: Crowd = {
    ...crowdOf({ cloud, node, client, pid, log, signal }),
    async restart() {
      await daemons.stop(name, 30_000);
      signal.throwIfAborted();
      const from = statSync(log, { throwIfNoEntry: false })?.size ?? 0;
      daemons.start({ name, argv: [agentProgram, 'run', '--config-file', configFile], env: agentEnv(node), cwd: node.path, log });
      pid();
      return servingMs(log, from, signal);
    },
  };
  await crowd.restart();
  return crowd;
}

/** What the agent's own log says of its start, from octet `from` of it on: from the first line of the code to the queues being served. */
async function servingMs(log: string, from: number, signal: AbortSignal): Promise<number> {
  return untilInterrupted(signal, 120_000, () => `the agent does not serve:\n${tailOf(log, 20)}`, () =>
    Number(/"ms":(\d+),"msg":"serving"/.exec(tailOf(log, Infinity, from))?.[1] ?? NaN) || null, 50);
}

interface Parts { readonly cloud: StandInCloud; readonly node: NullNode; readonly client: RawClient; readonly pid: () => number; readonly log: string; readonly signal: AbortSignal }

function crowdOf({ cloud, node, client, pid, log, signal }: Parts): Omit<Crowd, 'restart'> {
  const { conductor, placement } = cloud;
  const rows = (): Row[] => conductor.instances.filter((row) => row['deleted'] !== true);
  const target = { exchange: cloud.exchange, routingKey: `compute.${name}`, version: '6.0',
    context: { _context_project_id: 'project-1', _context_user_id: 'user-1', _context_roles: ['member'], _context_auth_token: 'token' } };
  const wireOf = (row: Row): unknown => object('Instance', conductor.versions['Instance']!, row);
  const waitFor = (what: string, isThere: (row: Row) => boolean): Promise<unknown> => untilInterrupted(signal, 600_000, () => `not every guest is ${what}:\n${tailOf(log, 10)}`, () => {
    pid();
    const failed = rows().find((row) => row['vm_state'] === 'error');
    if (failed !== undefined) throw new Error(`${String(failed['uuid'])} is in error:\n${tailOf(log, 20)}`);
    return rows().every(isThere);
  }, 20);

  function build(): void {
    const uuid = randomUUID();
    const data = (newInstance(parseInstanceUuid(uuid), { image_ref: cloud.image }).toWire() as unknown as { 'nova_object.data': Row })['nova_object.data'];
    const row = conductor.addInstance({ ...data, id: rows().length + 1, uuid });
    conductor.infoCaches.push({ instance_uuid: uuid, network_info: '[]' });
    const provider = [...placement.providers.keys()][0]!;
    placement.allocate(uuid, { [provider]: { resources: { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 } } });
    client.cast({ ...target, method: 'build_and_run_instance', args: {
      instance: wireOf(row), image: { id: cloud.image, properties: {} }, request_spec: null, filter_properties: {}, admin_password: 'x', injected_files: [], requested_networks: noNetwork,
      security_groups: [], block_device_mapping: null, node: name, limits: {}, host_list: [], accel_uuids: [],
    } });
  }

  return {
    node, cloud, pid, uuids: () => rows().map((row) => String(row['uuid'])),
    async grow(count) {
      for (let missing = count - rows().length; missing > 0; missing -= 1) build();
      await waitFor('active', (row) => row['vm_state'] === 'active' && row['task_state'] === null);
    },
    async operate(method) {
      const [task, state] = method === 'stop_instance' ? ['powering-off', 'stopped'] : ['powering-on', 'active'];
      for (const row of rows()) {
        row['task_state'] = task;
        client.cast({ ...target, method, args: method === 'stop_instance' ? { instance: wireOf(row), clean_shutdown: true } : { instance: wireOf(row) } });
      }
      await waitFor(state, (row) => row['vm_state'] === state && row['task_state'] === null);
    },
    ask: (method, uuid, args = {}) => client.call({ ...target, method, args: { instance: wireOf(rows().find((row) => row['uuid'] === uuid)!), ...args } }),
    async duty(duty, runs) {
      const before = await dutyRuns(duty);
      const after = await nextRuns(duty, runs, before, signal);
      return (1000 * (after.sum - before.sum)) / (after.count - before.count);
    },
    async between(duty, runs, look) {
      await nextRuns(duty, 1, await dutyRuns(duty), signal);
      const [before, begin] = [look(), await dutyRuns(duty)];
      await pause((runs - 1) * dutySeconds * 1000, undefined, { signal }); // asking for metrics is work as well
      await nextRuns(duty, runs, begin, signal);
      return [before, look()];
    },
  };
}

interface DutyRuns { readonly sum: number; readonly count: number }

/** What the agent's metrics say of a duty's runs: seconds and number since its start. */
async function dutyRuns(duty: string): Promise<DutyRuns> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`, { signal: AbortSignal.timeout(60_000) })).text();
  const value = (suffix: string): number => Number(new RegExp(`^agent_duty_seconds_${suffix}\\{[^}]*duty="${duty}"[^}]*outcome="succeeded"[^}]*\\} (\\S+)`, 'm').exec(text)?.[1] ?? 0);
  return { sum: value('sum'), count: value('count') };
}

const nextRuns = (duty: string, runs: number, { count }: DutyRuns, signal: AbortSignal): Promise<DutyRuns> =>
  untilInterrupted(signal, 180_000, () => `the duty ${duty} did not run ${runs} times`, async () => {
    const now = await dutyRuns(duty);
    return now.count >= count + runs ? now : null;
  }, 200);
