#!/usr/bin/env -S node --max-semi-space-size=4 --optimize-for-size
/**
 * The program `nova-bhyve`. It is started often and runs for months beside guests that pay for the memory, so it holds little:
 *  - the young generation of the heap is small: this process makes few objects that die, and V8 would let them lie in 48 MiB (with less than this it collects all the time under load);
 *  - V8 collects before it grows: after a burst of requests the heap would stay half as large again;
 *  - what is not in use is not loaded: the commands' code by a service, and fetch by anybody (axios looks whether there is one, which loads
 *    half a megabyte of WebAssembly; our requests go through node:http).
 */
import { readFileSync } from 'node:fs';
import { createCli } from './cli/index.js';

for (const name of ['fetch', 'Request', 'Response', 'Headers', 'FormData']) Reflect.deleteProperty(globalThis, name);

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
const cli = createCli({
  run: async (location) => (await import('./run-service.js')).runService(location),
  open: async (config) => (await import('./node-view.js')).openNodeView(config),
  version,
}, {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
});
process.exitCode = await cli.main(process.argv.slice(2));
