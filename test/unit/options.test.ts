import { expect, test } from 'vitest';
import { readConfig, type Config } from '../../src/config/index.js';
import { brokerRetryOf, brokerTlsOf, screenOptionsOf } from '../../src/options.js';

const configOf = (lines: string): Config => {
  const login = 'auth_type=password\nauth_url=http://c\nusername=u\npassword=p\n';
  const text = `[DEFAULT]\ntransport_url=rabbit://a:b@c/\n[placement]\n${login}[neutron]\n${login}${lines}`;
  return readConfig([{ file: 'nova.conf', text }], {}, { hostname: 'h', address: '192.0.2.1' }).config;
};
const rabbit = (lines: string): Config['oslo_messaging_rabbit'] => configOf(`[oslo_messaging_rabbit]\n${lines}`).oslo_messaging_rabbit;

test("the broker's certificate must carry its host name unless an operator says otherwise", () => {
  expect(brokerTlsOf(rabbit('ssl=true\n'))).toEqual({ isOn: true, verifyHostname: true });
  expect(brokerTlsOf(rabbit('ssl=true\nssl_enforce_hostname_verification=false\nssl_ca_file=/ca.pem\n'))).toEqual({ isOn: true, verifyHostname: false, caFile: '/ca.pem' });
});

test('TLS is off unless asked for, and its options are there for a transport_url that turns it on', () => {
  expect(brokerTlsOf(rabbit('ssl_ca_file=/ca.pem\n'))).toEqual({ isOn: false, verifyHostname: true, caFile: '/ca.pem' });
});

test('rabbit_interval_max bounds the waits between attempts', () => {
  expect(brokerRetryOf(rabbit(''))).toEqual({ maxMs: 30_000 });
  expect(brokerRetryOf(rabbit('rabbit_interval_max=5\n'))).toEqual({ maxMs: 5_000 });
});

test('bhyve listens where [vnc] server_listen says, and with TLS files on loopback while the agent listens there', () => {
  const portRange = { first: 5900, last: 6899 };
  expect(screenOptionsOf(configOf('[vnc]\nserver_listen=192.0.2.7\n'))).toEqual({ address: '192.0.2.7', portRange });
  const tls = 'server_listen=192.0.2.7\ntls_cert_file=/c\ntls_key_file=/k\ntls_client_ca_file=/a\n';
  expect(screenOptionsOf(configOf(`[vnc]\n${tls}`))).toEqual({ address: '127.0.0.1', portRange, guard: { address: '192.0.2.7', files: { certificate: '/c', key: '/k', clientAuthority: '/a' } } });
  expect(screenOptionsOf(configOf(`[vnc]\nenabled=false\n${tls}`))).toBeNull();
});
