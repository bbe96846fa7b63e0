import { pino } from 'pino';
import { beforeEach, describe, expect, test } from 'vitest';
import { establishIdentity } from '../../../../src/compute/resources/index.js';
import { createConductor } from '../../../../src/conductor/index.js';
import { createObject, profileNamed, type NovaObjectOf } from '../../../../src/objects/index.js';
import { adminContext } from '../../../../src/rpc/context.js';
import { FakeConductorRpc } from '../../../fakes/conductor-rpc.js';
import { createVirtualClock } from '../../../fakes/virtual-clock.js';

const A = 'aaaaaaaa-0000-4000-8000-000000000001';
const B = 'bbbbbbbb-0000-4000-8000-000000000002';
let rpc: FakeConductorRpc;
let files: Map<string, string>;

beforeEach(() => {
  rpc = new FakeConductorRpc();
  files = new Map();
});

async function settle(options: { service?: number | null; guests?: number; release?: string; losesRace?: string } = {}): Promise<string> {
  rpc.useRelease(options.release ?? 'zed');
  const conductor = createConductor({ rpc, clock: createVirtualClock(), log: pino({ level: 'silent' }) });
  await conductor.negotiate();
  const service: NovaObjectOf<'Service'> | null = options.service === null || options.service === undefined ? null
    : createObject(profileNamed('zed'), 'Service', { host: 'h1', version: options.service });
  return establishIdentity({
    files: {
      readText: async (path) => files.get(path),
      createExclusive: async (path, content) => {
        if (options.losesRace !== undefined) files.set(path, options.losesRace);
        if (files.has(path)) return false;
        files.set(path, content);
        return true;
      },
    },
    conductor, log: pino({ level: 'silent' }), statePath: '/state', configPaths: ['/etc/nova', '/etc/more'], host: 'h1', node: 'n1', newUuid: () => B,
  }, adminContext(), service, options.guests ?? 0);
}

const node = (uuid: string, host = 'h1', name = 'n1'): void => void rpc.computeNodes.push({ id: rpc.computeNodes.length + 1, uuid, host, hypervisor_hostname: name, deleted: false });

describe('a new host', () => {
  test('gets a new uuid, written once to state_path and nowhere else', async () => {
    expect(await settle()).toBe(B);
    expect([...files]).toEqual([['/state/compute_id', `${B}\n`]]);
  });

  test('takes the uuid that a deployment tool put into a configuration folder, and writes nothing', async () => {
    files.set('/etc/more/compute_id', `${A.toUpperCase()}\n`);
    expect(await settle()).toBe(A);
    expect(files.size).toBe(1);
  });

  test('with guests is refused: it looks at the wrong database', async () => {
    files.set('/state/compute_id', A);
    await expect(settle({ guests: 2 })).rejects.toMatchObject({ code: 'node-identity-guests' });
  });

  test('that another process was faster on takes what that one wrote', async () => {
    expect(await settle({ losesRace: `${A}\n` })).toBe(A);
  });
});

describe('a known host', () => {
  test('keeps its uuid, with any number of guests', async () => {
    files.set('/state/compute_id', A);
    node(A);
    expect(await settle({ service: 64, guests: 5 })).toBe(A);
    expect(await settle({ service: 68, guests: 5, release: '2025.1' })).toBe(A);
  });

  test('without file takes the uuid of its only record, if it is from before 2023.1', async () => {
    node(A);
    expect(await settle({ service: 64 })).toBe(A);
    expect(files.get('/state/compute_id')).toBe(`${A}\n`);
  });

  test.each([[0], [2]])('without file and with %i records is refused', async (count) => {
    for (let index = 0; index < count; index += 1) node(index === 0 ? A : B, 'h1', `n${index}`);
    await expect(settle({ service: 64 })).rejects.toMatchObject({ code: 'node-identity-lost' });
    expect(files.size).toBe(0);
  });

  test('without file is refused from 2023.1 on, even with one record', async () => {
    node(A);
    await expect(settle({ service: 66, release: '2025.1' })).rejects.toMatchObject({ code: 'node-identity-lost' });
  });

  test.each([['another host', 'h9', 'n1'], ['another node name', 'h1', 'n9']])('whose record has %s was renamed, and is refused', async (_what, host, name) => {
    files.set('/state/compute_id', A);
    node(A, host, name);
    await expect(settle({ service: 64 })).rejects.toMatchObject({ code: 'node-identity-renamed' });
    await expect(settle({ service: 68, release: '2025.1' })).rejects.toMatchObject({ code: 'node-identity-renamed' });
  });

  test('whose file names another node than the record of that name is refused', async () => {
    files.set('/state/compute_id', B);
    node(A);
    await expect(settle({ service: 64 })).rejects.toMatchObject({ code: 'node-identity-conflict' });
  });
});

test('files that differ are refused, files that agree are not', async () => {
  files.set('/etc/nova/compute_id', A);
  files.set('/state/compute_id', B);
  await expect(settle()).rejects.toMatchObject({ code: 'node-identity-conflict' });
  files.set('/state/compute_id', A);
  expect(await settle()).toBe(A);
});

test.each(['', 'not-a-uuid', `${A} ${B}`, A.slice(0, 30)])('a file with %j is refused, not replaced', async (content) => {
  files.set('/state/compute_id', content);
  await expect(settle()).rejects.toMatchObject({ code: 'node-identity-unreadable' });
  expect(files.get('/state/compute_id')).toBe(content);
});
