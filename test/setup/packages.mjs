/** Installs the Debian packages that the lab and the control plane run on, without letting them start daemons of their own. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, withRetries } from './commands.mjs';
import { root } from './paths.mjs';

const lists = ['test/cloud/control-plane/packages.txt', 'test/lab/packages.txt', 'test/tempest/packages.txt'];
const policy = '/usr/sbin/policy-rc.d';

// The packages would ask for databases and endpoints; test/cloud makes its own.
const answers = ['keystone keystone/configure_db', 'keystone keystone/create-admin-tenant', 'keystone keystone/register-endpoint', 'glance-common glance/configure_db',
  'glance-api glance/register-endpoint', 'nova-common nova/configure_db', 'nova-api nova/register-endpoint', 'neutron-common neutron/configure_db',
  'neutron-server neutron/register-endpoint', 'neutron-api neutron/register-endpoint', 'placement-common placement/configure_db', 'placement-api placement/register-endpoint']
  .map((question) => `${question} boolean false\n`).join('');

const wanted = () => lists.map((list) => join(root, list)).filter((list) => existsSync(list))
  .flatMap((list) => readFileSync(list, 'utf8').split('\n').map((line) => line.replace(/#.*/, '').trim()).filter((line) => line !== ''));

/** Names that are not installed; one read of dpkg's own status file, no command. */
function missing(names) {
  const installed = new Set();
  for (const stanza of readFileSync('/var/lib/dpkg/status', 'utf8').split('\n\n')) {
    if (!/^Status: \S+ \S+ installed$/m.test(stanza)) continue;
    installed.add(/^Package: (\S+)$/m.exec(stanza)?.[1]);
    for (const provided of (/^Provides: (.+)$/m.exec(stanza)?.[1] ?? '').split(',')) installed.add(provided.trim().split(' ')[0]);
  }
  return [...new Set(names)].filter((name) => !installed.has(name));
}

/** True if every package is there. */
export const packagesPresent = () => existsSync('/var/lib/dpkg/status') && missing(wanted()).length === 0;

export async function installPackages(note = () => {}) {
  if (!existsSync('/usr/bin/apt-get')) throw new Error('The lab is made of Debian packages, and this machine has no apt-get. Debian 12 is what it is tested on.');
  const names = missing(wanted());
  if (names.length === 0) return;
  const hasPolicy = existsSync(policy);
  if (!hasPolicy) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
  const apt = (...args) => run(['apt-get', '-y', '-o', 'Acquire::Retries=3', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Dpkg::Use-Pty=0', ...args], { note, env });
  try {
    await run(['debconf-set-selections'], { input: answers, env });
    await withRetries(4, note, () => apt('update'));
    const install = ['install', '--no-install-recommends', '-o', 'Dpkg::Options::=--force-confold', '-o', 'Dpkg::Options::=--force-unsafe-io'];
    await withRetries(5, note, () => apt(...install, '--download-only', ...names));
    await withRetries(2, note, async () => {
      await run(['dpkg', '--configure', '-a'], { note, env });
      await apt(...install, ...names);
    });
  } finally {
    if (!hasPolicy) rmSync(policy, { force: true });
  }
  const left = missing(wanted());
  if (left.length > 0) throw new Error(`not installed, though apt-get did not complain: ${left.join(' ')}`);
}
