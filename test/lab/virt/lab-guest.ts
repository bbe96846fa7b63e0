/** A lab node with the real host, driver and plugger on it, and disks and config drives for test guests; no cloud. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createHost, type Host } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { parseInstanceUuid, parsePortId, type InstanceUuid, type PortId } from '../../../src/lib/ids.js';
import { createPlugger, type L2Agent, type Plugger, type PortSegment, type Vif } from '../../../src/network/index.js';
import { createBhyveDriver, noLimits, type GuestDefinition, type GuestEvent, type HypervisorDriver, type VncOptions } from '../../../src/virt/index.js';
import { noMetrics, recordingLog, type RecordingLog } from '../../fakes/recording-log.js';
import { ensureGuestImage } from '../guest/build.js';
import { createLabNode, defaultRoot, type LabNode, type Profile } from '../node.js';

const run = promisify(execFile);

export interface LabHost {
  readonly node: LabNode;
  readonly host: Host;
  readonly plugger: Plugger;
  readonly log: RecordingLog;
  /** Segments that Neutron would tell; a port without one is unknown. */
  readonly segments: Map<PortId, Partial<PortSegment>>;
  /** What Neutron heard, `up PORT` and `down PORT`. */
  readonly told: string[];
  /** Another agent's driver on the same host, prepared and watching; with guarded screens if it is told how. */
  newDriver(guard?: VncOptions['guard']): Promise<{ driver: HypervisorDriver; events: GuestEvent[] }>;
  /** A guest with a disk of its own, a port on physnet1 at `address`, and a config drive with `userData`. */
  guest(address: string, userData?: string): Promise<LabGuest>;
  close(): Promise<void>;
}

export interface LabGuest {
  readonly instance: InstanceUuid;
  readonly vif: Vif;
  definition(tapName: string): GuestDefinition;
  /** Whether the guest answers from its address. */
  pings(): Promise<boolean>;
}

export async function createLabHost(name: string, profile: Profile): Promise<LabHost> {
  const image = await ensureGuestImage(defaultRoot());
  const options = { name, profile, poolGiB: 4 };
  let node = await createLabNode(options);
  if ((await node.leaks()).length > 0) {
    // An earlier run was cut off.
    await node.destroy();
    node = await createLabNode(options);
  }
  const log = recordingLog();
  const host = createHost({ deviceRoot: node.deviceRoot, path: node.env['PATH'] ?? '', clock: systemClock, log: log.log, metrics: noMetrics });
  const segments: LabHost['segments'] = new Map();
  const told: string[] = [];
  const l2: L2Agent = {
    run: async () => undefined,
    segmentOf: async (port) => {
      const found = segments.get(port);
      return found === undefined ? null : {
        port, networkId: 'lab', mac: '', isAdminUp: true, networkType: 'flat', physicalNetwork: 'physnet1', segmentationId: null, mtu: 1500, ...found,
      };
    },
    deviceUp: async (port) => void told.push(`up ${port}`),
    deviceDown: async (port) => void told.push(`down ${port}`),
  };
  const plugger = createPlugger({ host, l2, clock: systemClock, log: log.log, bridgeMappings: { physnet1: node.bridge }, interfaceMappings: { physnet1: node.uplink } });
  const drivers: HypervisorDriver[] = [];
  await host.run('zfs', ['create', '-o', 'volmode=dev', node.zfsRoot]).catch(() => undefined); // there from an earlier run
  return {
    node, host, plugger, log, segments, told,
    async newDriver(guard) {
      const events: GuestEvent[] = [];
      const driver = createBhyveDriver({
        host, statePath: node.statePath, firmwareDirs: [node.firmwareDir], bootMessagesPath: node.bootMessagesPath, clock: systemClock, log: log.log, metrics: noMetrics,
        vnc: { address: '127.0.0.1', portRange: { first: 5980, last: 5999 }, guard: guard ?? null }, startTimeoutMs: 60_000,
      });
      drivers.push(driver);
      driver.onEvent((event) => events.push(event));
      await driver.prepare();
      await driver.adopt();
      return { driver, events };
    },
    guest: (address, userData) => makeGuest(node, host, image.path, segments, address, userData),
    close: async () => {
      for (const driver of drivers) await driver.close();
    },
  };
}

async function makeGuest(node: LabNode, host: Host, image: string, segments: LabHost['segments'], address: string, userData: string | undefined): Promise<LabGuest> {
  const instance = parseInstanceUuid(randomUUID());
  const port = parsePortId(randomUUID());
  const mac = `fa:16:3e:${port.slice(0, 2)}:${port.slice(2, 4)}:${port.slice(4, 6)}`;
  segments.set(port, {});
  await host.run('zfs', ['create', '-s', '-V', '256M', `${node.zfsRoot}/${instance}`]);
  const disk = join(node.deviceRoot, 'zvol', node.zfsRoot, instance);
  await run('dd', [`if=${image}`, `of=${disk}`, 'bs=1M', 'conv=notrunc,sparse']);
  const folder = join(node.statePath, 'instances', instance);
  const iso = await makeConfigDrive(folder, instance, { port, mac, address }, userData);
  const vif: Vif = {
    id: port, address: mac, type: 'ovs', devname: `tap${port.slice(0, 11)}`, vnic_type: 'normal', active: false, details: {}, profile: {}, preserve_on_delete: false, delegate_create: true,
    ovs_interfaceid: port, qbh_params: null, qbg_params: null, meta: {}, network: { id: 'lab', bridge: 'br-int', label: 'lab', subnets: [], meta: { mtu: 1500 } },
  };
  return {
    instance, vif,
    definition: (tapName) => ({
      instance, name: 'instance-00000001', vcpus: 1, topology: { sockets: 1, cores: 1, threads: 1 }, memoryMiB: 256, disks: [{ role: 'root', path: disk, serial: instance, bus: 'virtio', kind: 'disk' }], configDrive: { path: iso },
      nics: [{ port, tapName, mac, mtu: 1500, model: 'virtio' }], hasVnc: true, hasTablet: true, hasRng: false, clock: 'utc', limits: noLimits,
    }),
    async pings() {
      try {
        await run('ip', ['netns', 'exec', node.netns, 'ping', '-c', '1', '-W', '1', address]);
        return true;
      } catch {
        return false;
      }
    },
  };
}

/** The least of Nova's config drive that the test guest reads. */
async function makeConfigDrive(folder: string, instance: string, port: { port: string; mac: string; address: string }, userData: string | undefined): Promise<string> {
  const tree = join(folder, 'config-tree');
  const latest = join(tree, 'openstack/latest');
  mkdirSync(latest, { recursive: true, mode: 0o700 });
  writeFileSync(join(latest, 'meta_data.json'), JSON.stringify({ uuid: instance, name: 'lab-guest', hostname: 'lab-guest' }));
  writeFileSync(join(latest, 'network_data.json'), JSON.stringify({
    links: [{ id: 'tap0', type: 'ovs', ethernet_mac_address: port.mac, mtu: 1500, vif_id: port.port }],
    networks: [{ id: 'network0', type: 'ipv4', link: 'tap0', ip_address: port.address, netmask: '255.255.240.0', network_id: 'lab', routes: [] }],
    services: [],
  }));
  if (userData !== undefined) writeFileSync(join(latest, 'user_data'), userData);
  const iso = join(folder, 'config.iso');
  await run('makefs', ['-t', 'cd9660', '-o', 'rockridge,label=config-2', iso, tree]);
  rmSync(tree, { recursive: true });
  return iso;
}
