import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError, wireFaultOf } from '../../../src/lib/errors.js';
import { novaFaults } from '../../../src/lib/nova-faults.js';
import { createTestNode, instanceWire, messageOf, putGuest, type NodeSettings, type TestNode } from '../../contract/support/compute-node.js';

let node: TestNode;
let row: Record<string, unknown>;

async function make(settings: NodeSettings = {}, guest: 'none' | 'running' | 'stopped' = 'running'): Promise<void> {
  node = await createTestNode(settings);
  row = node.rpc.addInstance({ host: 'fakea', node: 'fakea', vm_state: 'active', image_ref: 'i', config_drive: '' });
  if (guest !== 'none') putGuest(node, String(row['uuid']), { isRunning: guest === 'running' });
}
beforeEach(() => make());

const ask = async (method: string, args: Record<string, unknown> = {}): Promise<{ result?: unknown; fault?: string }> => {
  const { result, error } = await node.receive(messageOf(method, { instance: instanceWire(row), ...args }));
  return error === undefined ? { result } : { fault: wireFaultOf(error)?.className ?? 'none that Nova knows' };
};
const vnc = (type = 'novnc'): ReturnType<typeof ask> => ask('get_vnc_console', { console_type: type });
const check = (port: unknown, type = 'novnc'): ReturnType<typeof ask> => ask('validate_console_port', { port, console_type: type });

describe('get_vnc_console', () => {
  test('is refused as ConsoleTypeUnavailable when [vnc]enabled is off', async () => {
    await make({ options: { vnc: null } });
    expect(await vnc()).toEqual({ fault: 'ConsoleTypeUnavailable' });
    expect(node.rpc.tokens).toEqual([]);
  });

  test.each(['xvpvnc', 'spice-html5', ''])('of type "%s" is refused as ConsoleTypeInvalid', async (type) => {
    expect(await vnc(type)).toEqual({ fault: 'ConsoleTypeInvalid' });
    expect(node.rpc.tokens).toEqual([]);
  });

  test.each([['building', 'InstanceNotReady'], ['active', 'InstanceNotFound'], ['stopped', 'InstanceNotFound']])('of a server in %s without guest is refused as %s', async (state, fault) => {
    await make({}, state === 'stopped' ? 'stopped' : 'none');
    row['vm_state'] = state;
    expect(await vnc()).toEqual({ fault });
  });

  test('of a paused server is refused as InstanceNotReady, because its screen would not answer; its old port is not valid either', async () => {
    await node.deps.driver.pause(String(row['uuid']) as never);
    expect(await vnc()).toEqual({ fault: 'InstanceNotReady' });
    expect(await check('5900')).toEqual({ result: false });
  });

  test('of a host without framebuffer says that there is no such console', async () => {
    Object.assign(node.deps.driver.capabilities, { hasFramebuffer: false });
    node.deps.driver.openVncConsole = async () => null;
    expect(await vnc()).toEqual({ fault: 'ConsoleTypeUnavailable' });
  });

  test('gives the token that the conductor made, inside a path that the proxy reads', async () => {
    await make({ options: { vnc: { proxyClientAddress: '192.0.2.7', novncProxyBaseUrl: 'https://cloud/vnc_lite.html?lang=de' } } });
    const { result } = (await vnc()) as { result: { token: string; access_url: string; host: string; port: number } };
    expect([result.host, result.port]).toEqual(['192.0.2.7', 5900]);
    const url = new URL(result.access_url);
    expect(url.searchParams.get('lang')).toBe('de');
    expect(url.searchParams.get('path')).toBe(`?token=${result.token}`);
    expect(node.rpc.tokens).toMatchObject([{ console_type: 'novnc', host: '192.0.2.7', port: 5900, internal_access_path: null, instance_uuid: row['uuid'] }]);
    expect(node.rpc.tokens[0]).not.toHaveProperty('token');
    expect(node.log.lines().some((line) => JSON.stringify(line).includes(result.token))).toBe(false);
  });
});

describe('get_serial_console', () => {
  const serial = (type = 'serial'): ReturnType<typeof ask> => ask('get_serial_console', { console_type: type });
  const withSerial: NodeSettings = { options: { serial: { baseUrl: 'ws://cloud:6083/' } } };
  const at = (port: number): void => {
    node.deps.driver.openSerialConsole = async () => ({ host: '192.0.2.7', port });
    node.deps.driver.admitToSerialConsole = async (_instance, asked) => asked === port;
  };

  test('gives a token, and an address of the proxy with it', async () => {
    await make(withSerial);
    at(10_007);
    const { result } = (await serial()) as { result: { token: string } };
    expect(result).toEqual({ host: '192.0.2.7', port: 10_007, internal_access_path: null, token: result.token, access_url: `ws://cloud:6083/?token=${result.token}` });
    expect(node.rpc.tokens).toMatchObject([{ console_type: 'serial', host: '192.0.2.7', port: 10_007, instance_uuid: row['uuid'], access_url_base: 'ws://cloud:6083/' }]);
    expect(JSON.stringify(node.log.lines())).not.toContain(result.token);
    expect([await check('10007', 'serial'), await check('10008', 'serial'), await check('10007'), await check('x', 'serial')].map((one) => one.result)).toEqual([true, false, false, false]);
  });

  test('is refused as Nova expects: off, of another type, without guest, with every port taken', async () => {
    expect(await serial()).toEqual({ fault: 'ConsoleTypeUnavailable' });
    expect(await check('10007', 'serial')).toEqual({ result: false });
    await make(withSerial);
    expect(await serial('telnet')).toEqual({ fault: 'ConsoleTypeInvalid' });
    node.deps.driver.openSerialConsole = async () => null;
    expect(await serial()).toEqual({ fault: 'InstanceNotFound' });
    row['vm_state'] = 'building';
    expect(await serial()).toEqual({ fault: 'InstanceNotReady' });
    node.deps.driver.openSerialConsole = () => Promise.reject(new AgentError('no-console-port', 'x'));
    expect(await serial()).toEqual({ fault: 'SocketPortRangeExhaustedException' });
    expect(node.rpc.tokens).toEqual([]);
  });
});

