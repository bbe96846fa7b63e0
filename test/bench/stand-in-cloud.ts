/**
 * The rest of a cloud for one agent, in this process: a conductor on a real broker (in a virtual host of its own), Keystone, Placement and Glance over HTTP.
 * They answer from memory, so that hundreds of guests and thousands of operations are limited by the agent and not by the control plane.
 */
import { randomUUID } from 'node:crypto';
import { parseImageId } from '../../src/lib/ids.js';
import { systemClock } from '../../src/lib/clock.js';
import { createRpc, type RpcMethod } from '../../src/rpc/index.js';
import { FakeConductorRpc } from '../fakes/conductor-rpc.js';
import { startFakeCloud, type FakeHandler } from '../fakes/openstack-http.js';
import { FakePlacement } from '../fakes/placement.js';
import { noMetrics, recordingLog } from '../fakes/recording-log.js';
import { placementOver } from './placement-http.js';

export interface StandInCloud {
  readonly exchange: string;
  readonly keystone: string;
  readonly password: string;
  readonly image: string;
  readonly conductor: FakeConductorRpc;
  readonly placement: FakePlacement;
  close(): Promise<void>;
}

const exchange = 'bench';
const imageBytes = 1 << 20;

/** `brokerUrl` as in transport_url. */
export async function startStandInCloud(brokerUrl: string): Promise<StandInCloud> {
  const conductor = new FakeConductorRpc();
  const placement = new FakePlacement();
  for (const trait of ['COMPUTE_NODE', 'COMPUTE_STATUS_DISABLED', 'OWNER_NOVA']) placement.knownTraitNames.add(trait);
  const rpc = createRpc({ transportUrl: brokerUrl, host: 'bench-conductor', topics: ['conductor'], exchange, clock: systemClock, log: recordingLog().log, metrics: noMetrics });
  const methods = ['object_class_action_versions', 'object_action'].map((name): RpcMethod => ({
    rpc: name,
    handle: async ({ method, args, context }) => {
      conductor.sent.length = 0; // it remembers what it was sent, for tests
      return conductor.call({ topic: 'conductor', version: '3.0' }, method, args, context);
    },
  }));
  await rpc.server([{ namespace: null, version: '3.99', methods: new Map(methods.map((method) => [method.rpc, method])) }]).start();

  const http = await startFakeCloud();
  const image = parseImageId(randomUUID());
  const endpoint = (type: string): unknown => ({ type, endpoints: [{ interface: 'internal', region: 'RegionOne', region_id: 'RegionOne', url: `${http.url}/${type}` },
    { interface: 'public', region: 'RegionOne', region_id: 'RegionOne', url: `${http.url}/${type}` }] });
  http.keystone.catalog = ['network', 'image', 'placement'].map(endpoint);
  const forgetful = (handler: FakeHandler): FakeHandler => (request) => {
    http.requests.length = 0;
    return handler(request);
  };
  http.services.set('/image', forgetful(({ path }) => (path.endsWith('/file') ? { status: 200, octets: new Uint8Array(imageBytes), headers: { 'content-type': 'application/octet-stream' } }
    : { status: 200, body: { id: image, name: 'null', status: 'active', disk_format: 'raw', container_format: 'bare', size: imageBytes, min_disk: 0, min_ram: 0 } })));
  // Servers here have no network.
  http.services.set('/network', forgetful(({ path }) => ({ status: 200, body: { [path.split('/').at(-1)!]: [] } })));
  http.services.set('/placement', forgetful(placementOver(placement)));
  return {
    exchange, keystone: `${http.url}/v3`, password: http.keystone.password, image, conductor, placement,
    async close() {
      await rpc.close();
      await http.close();
    },
  };
}
