#!/usr/bin/env node
/** The program `nova-bhyve`. */
import { readFileSync } from 'node:fs';
import { createCli } from './cli/index.js';
import { openNodeView } from './node-view.js';
import { runService } from './run-service.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
const cli = createCli({ run: runService, open: openNodeView, version }, {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
});
process.exitCode = await cli.main(process.argv.slice(2));
