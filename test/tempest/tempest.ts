/**
 * Debian's Tempest against the lab: configured from what the lab and the agent really have, run inside the node's network namespace so that its SSH
 * reaches the guests at their fixed addresses, while forwarders bring the control plane's ports there.
 */
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { daemonEnv, ports, renderIni } from '../cloud/control-plane/index.js';
import type { LabSession } from '../cloud/support/lab-session.js';
import { tempestConfiguration } from './configuration.js';
import { askAgent, featuresOf, type Features } from './features.js';
import { forwardInto } from './forward.js';
import { createReader, nameOf, type Verdict } from './verdicts.js';

/** What is measured; the rest of Tempest asks other services. */
export const defaultPattern = String.raw`^tempest\.api\.compute\.`;
const program = '/usr/bin/tempest';
const sources = '/usr/lib/python3/dist-packages/tempest';
const forwarded = [ports.keystone, ports.glance, ports.placement, ports.neutron, ports.nova, ports.novncproxy];

export interface Tempest {
  readonly folder: string;
  readonly features: Features;
  /** Names of tests, in Tempest's order. */
  list(pattern: string): Promise<string[]>;
  /** Runs these, `workers` at a time; `onVerdict` hears of each as it ends. What was printed is in FOLDER/output.log. */
  run(tests: readonly string[], workers: number, onVerdict?: (verdict: Verdict) => void): Promise<Verdict[]>;
}

/** Writes the configuration for `lab`. */
export async function prepareTempest(lab: LabSession): Promise<Tempest> {
  const folder = join(lab.plane.layout.root, 'tempest');
  rmSync(folder, { recursive: true, force: true });
  for (const name of ['etc', 'logs', 'tempest_lock']) mkdirSync(join(folder, name), { recursive: true });
  const features = featuresOf(await askAgent());
  const configuration = join(folder, 'etc/tempest.conf');
  writeFileSync(configuration, renderIni(await tempestConfiguration(lab, folder, features.flags)), { mode: 0o600 });
  writeFileSync(join(folder, '.stestr.conf'), renderIni({ DEFAULT: { test_path: join(sources, 'test_discover'), top_dir: sources, group_regex: String.raw`([^\.]*\.)*` } }));
  const env = { ...daemonEnv, PYTHON: '/usr/bin/python3', TEMPEST_CONFIG_DIR: join(folder, 'etc'), TEMPEST_CONFIG: 'tempest.conf' };

  const start = (argv: readonly string[], onLine: (text: string) => void): Promise<number> => new Promise((done, failed) => {
    // A group of its own: it has workers, which must not outlive us.
    const child = spawn('/usr/bin/nsenter', [`--net=/run/netns/${lab.node.netns}`, ...argv], { cwd: folder, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const stop = (signal: NodeJS.Signals): void => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      process.exitCode = 1;
      failed(new Error(`ended by ${signal}`));
    };
    const signals = ['SIGINT', 'SIGTERM'] as const;
    for (const signal of signals) process.once(signal, stop);
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', onLine);
    child.once('error', failed);
    child.once('close', (code) => {
      for (const signal of signals) process.removeListener(signal, stop);
      done(code ?? 1);
    });
  });

  await start(['/usr/bin/stestr', 'init'], () => undefined);

  async function list(pattern: string): Promise<string[]> {
    const lines: string[] = [];
    const code = await start([program, 'run', '--config-file', configuration, '--list-tests', '--regex', pattern], (text) => lines.push(text));
    const tests = lines.filter((text) => text.startsWith('tempest.')).map(nameOf);
    if (code !== 0 && tests.length === 0) throw new Error(`Tempest cannot list its tests:\n${lines.slice(-20).join('\n')}`);
    return tests.sort();
  }

  async function run(tests: readonly string[], workers: number, onVerdict: (verdict: Verdict) => void = () => undefined): Promise<Verdict[]> {
    const reader = createReader(tests);
    writeFileSync(join(folder, 'tests'), tests.map((test) => `^${test.replaceAll('.', '\\.')}(\\[|$)\n`).join(''));
    const log = createWriteStream(join(folder, 'output.log'), { flags: 'a' });
    const forwarding = await forwardInto(lab.node.netns, folder, forwarded);
    try {
      await start([program, 'run', '--config-file', configuration, '--include-list', 'tests', '--concurrency', String(workers)], (text) => {
        log.write(`${text}\n`);
        const verdict = reader.read(text);
        if (verdict !== null) onVerdict(verdict);
      });
    } finally {
      await forwarding.stop();
      log.end();
    }
    return reader.verdicts();
  }

  return { folder, features, list, run };
}
