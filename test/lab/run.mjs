/**
 * `npm run lab`: from a bare Debian machine with Node to a running server in an OpenStack of one's own.
 *
 *   npm run lab                        bring everything up, boot a server, show it
 *   npm run lab -- --profile stock-15  the node behaves as that FreeBSD
 *   npm run lab -- status              what runs
 *   npm run lab -- down [--wipe]       stop all of it; --wipe forgets databases and images too
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../setup/paths.mjs';
import { prepare, whyNot } from '../setup/prepare.mjs';
import { createProgress } from '../setup/progress.mjs';

const usage = 'usage: npm run lab -- [up] [--profile NAME] | status | down [--wipe]';
const command = () => import(join(root, 'dist/test/cloud/support/lab-command.js'));

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { profile: { type: 'string' }, wipe: { type: 'boolean' }, help: { type: 'boolean' } } });
  const what = positionals[0] ?? 'up';
  if (values.help === true || positionals.length > 1 || !['up', 'status', 'down'].includes(what)) {
    console.log(usage);
    return values.help === true ? 0 : 2;
  }
  const reason = whyNot('npm run lab');
  if (reason !== null) {
    console.error(reason);
    return 2;
  }
  const progress = createProgress();
  if (what !== 'up') {
    if (!existsSync(join(root, 'dist/test/cloud/support/lab-command.js'))) await prepare(progress);
    const lab = await command();
    if (what === 'status') return lab.status(progress) ? 0 : 1;
    await lab.down(progress, { wipe: values.wipe === true });
    return 0;
  }
  await prepare(progress);
  await (await command()).up(progress, values);
  return 0;
}

main().then((code) => { process.exitCode = code; }, (err) => {
  console.error(`\n${err instanceof Error ? err.message : String(err)}`);
  process.exitCode = err?.code?.startsWith?.('ERR_PARSE_ARGS') ? 2 : 1;
});
