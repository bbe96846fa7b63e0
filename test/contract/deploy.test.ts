import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { defaultConfigFile, loadConfig } from '../../src/config/index.js';
import { journalFormat } from '../../src/journal/records.js';
import { LAYOUT } from '../../src/storage/marks.js';
import { instanceLayout } from '../../src/virt/bhyve/machine-spec.js';

const root = resolve(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const service = read('deploy/rc.d/nova_bhyve');

/** Runs the service script on a stand-in of rc.subr that does what run_rc_command would, and prints what it would execute. */
function runService(command: string, settings = ''): string {
  const subr = [
    'load_rc_config() { :; }', 'err() { shift; echo "ERR $*"; exit 1; }', 'load_kld() { echo "kld $1"; }', 'install() { echo "install $*"; }',
    'run_rc_command() { case "$1" in start) $start_precmd && eval "show $command $command_args" ;; check) nova_bhyve_program="show $nova_bhyve_program"; $check_cmd ;; esac; }',
    'show() { echo RUN; for word in "$@"; do echo "<$word>"; done; }', settings,
  ].join('\n');
  const script = service.replace('. /etc/rc.subr', subr);
  return execFileSync('sh', ['-s', command], { input: `set -- ${command}\n${script}`, encoding: 'utf8', stdio: ['pipe', 'pipe', 'inherit'] });
}

describe('the service script', () => {
  test('is plain sh, for the base system', () => {
    for (const path of ['deploy/rc.d/nova_bhyve', 'deploy/pkg/make-package']) {
      expect(read(path).startsWith('#!/bin/sh\n')).toBe(true);
      execFileSync('sh', ['-n', join(root, path)]);
    }
  });

  test('starts the program under daemon(8) with every configuration file, after modules and folders', () => {
    const out = runService('start', 'nova_bhyve_config="/etc/passwd /etc/hosts"');
    expect(out.indexOf('kld vmm')).toBeLessThan(out.indexOf('RUN'));
    expect(out).toContain('install -d -o root -g wheel -m 0755 /var/run/nova-bhyve');
    expect(out).toContain('RUN\n</usr/sbin/daemon>\n<-P>\n</var/run/nova-bhyve/daemon.pid>\n');
    expect(out).toContain('</usr/local/bin/nova-bhyve>\n<run>\n<--config-file>\n</etc/passwd>\n<--config-file>\n</etc/hosts>\n');
  });

  test('checks what it would start', () => {
    expect(runService('check', 'nova_bhyve_config=/etc/passwd')).toBe('RUN\n</usr/local/bin/nova-bhyve>\n<check>\n<--config-file>\n</etc/passwd>\n');
  });

  test('refuses to start without its configuration, and says where an example is', () => {
    expect(() => runService('start', 'nova_bhyve_config=/nonexistent')).toThrow();
  });

  test('uses the file that the program reads when it is told none', () => {
    expect(service).toContain(`nova_bhyve_config:=${defaultConfigFile}}`);
  });
});

test('newsyslog signals the process that holds the log open, and rotates the file that it writes', () => {
  const [logFile, pidFile] = [/nova_bhyve_log:=(\S+)}/.exec(service)![1]!, `${/run_dir=(\S+)/.exec(service)![1]!}/daemon.pid`];
  const fields = read('deploy/newsyslog.conf.d/nova-bhyve.conf').split('\n').find((line) => line.startsWith('/'))!.split(/\s+/);
  expect(fields).toHaveLength(9);
  expect([fields[0], fields[7], fields[8]]).toEqual([logFile, pidFile, '1']);
  expect(service).toContain('-H -o ${nova_bhyve_log} ');
});

test('the package links the program that package.json names, which is where the build puts it', () => {
  const { bin } = JSON.parse(read('package.json')) as { bin: Record<string, string> };
  expect(read('deploy/pkg/make-package')).toContain(`ln -s ../lib/nova-bhyve/${bin['nova-bhyve']!} "$stage/usr/local/bin/nova-bhyve"\n`);
  expect(bin['nova-bhyve']).toBe('dist/bin/nova-bhyve.js');
  expect(read('.config/rolldown.config.js')).toMatch(/input: \{ 'nova-bhyve': 'dist\/src\/main\.js' \}[^]*dir: 'dist\/bin'/);
});

test('the manifest has the places that make-package fills in, and nothing else to fill in', () => {
  const manifest = read('deploy/pkg/manifest.ucl');
  expect([...new Set([...manifest.matchAll(/%[A-Z]+%/g)].map(([place]) => place))].sort()).toEqual(['%NODE%', '%VERSION%']);
  expect(manifest).toContain('/usr/local/etc/nova-bhyve');
});

test('what the operator reads about versions on the disk is what the code writes', () => {
  const page = read('deploy/README.md');
  const number = (what: string): string => new RegExp(`^\\| ${what} \\|[^|]*\\| (\\d+) \\|`, 'm').exec(page)![1]!;
  expect(number('journal format')).toBe(String(journalFormat));
  expect(number('instance layout')).toBe(String(instanceLayout));
  expect(number('dataset layout')).toBe(String(LAYOUT));
  const { version } = JSON.parse(read('package.json')) as { version: string };
  expect(page).toContain(`### ${version}\n`);
});

test('the smallest configuration that the pages show is one that works', () => {
  for (const page of ['config/README.md', 'README.md']) {
    const blocks = [...read(page).matchAll(/(?:^ {4}.*\n|^\n)+/gm)].map(([block]) => block.replaceAll(/^ {4}/gm, '').trim());
    const smallest = blocks.find((block) => block.includes('[DEFAULT]') && block.includes('[placement]'))!;
    expect(smallest, page).toBeDefined();
    const login = 'auth_type=password\nauth_url=http://c\nusername=u\npassword=p\n';
    const completed = smallest.includes('[neutron]\n') ? smallest : `${smallest}\n[neutron]\n${login}`;
    const path = join(root, 'node_modules/.smallest.conf');
    execFileSync('sh', ['-c', `cat > "$0"`, path], { input: completed });
    expect(loadConfig({ files: [path], env: {} }).warnings, page).toEqual([]);
    execFileSync('rm', [path]);
  }
});
