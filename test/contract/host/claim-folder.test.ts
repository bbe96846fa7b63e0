import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { claimFolder } from '../../../src/host/index.js';

let folder = '';
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'claim-')); });
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A process that listens where an agent would, and is killed: its socket stays behind. */
async function leaveStaleSocket(): Promise<void> {
  const path = join(folder, 'agent-1-abc.sock');
  const child = spawn(process.execPath, ['-e', `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('listening'))`], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
  expect(existsSync(path)).toBe(true);
}

test('a folder that a living process holds is refused with its pid, and free again when it lets go', async () => {
  const claim = await claimFolder(folder);
  await expect(claimFolder(folder)).rejects.toMatchObject({ code: 'already-running', message: expect.stringContaining(`pid ${process.pid}`) as string });
  await claim.release();
  await (await claimFolder(folder)).release();
});

test('what a killed process left does not keep the next one out', async () => {
  await leaveStaleSocket();
  const claim = await claimFolder(folder);
  await expect(claimFolder(folder)).rejects.toMatchObject({ code: 'already-running' });
  await claim.release();
  expect(readdirSync(folder)).toEqual([]);
});

test('of several that start at the same moment beside a stale claim never two get the folder', async () => {
  await leaveStaleSocket();
  const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => claimFolder(folder)));
  const claims = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  expect(claims.length).toBeLessThan(2);
  for (const claim of claims) await claim.release();
  await (await claimFolder(folder)).release();
});

test('a path that no socket can have is refused with the reason', async () => {
  await expect(claimFolder(join(folder, 'x'.repeat(100)))).rejects.toMatchObject({ code: 'state-path-too-long' });
});
