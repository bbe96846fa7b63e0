import { expect, test } from 'vitest';
import { readConfig, type Config } from '../../src/config/index.js';
import { brokerRetryOf, brokerTlsOf } from '../../src/options.js';

const rabbit = (lines: string): Config['oslo_messaging_rabbit'] => {
  const login = 'auth_type=password\nauth_url=http://c\nusername=u\npassword=p\n';
  const text = `[DEFAULT]\ntransport_url=rabbit://a:b@c/\n[placement]\n${login}[neutron]\n${login}[oslo_messaging_rabbit]\n${lines}`;
  return readConfig([{ file: 'nova.conf', text }], {}, { hostname: 'h', address: '192.0.2.1' }).config.oslo_messaging_rabbit;
};

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
