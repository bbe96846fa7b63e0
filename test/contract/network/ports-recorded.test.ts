/** What Nova's own compute asked of Neutron and saved, against what ours asks and saves when it gets the same answers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createPorts } from '../../../src/network/index.js';
import { createObject, isWireObject } from '../../../src/objects/index.js';
import type { NeutronClient } from '../../../src/openstack/index.js';
import { adminContext } from '../../../src/rpc/context.js';
import { createConductorRows, fakeInstance, zed } from '../../fakes/conductor-rows.js';
import { recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';
import { recordedMessages } from '../../fakes/wire-samples.js';

interface Exchange { readonly host: string; readonly service: string; readonly method: string; readonly path: string; readonly status: number; readonly request: unknown; readonly response: unknown }

const samples = join(import.meta.dirname, '../../samples/wire/zed');
const exchanges = (operation: string, host: string): Exchange[] =>
  readFileSync(join(samples, `${operation}.http.jsonl`), 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Exchange)
    .filter((one) => one.path.startsWith('/v2.0/') && one.host === host);

/** The network_info texts that the recorded compute saved. */
function savedNetworkInfos(operation: string, host: string): unknown[] {
  return recordedMessages(operation).filter((one) => one.publisher === `nova-compute@${host}`).flatMap(({ message }) => {
    const args = message['args'] as Record<string, unknown> | undefined;
    const object = args?.['objinst'];
    if (args?.['objmethod'] !== 'save' || !isWireObject(object) || object['nova_object.name'] !== 'InstanceInfoCache') return [];
    return [JSON.parse(String(object['nova_object.data']['network_info'])) as unknown];
  });
}

/** A path and query in one spelling. */
function normal(path: string): string {
  const url = new URL(path, 'http://neutron');
  return `${url.pathname}?${[...url.searchParams].map(([key, value]) => `${key}=${value}`).sort().join('&')}`;
}

/** Answers with what was recorded for the same request; a request that was not recorded fails the test. */
function replay(recorded: readonly Exchange[]): { client: NeutronClient; asked: string[]; sent: { line: string; body: unknown }[] } {
  const asked: string[] = [];
  const sent: { line: string; body: unknown }[] = [];
  const client: NeutronClient = {
    request: async (_identity, method, path, options = {}) => {
      const query = Object.entries(options.query ?? {}).flatMap(([key, value]) => [value].flat().map((one) => `${key}=${encodeURIComponent(one)}`));
      const line = `${method} ${normal(query.length === 0 ? path : `${path}?${query.join('&')}`)}`;
      asked.push(line);
      if (options.body !== undefined) sent.push({ line, body: options.body });
      // The same question may have been asked earlier, with an older answer: the last one counts.
      const found = recorded.filter((one) => `${one.method} ${normal(one.path)}` === line).at(-1);
      const answer = found?.response;
      if (answer === undefined) throw new Error(`not recorded: ${line}`);
      return structuredClone(answer) as never;
    },
    extensions: async () => new Set((recorded.find((one) => one.path === '/v2.0/extensions')?.response as { extensions: { alias: string }[] }).extensions.map((one) => one.alias)),
  };
  return { client, asked, sent };
}

describe('a recorded create', () => {
  const recorded = exchanges('create', 'fakea');
  const creation = recorded.find((one) => one.method === 'POST');
  const port = (creation?.request as { port: { device_id: string; network_id: string; tenant_id: string } }).port;
  const newInstance = (): ReturnType<typeof fakeInstance> => fakeInstance(port.device_id, { project_id: port.tenant_id, availability_zone: 'nova' });

  test('sends the same bodies and saves the same network_info', async () => {
    const { client, asked, sent } = replay(recorded);
    const rows = createConductorRows();
    rows.caches.set(port.device_id, '[]');
    const requestedNetworks = createObject(zed, 'NetworkRequestList', { objects: [createObject(zed, 'NetworkRequest', { network_id: port.network_id, address: null, port_id: null, tag: null })] });
    // Before anything is made there is nothing of ours to find: the recorded list is the one after.
    let isFirst = true;
    const request = client.request.bind(client);
    const neutron: NeutronClient = { ...client, request: async (identity, method, path, options) => {
      if (method === 'GET' && path === '/v2.0/ports' && isFirst) {
        isFirst = false;
        return { ports: [] } as never;
      }
      return request<never>(identity, method, path, options);
    } };
    const ports = createPorts({ neutron, conductor: rows.conductor, clock: createVirtualClock(), log: recordingLog().log });
    await ports.allocate(adminContext(), { instance: newInstance(), requestedNetworks, securityGroups: ['default'], host: 'fakea' }, new AbortController().signal);
    const recordedBodies = recorded.filter((one) => one.method !== 'GET').map((one) => one.request);
    expect(sent.map((one) => one.body)).toEqual(recordedBodies);
    const saved = savedNetworkInfos('create', 'fakea');
    expect(saved.length).toBeGreaterThan(0);
    expect(rows.saves).toEqual([saved[0]]);
    expect(JSON.stringify(rows.saves[0])).toBe(JSON.stringify(saved[0]));
    expect(new Set(asked)).toEqual(new Set(recorded.filter((one) => one.path !== '/v2.0/extensions').map((one) => `${one.method} ${normal(one.path)}`)));
  });
});

describe.each([['reboot-hard', 'fakea'], ['start', 'fakea'], ['port-update-event', 'fakeb']])('a recorded refresh (%s on %s)', (operation, host) => {
  test('ends with the network_info that Nova saved', async () => {
    const recorded = exchanges(operation, host).concat(exchanges('create', 'fakea').filter((one) => one.path === '/v2.0/extensions'));
    const saved = savedNetworkInfos(operation, host).at(-1) as { id: string; preserve_on_delete: boolean }[];
    const list = recorded.find((one) => one.path.startsWith('/v2.0/ports?') && one.path.includes('device_id='));
    const query = new URL(list?.path ?? '', 'http://neutron').searchParams;
    const uuid = query.get('device_id') ?? '';
    const { client } = replay(recorded);
    const rows = createConductorRows();
    rows.caches.set(uuid, JSON.stringify(saved.map(({ id, preserve_on_delete }) => ({ id, preserve_on_delete, vnic_type: 'normal' }))));
    const ports = createPorts({ neutron: client, conductor: rows.conductor, clock: createVirtualClock(), log: recordingLog().log });
    await ports.refresh(adminContext(), fakeInstance(uuid, { project_id: query.get('tenant_id'), vm_state: 'active' }));
    expect(rows.saves).toEqual([saved]);
  });
});
