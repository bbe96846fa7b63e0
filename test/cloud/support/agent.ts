/** The agent of a lab node as a process: written configuration, start, orderly stop, kill -9, waiting until the cloud counts it as up. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { address, createDaemons, layoutOf, login, novaShared, renderIni, secretsOf, tailOf, transportUrl, until, writeIfChanged, type Ini } from '../control-plane/index.js';
import type { LabNode } from '../../lab/node.js';
import type { Cloud } from './cloud.js';

export interface AgentProcess {
  readonly node: LabNode;
  readonly configFile: string;
  readonly logFile: string;
  /** Where it answers /healthz, /readyz and /metrics. */
  readonly http: string;
  /** True if it runs with an older build or an older configuration than there is now. */
  readonly isStale: boolean;
  /** Its pid if it runs and is the one we started, else null. */
  pid(): number | null;
  /** Starts it unless it runs; does not wait. True if it was started now. */
  start(): boolean;
  /** SIGTERM, and SIGKILL when it does not end in `graceMs`; guests are not its children and live on. */
  stop(graceMs?: number): Promise<'was-down' | 'stopped' | 'killed'>;
  /** SIGKILL, at once. */
  kill(): Promise<void>;
  /** Until Nova calls the service up and knows its hypervisor, Neutron hears the L2 agent, and the agent calls itself ready. Gives the seconds it took. */
  waitUp(cloud: Cloud, limitMs?: number): Promise<number>;
  restart(cloud: Cloud): Promise<void>;
  log(lines?: number): string;
  metrics(): Promise<string>;
  /** Resident memory in KiB. */
  residentKiB(): Promise<number>;
}

/** Loopback ports by the number at the end of the node's name, so that node1 and node2 do not meet. */
const numberOf = (name: string): number => Number(/(\d+)$/.exec(name)?.[1] ?? 1);

/** What of a node is in its agent's configuration. */
export type ConfiguredNode = Pick<LabNode, 'name' | 'path' | 'statePath' | 'deviceRoot' | 'bootMessagesPath' | 'firmwareDir' | 'zfsRoot' | 'bridge' | 'uplink'>;

/** What a compute host's nova.conf says in this cloud, and the few options that make a lab node of it. */
export function agentConfiguration(node: ConfiguredNode, more: Ini = {}): Ini {
  const layout = layoutOf();
  const secrets = secretsOf(layout);
  const { placement, neutron, glance, service_user, vnc, serial_console: serial } = novaShared(layout, secrets);
  const number = numberOf(node.name);
  const base: Ini = {
    DEFAULT: {
      host: node.name, my_ip: address, state_path: node.statePath, transport_url: transportUrl(secrets), periodic_fuzzy_delay: 0,
      reserved_host_memory_mb: 512, debug: true,
    },
    agent: { device_root: node.deviceRoot, boot_messages: node.bootMessagesPath, path: `${join(node.path, 'bin')},/usr/sbin,/usr/bin,/sbin,/bin`, http_bind: address, http_port: 9796 + number },
    bhyve: { firmware_dirs: node.firmwareDir, vnc_port_min: 5900 + (number - 1) * 40, vnc_port_max: 5939 + (number - 1) * 40 },
    zfs: { root: node.zfsRoot },
    l2_agent: { enabled: true, bridge_mappings: `physnet1:${node.bridge}`, interface_mappings: `physnet1:${node.uplink}`, report_interval: 10 },
    placement: placement!, neutron: neutron!, glance: glance!, service_user: service_user!,
    cinder: login(secrets, 'nova'),
    vnc: { enabled: true, server_listen: vnc!['server_listen']!, server_proxyclient_address: address, novncproxy_base_url: vnc!['novncproxy_base_url']! },
    serial_console: { enabled: true, base_url: serial!['base_url']!, proxyclient_address: address, port_range: `${10_000 + number * 100}:${10_099 + number * 100}` },
  };
  return Object.fromEntries([...new Set([...Object.keys(base), ...Object.keys(more)])].map((section) => [section, { ...base[section], ...more[section] }]));
}

const built = resolve(import.meta.dirname, import.meta.filename.endsWith('.ts') ? '../../../dist' : '../../..');

