/** What one option alone cannot tell: options that belong together. */
import { isIP, SocketAddress } from 'node:net';
import type { OptionProblem } from './resolve.js';
import type { Config } from './schema.js';

type Say = (section: keyof Config, option: string, message: string) => void;

const isLoopback = (address: string): boolean => address === 'localhost' || address === '::1' || /^127\./.test(address);
const isAny = (address: string): boolean => address === '0.0.0.0' || address === '::';

function checkBus(config: Config, bad: Say): void {
  const { DEFAULT, oslo_messaging_rabbit: rabbit } = config;
  if (DEFAULT.service_down_time <= DEFAULT.report_interval) {
    bad('DEFAULT', 'service_down_time', `must be larger than report_interval (${DEFAULT.report_interval}), or Nova calls this host down between two reports`);
  }
  if (rabbit.rabbit_stream_fanout) bad('oslo_messaging_rabbit', 'rabbit_stream_fanout', 'streams are not supported by this agent; set it to false in every service');
  if ((rabbit.ssl_cert_file === null) !== (rabbit.ssl_key_file === null)) {
    bad('oslo_messaging_rabbit', 'ssl_cert_file', 'a client certificate needs both ssl_cert_file and ssl_key_file');
  }
}

type AuthSection = 'placement' | 'neutron' | 'glance' | 'cinder' | 'service_user' | 'vendordata_dynamic_auth';

/** The first thing that is missing for this kind of log-in, in words. */
function missingForLogin(auth: Config[AuthSection]): { option: string; message: string } | undefined {
  if (auth.auth_url === null) return { option: 'auth_url', message: 'is not set; write the URL of Keystone, e.g. http://controller:5000' };
  if (auth.auth_type === 'v3applicationcredential') {
    if (auth.application_credential_secret === null) return { option: 'application_credential_secret', message: 'is not set, and auth_type asks for it' };
    if (auth.application_credential_id !== null) return undefined;
    const isNamed = auth.application_credential_name !== null && (auth.user_id ?? auth.username) !== null;
    return isNamed ? undefined : { option: 'application_credential_id', message: 'is not set; set it, or application_credential_name and username' };
  }
  if ((auth.username ?? auth.user_id) === null) return { option: 'username', message: 'is not set, and auth_type asks for it' };
  if (auth.password === null) return { option: 'password', message: 'is not set, and auth_type asks for it' };
  return undefined;
}

function checkLogins(config: Config, bad: Say): void {
  const isNeeded: Readonly<Record<AuthSection, boolean>> = {
    placement: true, neutron: true, glance: false, cinder: false, service_user: config.service_user.send_service_user_token,
    vendordata_dynamic_auth: false,
  };
  for (const [name, needed] of Object.entries(isNeeded) as [AuthSection, boolean][]) {
    const auth = config[name];
    if (auth.auth_type === null && needed) bad(name, 'auth_type', 'is not set; write password (or v3applicationcredential) and the log-in below it');
    const missing = auth.auth_type === null ? undefined : missingForLogin(auth);
    if (missing !== undefined) bad(name, missing.option, missing.message);
    if (auth.keyfile !== null && auth.certfile === null) bad(name, 'certfile', 'is not set, but keyfile is; a client certificate needs both');
  }
}

/** Guarded screens: bhyve has the ports on 127.0.0.1, the agent has the same ports on another address. */
function checkScreens({ vnc }: Config, bad: Say): void {
  const files = ['tls_cert_file', 'tls_key_file', 'tls_client_ca_file'] as const;
  const missing = files.filter((name) => vnc[name] === null);
  if (missing.length === files.length) return;
  for (const name of missing) bad('vnc', name, `is not set; ${files.join(', ')} go together: set all of them or none`);
  const family = isIP(vnc.server_listen);
  if (family === 0) return bad('vnc', 'server_listen', 'must be an IP address with tls_cert_file, not a name');
  const { address } = family === 6 ? new SocketAddress({ address: vnc.server_listen.replace(/%.*$/, ''), family: 'ipv6' }) : { address: vnc.server_listen };
  if (isAny(address) || address === '127.0.0.1' || address.startsWith('::ffff:')) {
    bad('vnc', 'server_listen', 'must be one address of this host other than 127.0.0.1 with tls_cert_file: bhyve has the same ports on 127.0.0.1. Write that at which the proxy reaches it, e.g. $my_ip');
  }
}

function checkNode(config: Config, bad: Say, warn: Say): void {
  const { DEFAULT, bhyve, vnc, l2_agent: l2, agent, workarounds } = config;
  if (isIP(DEFAULT.my_ip) === 0) bad('DEFAULT', 'my_ip', 'must be an IP address, not a name: Nova stores it as such');
  if (DEFAULT.config_drive_format === 'vfat') bad('DEFAULT', 'config_drive_format', 'only iso9660 can be made here; leave the option out');
  for (const name of ['verify_glance_signatures', 'enable_certificate_validation'] as const) {
    if (config.glance[name]) bad('glance', name, 'this agent cannot verify signatures of images; leave the option out, or let other hosts run what needs it');
  }
  if (bhyve.vnc_port_max < bhyve.vnc_port_min) bad('bhyve', 'vnc_port_max', `must not be below vnc_port_min (${bhyve.vnc_port_min})`);
  if (vnc.enabled && isAny(vnc.server_proxyclient_address)) {
    bad('vnc', 'server_proxyclient_address', 'must be an address at which the VNC proxy can reach this host, e.g. $my_ip');
  }
  checkScreens(config, bad);
  if (vnc.enabled && isAny(vnc.server_listen) && vnc.tls_cert_file === null) {
    warn('vnc', 'server_listen', 'consoles have no password and are open on every address of this host; listen on $my_ip and filter the ports');
  }
  if (l2.enabled && Object.keys(l2.bridge_mappings).length === 0) {
    warn('l2_agent', 'bridge_mappings', 'is empty: no port can be bound on this host until it maps a physical network');
  }
  for (const network of Object.keys(l2.interface_mappings)) {
    if (l2.bridge_mappings[network] === undefined) bad('l2_agent', 'interface_mappings', `'${network}' has no bridge; add it to bridge_mappings`);
  }
  if (agent.http_port !== 0 && !isLoopback(agent.http_bind)) {
    warn('agent', 'http_bind', 'health and metrics can be read by everybody who reaches this address');
  }
  if (workarounds.disable_deep_image_inspection) {
    warn('workarounds', 'disable_deep_image_inspection', 'has no effect: this agent always inspects images');
  }
}

/** All that is wrong (`bad`) or deserves a word (`warn`) about a configuration whose options are fine one by one. */
export function crossCheck(config: Config): { bad: OptionProblem[]; warn: OptionProblem[] } {
  const bad: OptionProblem[] = [];
  const warn: OptionProblem[] = [];
  const into = (list: OptionProblem[]): Say => (section, option, message) => void list.push({ where: undefined, section, option, message });
  checkBus(config, into(bad));
  checkLogins(config, into(bad));
  checkNode(config, into(bad), into(warn));
  return { bad, warn };
}
