import fc from 'fast-check';
import { expect, test } from 'vitest';
import { codeOf } from '../../../src/lib/errors.js';
import { parseTransportUrl, rotateHosts, type TransportUrl } from '../../../src/rpc/transport-url.js';

/** The URL of these parts. */
function renderTransportUrl(url: TransportUrl): string {
  const hosts = url.hosts.map((host) => {
    const name = host.hostname.includes(':') ? `[${host.hostname}]` : host.hostname;
    return `${encodeURIComponent(host.username)}:${encodeURIComponent(host.password)}@${name}:${host.port}`;
  });
  const query = new URLSearchParams(url.query).toString();
  return `rabbit://${hosts.join(',')}/${encodeURIComponent(url.virtualHost)}${query === '' ? '' : `?${query}`}`;
}

const host = (hostname: string, port: number, username: string, password: string): object => ({ hostname, port, username, password });

test.each([
  ['rabbit://openstack:secret@10.0.0.1:5672/nova', { hosts: [host('10.0.0.1', 5672, 'openstack', 'secret')], virtualHost: 'nova', query: {} }],
  ['rabbit://a:b@h1:1,c:d@h2/v', { hosts: [host('h1', 1, 'a', 'b'), host('h2', 5672, 'c', 'd')], virtualHost: 'v', query: {} }],
  ['rabbit://u:p%40%2F%25@[fd00::1]:5671/open%2Fstack', { hosts: [host('fd00::1', 5671, 'u', 'p@/%')], virtualHost: 'open/stack', query: {} }],
  ['rabbit://u@sasl:p:q@h//', { hosts: [host('h', 5672, 'u@sasl', 'p:q')], virtualHost: '/', query: {} }],
  ['rabbit://h', { hosts: [host('h', 5672, 'guest', 'guest')], virtualHost: '/', query: {} }],
  ['rabbit:///', { hosts: [host('localhost', 5672, 'guest', 'guest')], virtualHost: '/', query: {} }],
  ['kombu://u:@h/v?ssl=1&ssl_ca_file=/etc/ca.pem', { hosts: [host('h', 5672, 'u', '')], virtualHost: 'v', query: { ssl: '1', ssl_ca_file: '/etc/ca.pem' } }],
])('%s is read as oslo reads it', (url, expected) => {
  expect(parseTransportUrl(url)).toEqual(expected);
});

test.each([
  'http://u:hunter2@h/', 'rabbit:u:hunter2@h', 'rabbit://u:hunter2%zz@h/', 'rabbit://u:hunter2@h:99999/', 'rabbit://u:hunter2@h:x/', 'rabbit://u:hunter2@[::1/', 'hunter2', '',
])('%s is refused without telling the password', (url) => {
  let thrown: unknown;
  try {
    parseTransportUrl(url);
  } catch (error) {
    thrown = error;
  }
  expect(codeOf(thrown)).toBe('rpc-transport-url');
  expect(JSON.stringify([String(thrown), (thrown as Error).cause ?? null, (thrown as Error).stack])).not.toContain('hunter2@');
  expect(String(thrown)).not.toContain('hunter2');
});

test('parse(render(x)) is x for every user, password, virtual host and address', () => {
  const text = fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' });
  const hosts = fc.array(fc.record({
    hostname: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()), port: fc.integer({ min: 1, max: 65535 }), username: text, password: fc.string({ unit: 'grapheme', maxLength: 20 }),
  }), { minLength: 1, maxLength: 4 });
  const query = fc.dictionary(fc.string({ minLength: 1 }).filter((key) => key !== '__proto__'), fc.string(), { noNullPrototype: true, maxKeys: 3 });
  fc.assert(fc.property(fc.record({ hosts, virtualHost: text, query }), (url) => {
    expect(parseTransportUrl(renderTransportUrl(url))).toEqual(url);
  }));
});

test('all hosts have had a turn before one is tried again, and not every agent begins with the same', () => {
  const hosts = ['a', 'b', 'c', 'd'].map((hostname) => ({ hostname, port: 1, username: '', password: '' }));
  fc.assert(fc.property(fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 3, maxLength: 3 }), (randoms) => {
    let turn = 0;
    const rotation = rotateHosts(hosts, () => randoms[turn++]!);
    const round = (): string[] => hosts.map(() => rotation.next().hostname);
    const first = round();
    expect([...first].sort()).toEqual(['a', 'b', 'c', 'd']);
    expect(round()).toEqual(first);
  }));
  const firsts = new Set([0, 0.3, 0.6, 0.9].map((random) => rotateHosts(hosts, () => random).next().hostname));
  expect(firsts.size).toBeGreaterThan(1);
});
