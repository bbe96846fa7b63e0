/**
 * `npm run bench`: this agent beside Debian's nova-compute, on one control plane, as a table. See README.md here in test/.
 *
 *   npm run bench                       everything, medians of three rounds (about eight minutes)
 *   npm run bench -- --quick            one short round: a first look (about two)
 *   npm run bench -- --only ping        figures by name, or by the beginning of a name
 *   npm run bench -- --rounds 5 --json FILE
 *   npm run bench -- --keep             the control plane stays up for the next run
 */
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../setup/paths.mjs';
import { prepare, whyNot } from '../setup/prepare.mjs';
import { createProgress } from '../setup/progress.mjs';

const usage = 'usage: npm run bench -- [--quick] [--rounds N] [--only NAME] [--json FILE] [--keep]';

async function main() {
  // npm must not be outlived: who kills it means us. Whoever starts this file without npm may end first.
  const parent = process.env.npm_lifecycle_event === 'bench' ? process.ppid : null;
  const { values } = parseArgs({ options: {
    quick: { type: 'boolean' }, rounds: { type: 'string' }, only: { type: 'string' }, json: { type: 'string' }, keep: { type: 'boolean' }, help: { type: 'boolean' },
  } });
  const rounds = Number(values.rounds ?? (values.quick === true ? 1 : 3));
  if (values.help === true || !Number.isInteger(rounds) || rounds < 1) {
    console.log(usage);
    return values.help === true ? 0 : 2;
  }
  const reason = whyNot('npm run bench');
  if (reason !== null) {
    console.error(reason);
    return 2;
  }
  const progress = createProgress();
  await prepare(progress);
  const { bench } = await import(join(root, 'dist/test/bench/main.js'));
  const isGood = await bench(progress, { rounds, isQuick: values.quick === true, keepsCloud: values.keep === true, only: values.only ?? null,
    json: values.json === undefined ? null : resolve(values.json), parent });
  return isGood ? 0 : 1;
}

main().then((code) => { process.exitCode = code; }, (err) => {
  console.error(`\n${err instanceof Error ? err.message : String(err)}`);
  process.exitCode = err?.code?.startsWith?.('ERR_PARSE_ARGS') ? 2 : 1;
});