describe('validate_console_port says true only for the port on which this guest shows its screen now', () => {
  test.each([
    ['5900', 'novnc', true], [5900, 'novnc', true], ['5901', 'novnc', false], ['', 'novnc', false], ['05900', 'novnc', false], ['5900 ', 'novnc', false], ['5900', 'serial', false],
    ['5900', 'spice-html5', false],
  ])('port %j, type %s: %s', async (port, type, answer) => {
    expect(await check(port, type)).toEqual({ result: answer });
  });

  test('a guest that stopped has none, although the port was its own', async () => {
    await make({}, 'stopped');
    expect(await check('5900')).toEqual({ result: false });
  });

  test('a server that is not here has none', async () => {
    await make({}, 'none');
    expect(await check('5900')).toEqual({ result: false });
  });

  test('one that cannot be opened is not ready, and its port not valid', async () => {
    const fault = { code: 'no-console-port', retry: 'later', wire: novaFaults.instanceNotReady(String(row['uuid'])) } as const;
    node.deps.driver.openVncConsole = () => Promise.reject(new AgentError(fault.code, 'another program listens there', { retry: fault.retry, wire: fault.wire }));
    expect([await vnc(), await check('5900'), node.rpc.tokens]).toEqual([{ fault: 'InstanceNotReady' }, { result: false }, []]);
  });

  test('with [vnc]enabled off nothing is true', async () => {
    await make({ options: { vnc: null } });
    expect(await check('5900')).toEqual({ result: false });
  });
});

describe('get_console_output', () => {
  test.each([[null, 'one\ntwo\nthree'], [2, 'two\nthree'], ['1', 'three']])('with tail_length %j gives the last lines', async (tail, text) => {
    expect(await ask('get_console_output', { tail_length: tail })).toEqual({ result: text });
  });

  test('without a log is refused as ConsoleNotAvailable', async () => {
    await make({}, 'none');
    expect(await ask('get_console_output', { tail_length: null })).toEqual({ fault: 'ConsoleNotAvailable' });
  });

  test('never asks for more lines than a message can hold', async () => {
    const asked: unknown[] = [];
    node.deps.driver.consoleLog = async (_instance, lines) => {
      asked.push(lines);
      return '';
    };
    for (const tail of [null, 1e9, -5]) await ask('get_console_output', { tail_length: tail });
    expect(asked).toEqual([10_000, 10_000, 10_000]);
    expect(await ask('get_console_output', { tail_length: 'many' })).toEqual({ fault: 'InvalidInput' });
  });
});

describe('diagnostics', () => {
  test.each(['get_diagnostics', 'get_instance_diagnostics'])('%s of a guest that is off is refused as InstanceInvalidState', async (method) => {
    await make({}, 'stopped');
    expect(await ask(method)).toEqual({ fault: 'InstanceInvalidState' });
  });

  test('get_diagnostics is the map that old clients know', async () => {
    expect(await ask('get_diagnostics')).toEqual({ result: { memory: 65_536, 'memory-rss': 32_768, cpu0_time: 5 } });
  });
});

describe('set_host_enabled', () => {
  const set = async (enabled: boolean): Promise<unknown> => (await node.receive(messageOf('set_host_enabled', { enabled }))).result;
  const traits = (): readonly string[] => [...node.placement.providers.values()][0]?.traits ?? [];

  test('mirrors the flag in Placement and answers in words', async () => {
    expect([await set(false), traits().includes('COMPUTE_STATUS_DISABLED')]).toEqual(['disabled', true]);
    expect([await set(true), traits().includes('COMPUTE_STATUS_DISABLED')]).toEqual(['enabled', false]);
  });

  test('answers although Placement is away; the next audit tells it', async () => {
    node.placement.before = () => { throw new Error('Placement is away'); };
    expect(await set(false)).toBe('disabled');
    expect(node.log.lines().some((line) => line['msg'] === 'Placement not told; the next audit will')).toBe(true);
    node.placement.before = () => undefined;
    Object.assign(node.rpc.services[0] ?? {}, { disabled: true });
    await node.deps.tracker.audit(node.deps.ownContext(), { startup: false });
    expect(traits()).toContain('COMPUTE_STATUS_DISABLED');
  });
});
