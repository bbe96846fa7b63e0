import { describe, expect, test } from 'vitest';
import { readConfig, redactConfig, renderIni, secretOptions, sectionsOf, type ConfigSource } from '../../../src/config/index.js';
import { AgentError } from '../../../src/lib/errors.js';

const machine = { hostname: 'node1.example', address: '192.0.2.7' };
const login = 'auth_type = password\nauth_url = http://controller:5000\nusername = u\npassword = p4ss\n';
const smallest = `[DEFAULT]\ntransport_url = rabbit://openstack:hush@controller:5672/\n[placement]\n${login}[neutron]\n${login}`;
const source = (text: string, file = 'a.conf'): ConfigSource => ({ file, text });
const read = (more: string, env = {}) => readConfig([source(smallest), source(more, 'b.conf')], env, machine);

function problemsOf(work: () => unknown): string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof AgentError && error.code === 'config-invalid') return error.details['problems'] as string[];
    throw error;
  }
  return [];
}

describe('values', () => {
  test('the smallest configuration gives every option its default', () => {
    const { config, warnings } = read('');
    expect(warnings).toEqual([]);
    expect(config.DEFAULT).toMatchObject({ host: 'node1.example', my_ip: '192.0.2.7', report_interval: 10, cpu_allocation_ratio: null, vif_plugging_timeout: 300 });
    expect(config.agent.path).toContain('/sbin');
    expect(config.zfs.root).toBe('zroot/nova');
    expect(config.placement.valid_interfaces).toEqual(['internal', 'public']);
  });

  test('a later file wins over an earlier one, a later line over an earlier one, the environment over both', () => {
    expect(read('[DEFAULT]\nreport_interval = 5\nreport_interval = 6\n').config.DEFAULT.report_interval).toBe(6);
    expect(read('[DEFAULT]\nreport_interval = 5\n', { OS_DEFAULT__REPORT_INTERVAL: '7' }).config.DEFAULT.report_interval).toBe(7);
    expect(read('', { OS_ZFS__ROOT: 'tank/cloud', OS_USERNAME: 'x' }).config.zfs.root).toBe('tank/cloud');
  });

  test('$option, ${option} and $section.option are replaced, $$ and \\$ are dollar signs', () => {
    const { config } = read('[vnc]\nserver_listen = $my_ip\nnovncproxy_base_url = http://${my_ip}:6080/$DEFAULT.host\n[placement]\npassword = a$$b\\$c$\n');
    expect(config.vnc).toMatchObject({ server_listen: '192.0.2.7', server_proxyclient_address: '192.0.2.7', novncproxy_base_url: 'http://192.0.2.7:6080/node1.example' });
    expect(config.placement.password).toBe('a$b$c$');
  });

  test('names may be written with - or _, and under the older names that Nova still reads', () => {
    const { config } = read('[placement]\nendpoint-override = http://p:8778\nuser_name = again\n[DEFAULT]\nconsole_token_ttl = 42\n[oslo_messaging_rabbit]\nrabbit_use_ssl = yes\n');
    expect(config.placement).toMatchObject({ endpoint_override: 'http://p:8778', username: 'u' });
    expect(config.consoleauth.token_ttl).toBe(42);
    expect(config.oslo_messaging_rabbit.ssl).toBe(true);
  });

  test('auth_section takes the log-in from another section, and only the log-in', () => {
    const { config, warnings } = readConfig([source(
      `[DEFAULT]\ntransport_url = rabbit://a:b@c/\n[placement]\nauth_section = Shared\nregion_name = here\n[neutron]\nauth_section = shared\n[shared]\n${login}region_name = there\n`)], {}, machine);
    expect(config.placement).toMatchObject({ username: 'u', password: 'p4ss', region_name: 'here' });
    expect(config.neutron.region_name).toBeNull();
    expect(warnings).toEqual([]);
  });

  test('an empty value is the default of a number and null where there may be none', () => {
    const { config } = read('[DEFAULT]\nreport_interval =\ncpu_allocation_ratio =\n[oslo_messaging_rabbit]\nssl_ca_file =\n[api]\ndhcp_domain =\n');
    expect(config.DEFAULT).toMatchObject({ report_interval: 10, cpu_allocation_ratio: null });
    expect(config.oslo_messaging_rabbit.ssl_ca_file).toBeNull();
    expect(config.api.dhcp_domain).toBe('');
  });

  test('the configuration cannot be changed afterwards', () => {
    const { config } = read('');
    expect(() => { (config.zfs as { root: string }).root = 'x'; }).toThrow(TypeError);
  });

  test('writing all values out and reading them again changes nothing', () => {
    const { config } = read('[l2_agent]\nbridge_mappings = a:b,c:d\n[DEFAULT]\ncpu_allocation_ratio = 2.5\n');
    const entries = [...sectionsOf()].flatMap(([section, options]) => Object.entries(options).flatMap(([key, option]) => {
      const value = (config as unknown as Record<string, Record<string, unknown>>)[section]?.[key];
      return value === null || value === undefined ? [] : [{ section, key, value: option.kind.render(value).replaceAll('$', '$$$$') }];
    }));
    expect(readConfig([source(renderIni(entries))], {}, machine).config).toEqual(config);
  });
});

