/**
 * What `npm run lab` does once everything is installed and built (test/lab/run.mjs does that): a server through the ordinary client, and what a person
 * wants to see of it. Every command that is shown can be typed again.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createControlPlane, createDaemons, daemonEnv, endpoints, layoutOf, type Report } from '../control-plane/index.js';
import { profiles, type Profile } from '../../lab/stand-ins/lib/profiles.js';
import { bringUpLab, defaultNode, nodeNames, profileOf, takeDownLab, type LabSession, type Phase } from './lab-session.js';
import { waitPing } from './node-network.js';

export interface Screen {
  readonly phase: Phase;
  readonly say: (text?: string) => void;
}

const serverName = 'hello';

/** Variables of an openrc file. */
function variablesOf(file: string): Record<string, string> {
  return Object.fromEntries([...readFileSync(file, 'utf8').matchAll(/^export (\w+)=(.*)$/gm)].map((match) => [match[1]!, match[2]!]));
}

/** Runs Debian's openstack client as `who`. */
function openstack(who: 'admin' | 'demo', ...args: string[]): Promise<string> {
  const layout = layoutOf();
  const env = { ...daemonEnv, ...variablesOf(who === 'admin' ? layout.openrc : layout.demoOpenrc) };
  return new Promise((resolve, reject) => {
    execFile('/usr/bin/openstack', args, { env, encoding: 'utf8', timeout: 120_000, maxBuffer: 8 << 20 }, (err, stdout, stderr) => {
      if (err === null) resolve(stdout.trimEnd());
      else reject(new Error(`openstack ${args.join(' ')} failed:\n${stderr.trimEnd() || err.message}`));
    });
  });
}

/** Brings the lab up, boots a server, shows it. */
export async function up(screen: Screen, options: { readonly profile?: string }): Promise<void> {
  const profile = options.profile === undefined ? undefined : asProfile(options.profile);
  const node = defaultNode();
  const have = profileOf(node);
  if (profile !== undefined && have !== null && have !== profile) {
    throw new Error(`${node} is a ${have} host. To make it ${profile}: npm run lab -- down && npm run lab -- up --profile ${profile}`);
  }
  const lab = await bringUpLab(screen.phase, profile === undefined ? {} : { profile });
  const { id, address } = await screen.phase(`server ${serverName}`, (note) => bootServer(lab, note));
  const roundTrip = await screen.phase(`ping ${address}`, () => waitPing(lab.node, address));
  await screen.phase('console', () => lab.cloud.servers.waitConsole(id, /guest: ready/));
  await show(screen, lab, id, roundTrip);
}

function asProfile(name: string): Profile {
  if (!(profiles as readonly string[]).includes(name)) throw new Error(`no profile ${name}; there are ${profiles.join(', ')}`);
  return name as Profile;
}

/** An ACTIVE server of that name from an earlier run is as good as a new one; any other is replaced. */
async function bootServer({ cloud }: LabSession, note: Report): Promise<{ id: string; address: string }> {
  const found = (await cloud.servers.list()).filter(({ name }) => name === serverName);
  let id = found.find(({ status }) => status === 'ACTIVE')?.id;
  if (id === undefined) {
    for (const old of found) {
      note(`removing the ${old.status} one of before`);
      await cloud.servers.remove(old.id);
      await cloud.servers.waitGone(old.id);
    }
    note('openstack server create --image lab-guest --flavor m1.nano --network lab-flat --config-drive true hello');
    id = await openstack('demo', 'server', 'create', '--image', 'lab-guest', '--flavor', 'm1.nano', '--network', 'lab-flat', '--config-drive', 'true',
      '-f', 'value', '-c', 'id', serverName);
    note('waiting for ACTIVE');
  } else {
    note('is there from an earlier run');
  }
  const server = await cloud.servers.waitStatus(id, 'ACTIVE');
  const address = Object.values(server.addresses).flat()[0]?.addr;
  if (address === undefined) throw new Error(`${serverName} has no address`);
  return { id, address };
}

async function show({ say, phase }: Screen, { cloud, node, agent, plane }: LabSession, id: string, roundTrip: string): Promise<void> {
  const { resource_providers: providers } = await cloud.admin.get<{ resource_providers: { uuid: string }[] }>(`${endpoints.placement}/resource_providers?name=${
    (await cloud.compute.hypervisors(node.name))[0]!.hypervisor_hostname}`);
  const provider = providers[0]!.uuid;
  const [server, log, inventory] = await phase('asking the openstack client', () => Promise.all([
    openstack('demo', 'server', 'show', '-c', 'name', '-c', 'id', '-c', 'status', '-c', 'addresses', '-c', 'flavor', '-c', 'image', id),
    openstack('demo', 'console', 'log', 'show', id),
    openstack('admin', 'resource', 'provider', 'inventory', 'list', provider, '-c', 'resource_class', '-c', 'total', '-c', 'reserved', '-c', 'used', '-c', 'allocation_ratio'),
  ]));
  say(`\n$ openstack server show ${serverName}\n${server}`);
  say(`\n$ openstack console log show ${serverName} | grep ^guest:\n${log.split('\n').filter((line) => line.startsWith('guest:')).slice(-20).join('\n')}`);
  say(`\n$ ip netns exec ${node.netns} ping -c 1 …\n${roundTrip}`);
  say(`\n$ openstack resource provider inventory list ${provider}\n${inventory}`);
  say(`
Try next:
  . ${plane.layout.demoOpenrc}           # or ${plane.layout.openrc} as admin
  openstack server reboot ${serverName} && openstack console log show ${serverName}
  openstack console url show --novnc ${serverName}      # open it in a browser on this machine
  openstack server stop ${serverName}; openstack server start ${serverName}; openstack server delete ${serverName}
  dist/bin/nova-bhyve.js instances --config-file ${agent.configFile}
  tail -f ${agent.logFile}
  npm run lab -- status
  npm run lab -- down                    # --wipe forgets the cloud's databases and images too`);
}

export async function down(screen: Screen, options: { readonly wipe?: boolean }): Promise<void> {
  await takeDownLab(screen.phase, options);
}

/** What runs; false if something does not. */
export function status({ say }: Screen): boolean {
  const plane = createControlPlane();
  const agents = createDaemons({ run: plane.layout.run, logs: plane.layout.logs, leaderOnly: true });
  const rows = [
    ...plane.status(),
    ...nodeNames().map((name) => ({ name: `agent of ${name} (${String(profileOf(name))})`, pid: agents.pid(`agent-${name}`) })),
  ];
  for (const { name, pid } of rows) say(`${name.padEnd(32)}${pid === null ? 'down' : `up, pid ${pid}`}`);
  say(`\nstate ${plane.layout.root}, logs ${plane.layout.logs}`);
  return rows.every(({ pid }) => pid !== null);
}
