/**
 * `npm run tempest`: OpenStack's own integration tests against this agent, in the lab.
 *
 *   npm run tempest                    tempest.api.compute
 *   npm run tempest -- REGEX           the tests whose name matches, say 'scenario' or 'ServerActionsTestJSON'
 *   npm run tempest -- --core          those that npm test runs
 *   npm run tempest -- --list [REGEX]  names only
 *   npm run tempest -- --workers 1     one test at a time (two is usual)
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../setup/paths.mjs';
import { prepare, whyNot } from '../setup/prepare.mjs';
import { createProgress } from '../setup/progress.mjs';

const usage = 'usage: npm run tempest -- [REGEX | --core] [--list] [--workers N]';

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: {
    core: { type: 'boolean' }, list: { type: 'boolean' }, workers: { type: 'string' }, help: { type: 'boolean' },
  } });
  const workers = Number(values.workers ?? 2);
  if (values.help === true || positionals.length > 1 || !Number.isInteger(workers) || workers < 1) {
    console.log(usage);
    return values.help === true ? 0 : 2;
  }
  const reason = whyNot('npm run tempest');
  if (reason !== null) {
    console.error(reason);
    return 2;
  }
  const progress = createProgress();
  await prepare(progress);
  const { tempest } = await import(join(root, 'dist/test/tempest/tempest-command.js'));
  return await tempest(progress, { pattern: positionals[0], core: values.core, list: values.list, workers }) ? 0 : 1;
}

main().then((code) => { process.exitCode = code; }, (err) => {
  console.error(`\n${err instanceof Error ? err.message : String(err)}`);
  process.exitCode = err?.code?.startsWith?.('ERR_PARSE_ARGS') ? 2 : 1;
});
