/**
 * `npm test`: everything that is needed, then everything that is tested.
 *
 *   npm test                 set-up, types, lint, every tier
 *   npm test -- unit sim     only these tiers (types and lint too; no packages for unit and sim)
 *   npm test -- --keep       leave the lab running that this run has started
 *
 * The last line is `N passed, N failed, N skipped`, over all tiers; a failed step (types, lint, a tier in which no test ran, a file that could not be loaded)
 * counts as one failed. The exit status is 0 only if nothing failed.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { run } from './setup/commands.mjs';
import { installModules, modulesFresh } from './setup/node-modules.mjs';
import { installPackages, packagesPresent } from './setup/packages.mjs';
import { root } from './setup/paths.mjs';
import { whyNot } from './setup/prepare.mjs';
import { createProgress } from './setup/progress.mjs';

const tiers = ['unit', 'contract', 'sim', 'lab', 'cloud', 'tempest'];
const cloudTiers = new Set(['cloud', 'tempest']);
const bareTiers = new Set(['unit', 'sim']);
const labRoot = process.env.NOVA_BHYVE_LAB ?? '/var/lib/nova-bhyve-lab';

const args = process.argv.slice(2);
const chosen = args.filter((arg) => !arg.startsWith('--'));
const unknown = [...chosen.filter((name) => !tiers.includes(name)), ...args.filter((arg) => arg.startsWith('--') && arg !== '--keep')];
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(' ')}; tiers are ${tiers.join(', ')}, the only option is --keep`);
  process.exit(2);
}
const wanted = chosen.length === 0 ? tiers : tiers.filter((name) => chosen.includes(name));
const isBare = wanted.every((name) => bareTiers.has(name));

const progress = createProgress();
const began = performance.now();
const report = mkdtempSync(join(tmpdir(), 'nova-bhyve-test-'));
const rows = [];
const failures = [];

const seconds = (from) => (performance.now() - from) / 1000;

/** A step that is not a test tier: its failure counts as one. */
async function step(name, work) {
  const from = performance.now();
  try {
    await progress.phase(name, work);
    return true;
  } catch (err) {
    progress.say(String(err.message));
    rows.push({ name, passed: 0, failed: 1, skipped: 0, seconds: seconds(from) });
    return false;
  }
}

/** Runs vitest with its output on this terminal and its verdict in a file. */
async function tier(name) {
  const from = performance.now();
  const verdict = join(report, `${name}.json`);
  progress.say(`\n── ${name} ${'─'.repeat(60 - name.length)}`);
  const child = spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--config', join(root, '.config/vitest.config.ts'), '--project', name, '--reporter=default', '--reporter=json', `--outputFile.json=${verdict}`],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, CI: process.env.CI ?? '1' } });
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (status) => resolve(status ?? 1));
  });
  const row = { name, ...countsOf(verdict), seconds: seconds(from) };
  failures.push(...failuresOf(verdict));
  if (row.passed + row.failed === 0) {
    progress.say(`no test of ${name} was executed`);
    row.failed = 1;
  }
  if (code !== 0 && row.failed === 0) row.failed = 1; // an error outside of any test
  rows.push(row);
  if (row.failed > 0 && (name === 'lab' || cloudTiers.has(name))) showLogs();
}

function countsOf(verdict) {
  if (!existsSync(verdict)) return { passed: 0, failed: 0, skipped: 0 };
  const result = JSON.parse(readFileSync(verdict, 'utf8'));
  const broken = result.testResults.filter((file) => file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed')).length;
  return { passed: result.numPassedTests, failed: result.numFailedTests + broken, skipped: result.numPendingTests + result.numTodoTests };
}

/** Every failed test of one tier, with its file and the first lines of its reason. */
function failuresOf(verdict) {
  if (!existsSync(verdict)) return [];
  return JSON.parse(readFileSync(verdict, 'utf8')).testResults.filter((file) => file.status === 'failed').flatMap((file) => {
    const tests = file.assertionResults.filter(({ status }) => status === 'failed');
    const found = tests.length > 0 ? tests : [{ fullName: '(the file itself)', failureMessages: [file.message] }];
    return found.map(({ fullName, failureMessages }) => ({ test: `${relative(root, file.name)} > ${fullName}`, reason: failureMessages.join('\n').split('\n').slice(0, 12) }));
  });
}

/** Repeats the failures after all logs: a CI that keeps only the end of a long output still says what failed. */
function showFailures() {
  for (const { test, reason } of failures.slice(0, 20)) {
    progress.say(`\nfailed: ${test}\n${reason.map((line) => `    ${line.slice(0, 400)}`).join('\n')}`);
  }
  if (failures.length > 20) progress.say(`\n… and ${String(failures.length - 20)} more, above`);
}

/** The trouble that the services wrote down, so that a failure in CI can be understood from its output alone. */
function showLogs() {
  const nodes = join(labRoot, 'nodes');
  const files = [
    ...(existsSync(join(labRoot, 'logs')) ? readdirSync(join(labRoot, 'logs')).map((name) => join(labRoot, 'logs', name)) : []),
    ...(existsSync(nodes) ? readdirSync(nodes).map((name) => join(nodes, name, 'log/agent.log')) : []),
  ].filter((file) => existsSync(file));
  for (const file of files) {
    const lines = readFileSync(file, 'utf8').split('\n').filter((line) => /ERROR|CRITICAL|Traceback|"level":[56]0|"level":"(error|fatal)"/.test(line)).slice(-12);
    if (lines.length > 0) progress.say(`\n--- ${file}\n${lines.map((line) => line.slice(0, 600)).join('\n')}`);
  }
}

function summary() {
  showFailures();
  progress.say(`\n${'step'.padEnd(18)}${'passed'.padStart(8)}${'failed'.padStart(8)}${'skipped'.padStart(9)}${'seconds'.padStart(10)}`);
  for (const row of rows) {
    progress.say(`${row.name.padEnd(18)}${String(row.passed).padStart(8)}${String(row.failed).padStart(8)}${String(row.skipped).padStart(9)}${row.seconds.toFixed(1).padStart(10)}`);
  }
  const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
  progress.say(`${'all of it'.padEnd(43)}${seconds(began).toFixed(1).padStart(10)}\n`);
  progress.say(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
  return sum('failed') === 0;
}

async function main() {
  const reason = isBare ? null : whyNot('npm test');
  if (reason !== null) {
    console.error(reason);
    return 2;
  }
  const hadCloud = existsSync(join(process.env.NOVA_BHYVE_LAB_RUN ?? '/run/nova-bhyve-lab', 'keystone.pid'));
  const isReady = (isBare || packagesPresent() || await step('Debian packages', installPackages))
    && (modulesFresh() || await step('npm ci', installModules));
  if (isReady) {
    await step('types and build', (note) => run(['npm', 'run', '--silent', 'build'], { note, cwd: root }));
    await step('lint', (note) => run(['npm', 'run', '--silent', 'lint'], { note, cwd: root }));
    for (const name of wanted) await tier(name);
  }
  const lab = join(root, 'test/lab/run.mjs');
  if (wanted.some((name) => cloudTiers.has(name)) && !hadCloud && !args.includes('--keep')) {
    await step('taking the lab down', (note) => run([process.execPath, lab, 'down'], { note, cwd: root }));
  }
  return summary() ? 0 : 1;
}

process.exitCode = await main().finally(() => rmSync(report, { recursive: true, force: true }));