/** The built agent, as it is installed. */
export const agentProgram = join(built, 'bin/nova-bhyve.js');

/** The agent of `node`, with its configuration written (but not started). `more` overrides options. */
export function agentProcess(node: LabNode, more: Ini = {}): AgentProcess {
  const layout = layoutOf();
  const daemons = createDaemons({ run: layout.run, logs: layout.logs, leaderOnly: true });
  const name = `agent-${node.name}`;
  const configFile = join(node.path, 'etc/nova-bhyve.conf');
  const logFile = join(node.path, 'log/agent.log');
  const http = `http://${address}:${9796 + numberOf(node.name)}`;
  if (!existsSync(agentProgram)) throw new Error(`${agentProgram} is missing: npm run build`);
  // The host counts what its processes use, so that flavors may have quotas.
  const isOtherHost = writeIfChanged(join(node.path, 'etc/loader.conf'), 'kern.racct.enable="1"\n');
  const isOtherConfiguration = writeIfChanged(configFile, renderIni(agentConfiguration(node, more))) || isOtherHost;
  const startedMs = daemons.pid(name) === null ? Infinity : statSync(join(layout.run, `${name}.pid`)).mtimeMs;
  const trouble = (what: string): string => `the agent of ${node.name} ${what}; end of ${logFile}:\n${tailOf(logFile, 30)}`;

  const agent: AgentProcess = {
    node, configFile, logFile, http, isStale: daemons.pid(name) !== null && (isOtherConfiguration || newestMs(join(built, 'src')) > startedMs),
    pid: () => daemons.pid(name),
    start: () => daemons.start({ name, argv: [process.execPath, agentProgram, 'run', '--config-file', configFile], env: stringsOf(node.env), log: logFile, cwd: node.path }),
    stop: (graceMs = 30_000) => daemons.stop(name, graceMs),
    kill: () => daemons.kill(name),
    async waitUp(cloud, limitMs = 180_000) {
      const began = performance.now();
      let missing = '';
      await until(limitMs, () => trouble(`is not up after ${limitMs / 1000} s: ${missing}`), async () => {
        if (daemons.pid(name) === null) throw new Error(trouble('ended'));
        missing = await whatIsMissing(cloud, node.name, http);
        return missing === '';
      }, 250);
      return (performance.now() - began) / 1000;
    },
    async restart(cloud) {
      await agent.stop();
      agent.start();
      await agent.waitUp(cloud);
    },
    log: (lines = 200) => tailOf(logFile, lines),
    metrics: async () => (await fetch(`${http}/metrics`, { signal: AbortSignal.timeout(5_000) })).text(),
    async residentKiB() {
      const { readFile } = await import('node:fs/promises');
      return Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${String(daemons.pid(name))}/status`, 'utf8'))?.[1] ?? NaN);
    },
  };
  return agent;
}

/** When the youngest file of a folder was written; tsc leaves alone what has not changed, the bundler does not. */
const newestMs = (folder: string): number =>
  Math.max(...readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.js')).map((file) => statSync(join(folder, file)).mtimeMs));

const stringsOf = (env: NodeJS.ProcessEnv): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined));

/** The first thing that is not as it must be for servers to be scheduled here; '' when nothing is missing. */
async function whatIsMissing(cloud: Cloud, host: string, http: string): Promise<string> {
  const ready = await fetch(`${http}/readyz`, { signal: AbortSignal.timeout(5_000) }).then(async (answer) => ({ ok: answer.ok, text: await answer.text() }), () => null);
  if (ready === null) return `${http}/readyz does not answer`;
  if (!ready.ok) return `not ready: ${ready.text.slice(0, 500)}`;
  const [service] = await cloud.compute.services(host);
  if (service?.state !== 'up') return `Nova's service record is ${service?.state ?? 'absent'}`;
  const [hypervisor] = await cloud.compute.hypervisors(host);
  if (hypervisor === undefined) return 'the scheduler has not mapped the host into the cell yet';
  if (await cloud.placement.provider(hypervisor.hypervisor_hostname) === null) return 'Placement has no provider of its name';
  if (!(await cloud.network.agents(host)).some(({ alive }) => alive)) return 'Neutron does not hear its L2 agent';
  return '';
}
