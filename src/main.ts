#!/usr/bin/env node
/** The program `nova-bhyve`. */
import { runService } from './run-service.js';

const files = process.argv.flatMap((argument, index, all) => (all[index - 1] === '--config-file' ? [argument] : []));
process.exitCode = await runService({ files });