describe('problems', () => {
  test('every problem is listed at once, with file, line, section, option and what would be right', () => {
    expect(problemsOf(() => read('[DEFAULT]\nreport_interval = soon\n[zfs]\nroot = zroot\n[bhyve]\nvnc_port_mni = 5901\n[DEFAULT]\nnonsense\n'))).toEqual([
      'b.conf:8: neither a section, a comment, nor "option = value"',
      "b.conf:2: [DEFAULT] report_interval: 'soon' is not a number; write an integer from 1",
      "b.conf:4: [zfs] root: 'zroot' is not a dataset below a pool; write POOL/NAME, e.g. zroot/nova",
      'b.conf:6: [bhyve] vnc_port_mni: there is no such option; did you mean vnc_port_min?',
    ]);
  });

  test('what must be set and is not is named with an example', () => {
    expect(problemsOf(() => readConfig([source('')], {}, machine)).join('\n')).toMatch(/\[DEFAULT\] transport_url: is not set; write rabbit:\/\//);
    expect(problemsOf(() => readConfig([source('[DEFAULT]\ntransport_url = rabbit://a:b@c/\n')], {}, machine))).toEqual([
      'a.conf: [placement] auth_type: is not set; write password (or v3applicationcredential) and the log-in below it',
      'a.conf: [neutron] auth_type: is not set; write password (or v3applicationcredential) and the log-in below it',
    ]);
  });

  test.each([
    ['[bhyv]\nx = 1', '[bhyv]: there is no such section; did you mean [bhyve]?'],
    ['[migration]\nmax_downtime = 1', 'max_downtime: there is no such option; this section has no options yet'],
    ['[DEFAULT]\nmy_ip = controller', 'my_ip: must be an IP address'],
    ['[DEFAULT]\nservice_down_time = 10', 'service_down_time: must be larger than report_interval (10)'],
    ['[DEFAULT]\nconfig_drive_format = vfat', 'only iso9660'],
    ['[bhyve]\nvnc_port_min = 7000', 'vnc_port_max: must not be below vnc_port_min'],
    ['[vnc]\nserver_listen = 0.0.0.0', 'server_proxyclient_address: must be an address'],
    ['[vnc]\nserver_listen = 192.0.2.7\ntls_cert_file = /c', '[vnc] tls_key_file: is not set; tls_cert_file, tls_key_file, tls_client_ca_file go together'],
    ['[vnc]\nserver_listen = 192.0.2.7\ntls_cert_file = /c\ntls_key_file = /k', '[vnc] tls_client_ca_file: is not set'],
    ...['127.0.0.1', '0.0.0.0', '::', '0:0:0:0:0:0:0:0', '::ffff:127.0.0.1', '::ffff:0.0.0.0'].map((address) => [
      `[vnc]\nserver_listen = ${address}\nserver_proxyclient_address = 192.0.2.7\ntls_cert_file = /c\ntls_key_file = /k\ntls_client_ca_file = /a`, 'server_listen: must be one address of this host other than 127.0.0.1',
    ]),
    ['[vnc]\nserver_listen = localhost\ntls_cert_file = /c\ntls_key_file = /k\ntls_client_ca_file = /a', 'server_listen: must be an IP address with tls_cert_file, not a name'],
    ['[l2_agent]\ninterface_mappings = physnet1:em0', "'physnet1' has no bridge"],
    ['[neutron]\nauth_type = v3applicationcredential', 'application_credential_secret: is not set'],
    ['[service_user]\nsend_service_user_token = true', '[service_user] auth_type: is not set'],
    ['[neutron]\nauth_section = elsewhere', 'there is no section [elsewhere]'],
    ['[neutron]\nauth_type = v3kerberos', "'v3kerberos' is not possible here"],
    ['[vnc]\nserver_listen = $server_proxyclient_address', 'goes in a circle'],
    ['[api]\ndhcp_domain = $nobody', "there is no option 'nobody' for $nobody; write $$"],
    ['[oslo_messaging_rabbit]\nrabbit_stream_fanout = true', 'streams are not supported'],
    ['[oslo_messaging_rabbit]\nssl_key_file = /k', 'a client certificate needs both'],
  ])('%j is refused: %s', (text, message) => {
    expect(problemsOf(() => read(`${text}\n`)).join('\n')).toContain(message);
  });

  test.each(['192.0.2.7', '127.0.0.2', '::1', '2001:db8::7', 'fe80::7%em0'])('screens can be guarded at %s', (address) => {
    const { config, warnings } = read(`[vnc]\nserver_listen = ${address}\ntls_cert_file = /c\ntls_key_file = /k\ntls_client_ca_file = /a\n`);
    expect([config.vnc.server_listen, warnings]).toEqual([address, []]);
  });

  test('options of other Nova services cost one line per file, a near miss a line of its own', () => {
    const { warnings } = read('[DEFAULT]\ncompute_driver = x\nreserved_host_memory_bm = 1\n[libvirt]\nvirt_type = kvm\n[vnc]\nnovncproxy_host = h\n');
    expect(warnings).toEqual([
      'b.conf:3: [DEFAULT] reserved_host_memory_bm: not known here; did you mean reserved_host_memory_mb?',
      'b.conf: not used by this agent: [libvirt], [DEFAULT] compute_driver, [vnc] novncproxy_host',
    ]);
  });

  test('what works but deserves a word is a warning', () => {
    const { warnings } = read('[agent]\nhttp_bind = 0.0.0.0\n[workarounds]\ndisable_deep_image_inspection = true\n[l2_agent]\nenabled = true\n');
    expect(warnings.join('\n')).toMatch(/b\.conf:2: \[agent\] http_bind[^]*\[l2_agent\] bridge_mappings|\[l2_agent\] bridge_mappings[^]*b\.conf:2: \[agent\] http_bind/);
    expect(warnings.join('\n')).toContain('disable_deep_image_inspection: has no effect');
  });
});

describe('secrets', () => {
  test('no error message holds a password, whatever is wrong with it', () => {
    const bad = ['[DEFAULT]\ntransport_url = amqp://hushhush@c/\n', '[placement]\npassword = hush$hushhush\n', '[placement]\npassword\n  hushhush\n'];
    for (const text of bad) {
      const problems = problemsOf(() => read(text));
      expect(problems).not.toEqual([]);
      expect(problems.join()).not.toContain('hushhush');
    }
  });

  test('a configuration that is shown has its secrets replaced', () => {
    const { config } = read('');
    const shown = JSON.stringify(redactConfig(config));
    expect(shown).not.toMatch(/hush|p4ss/);
    expect(shown).toContain('"transport_url":"***"');
  });

  test('everything that Nova or keystoneauth calls secret is in the list', () => {
    expect(secretOptions).toEqual(expect.arrayContaining([
      'DEFAULT.transport_url', 'placement.password', 'neutron.password', 'glance.password', 'cinder.password', 'service_user.password', 'service_user.application_credential_secret',
    ]));
    const suspicious = [...sectionsOf()].flatMap(([section, options]) => Object.keys(options).map((name) => `${section}.${name}`)).filter((name) => /password|secret$/.test(name));
    expect(suspicious.filter((name) => !secretOptions.includes(name))).toEqual([]);
  });
});
