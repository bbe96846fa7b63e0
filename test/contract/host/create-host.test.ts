/** The real host on whatever system the tests run on: commands, files and processes with ordinary programs as tools. */
import { execFileSync } from 'node:child_process';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createHost, type Host } from '../../../src/host/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import { codeOf, type AgentError } from '../../../src/lib/errors.js';

let folder: string;
let host: Host;
const metrics = { count: () => undefined, gauge: () => undefined, observe: () => undefined };

/** `sh` is found as itself; `sysctl` and `dd` are small scripts made here. */
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'host-test-'));
  await mkdir(join(folder, 'bin'));
  host = createHost({ deviceRoot: '/dev', path: `relative:${join(folder, 'bin')}:/bin:/usr/bin`, clock: systemClock, log: pino({ level: 'silent' }), metrics });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const sh = (script: string, options: Parameters<Host['run']>[2] = {}) => host.run('sh', ['-c', script], options);
const failure = async (work: Promise<unknown>): Promise<AgentError> => work.then(() => expect.fail('should have failed'), (error: AgentError) => error);
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(execFileSync('cat', [`/proc/${pid}/status`], { stdio: 'pipe' }).toString());
  } catch {
    return false;
  }
};
async function until(condition: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
  const end = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > end) expect.fail('the state did not come');
    await systemClock.sleep(10);
  }
}

async function* chunks(count: number, bytes: number, onTaken: () => void = () => undefined): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index += 1) {
    onTaken();
    yield new Uint8Array(bytes).fill(index);
  }
}

describe('a command', () => {
  test('gives its output and exit code', async () => {
    expect(await sh('echo out; echo err >&2')).toEqual({ code: 0, stdout: 'out\n', stderr: 'err\n' });
    expect((await sh('exit 3', { okExits: [3] })).code).toBe(3);
    expect((await sh('exit 9', { okExits: 'any' })).code).toBe(9);
  });

  test('that fails says with which code and the end of its stderr', async () => {
    const error = await failure(sh('i=0; while [ $i -lt 300 ]; do echo line $i of a long text >&2; i=$((i+1)); done; exit 4', { okExits: [3] }));
    expect(error.code).toBe('command-failed');
    expect(error.details).toMatchObject({ tool: 'sh', code: 4 });
    expect(String(error.details['stderr'])).toMatch(/line 299 of a long text$/);
    expect(String(error.details['stderr']).length).toBeLessThanOrEqual(1000);
  });

  test('sees nothing of our environment but PATH, locale and HOME', async () => {
    process.env['OS_PASSWORD_OF_TEST'] = 'secret';
    const { stdout } = await host.run('sh', ['-c', 'env']);
    const names = stdout.split('\n').map((line) => line.split('=')[0]).filter((name) => !['', 'PWD', 'SHLVL', '_', 'OLDPWD'].includes(name!)).sort();
    expect(names).toEqual(['HOME', 'LC_ALL', 'PATH']);
    delete process.env['OS_PASSWORD_OF_TEST'];
  });

  test('takes its arguments as they are, without a shell', async () => {
    expect((await host.run('sh', ['-c', 'printf %s "$1"', 'x', '$(id); `id` * \' "'])).stdout).toBe('$(id); `id` * \' "');
  });

  test('past its time is killed with all that it started', async () => {
    const pidFile = join(folder, 'pids');
    const error = await failure(sh(`sleep 60 & echo $! $$ > ${pidFile}; wait`, { timeoutMs: 300 }));
    expect(error.code).toBe('command-timeout');
    const pids = (await readFile(pidFile, 'utf8')).trim().split(' ').map(Number);
    await until(() => pids.every((pid) => !isAlive(pid)));
  });

  test('that prints without end is ended', async () => {
    const error = await failure(sh('while :; do echo yyyyyyyyyyyyyyyyyyyy; done', { maxOutputBytes: 10_000 }));
    expect(error.code).toBe('command-output-too-large');
  });

  test('ends with the reason of its signal when aborted, before and while it runs', async () => {
    const reason = new Error('enough');
    expect(await failure(sh('sleep 60', { signal: AbortSignal.abort(reason) }))).toBe(reason);
    const controller = new AbortController();
    const running = failure(sh('sleep 60', { signal: controller.signal }));
    controller.abort(reason);
    expect(await running).toBe(reason);
  });

  test('that leaves a daemon with our pipes behind still answers, and the daemon lives', async () => {
    const { stdout } = await sh('setsid sleep 30 & echo $!');
    const pid = Number(stdout);
    expect(isAlive(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
  }, 15_000);

  test('that this host does not have is named', async () => {
    const error = await failure(host.run('bhyve', []));
    expect([error.code, error.details['tool']]).toEqual(['command-missing', 'bhyve']);
    expect(host.toolPath('bhyve')).toBeUndefined();
    expect(host.toolPath('sh')).toMatch(/^\/.*\/sh$/);
  });

  test('that cannot be started although it was found is missing too', async () => {
    const file = join(folder, 'bin', 'zpool');
    await writeFile(file, '#!/nonexistent\n', { mode: 0o755 });
    const other = createHost({ deviceRoot: '/dev', path: join(folder, 'bin'), clock: systemClock, log: pino({ level: 'silent' }), metrics });
    expect((await failure(other.run('zpool', []))).code).toBe('command-missing');
  });
});

describe('a command with streamed input', () => {
  const size = 1024 * 1024;

  test('reads every octet in order', async () => {
    const { stdout } = await host.runWithInput('sh', ['-c', 'wc -c'], chunks(5, size));
    expect(Number(stdout)).toBe(5 * size);
    expect((await host.run('sh', ['-c', 'cat'], { stdin: 'given' })).stdout).toBe('given');
  });

  test('is not read ahead of the command', async () => {
    let taken = 0;
    const error = await failure(host.runWithInput('sh', ['-c', 'sleep 60'], chunks(1000, size, () => { taken += 1; }), { timeoutMs: 500 }));
    expect(error.code).toBe('command-timeout');
    expect(taken).toBeLessThan(5);
  });

  test('that stops reading early is judged by its exit, and the source is left', async () => {
    let isEnded = false;
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield new Uint8Array(size);
      } finally {
        isEnded = true;
      }
    }
    expect((await failure(host.runWithInput('sh', ['-c', 'exit 5'], endless()))).details['code']).toBe(5);
    await until(() => isEnded);
  });

  test('whose source fails is killed and gives the error of the source', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
      throw new Error('download broke');
    }
    expect((await failure(host.runWithInput('sh', ['-c', `cat; touch ${join(folder, 'went-on')}`], broken()))).message).toBe('download broke');
    expect(await host.files.exists(join(folder, 'went-on'))).toBe(false);
  });

  test('whose source hangs ends at the time limit', async () => {
    const silent: AsyncIterable<Uint8Array> = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }) };
    expect((await failure(host.runWithInput('sh', ['-c', 'cat'], silent, { timeoutMs: 200 }))).code).toBe('command-timeout');
  });
});

describe('files', () => {
  const at = (...parts: string[]): string => join(folder, ...parts);

  test('are replaced whole, with the wished mode and nothing left beside them', async () => {
    await host.files.makeDirectory(at('d', 'e'));
    await host.files.writeAtomic(at('d', 'e', 'f'), 'one');
    await host.files.writeAtomic(at('d', 'e', 'f'), 'two', 0o640);
    expect(await host.files.readText(at('d', 'e', 'f'))).toBe('two');
    expect((await stat(at('d', 'e', 'f'))).mode & 0o777).toBe(0o640);
    expect((await stat(at('d', 'e'))).mode & 0o777).toBe(0o700);
    expect(await readdir(at('d', 'e'))).toEqual(['f']);
  });

  test('that cannot be written say which and why, and leave nothing', async () => {
    await host.files.makeDirectory(at('d', 'f', 'x'));
    const error = await failure(host.files.writeAtomic(at('d', 'f'), 'content'));
    expect([error.code, error.details['path']]).toEqual(['file-failed', at('d', 'f')]);
    expect(await readdir(at('d'))).toEqual(['f']);
    expect((await failure(host.files.writeAtomic(at('no', 'such'), ''))).details['errno']).toBe('ENOENT');
  });

  test('are created once by exactly one of many', async () => {
    const results = await Promise.all(Array.from({ length: 8 }, (_, index) => host.files.createExclusive(at('once'), String(index))));
    expect(results.filter(Boolean)).toHaveLength(1);
    expect(await host.files.readText(at('once'))).toBe(String(results.indexOf(true)));
    expect((await readdir(folder)).sort()).toEqual(['bin', 'once']);
  });

  test('that do not exist are undefined, absent, empty', async () => {
    expect(await host.files.readText(at('none'))).toBeUndefined();
    expect(await host.files.readTail(at('none'), 5)).toBeUndefined();
    expect(await host.files.sizeBytes(at('none'))).toBeUndefined();
    expect(await host.files.exists(at('none'))).toBe(false);
    expect(await host.files.list(at('none'))).toEqual([]);
    await host.files.remove(at('none'), folder);
    await host.files.remove(at('none', 'deeper'), folder);
  });

  test('are read to a limit and from the end', async () => {
    await writeFile(at('f'), 'x'.repeat(100_000) + 'end');
    expect((await failure(host.files.readText(at('f'), 100_002))).code).toBe('file-too-large');
    expect(await host.files.readText(at('f'), 100_003)).toHaveLength(100_003);
    expect(Buffer.from((await host.files.readTail(at('f'), 5))!).toString()).toBe('xxend');
    expect((await host.files.readTail(at('f'), 500_000))!.length).toBe(100_003);
    expect(await host.files.sizeBytes(at('f'))).toBe(100_003n);
  });

  test('are removed only below their root and never through a link', async () => {
    await host.files.makeDirectory(at('root', 'inner'));
    await host.files.makeDirectory(at('outside'));
    await writeFile(at('outside', 'precious'), '');
    await symlink(at('outside'), at('root', 'link'));
    for (const path of [at('outside', 'precious'), at('root'), at('root', '..', 'outside'), '/', at('root', 'link', 'precious')]) {
      await expect(host.files.remove(path, at('root')), path).rejects.toThrow();
    }
    await host.files.remove(at('root', 'link'), at('root'));
    await host.files.remove(at('root', 'inner'), at('root'));
    expect(await readdir(at('root'))).toEqual([]);
    expect(await readdir(at('outside'))).toEqual(['precious']);
  });

  test('of others are brought to the disk, and the room that is left is a number', async () => {
    await host.files.writeAtomic(at('f'), 'text');
    await host.files.sync(at('f'));
    expect(await host.files.readText(at('f'))).toBe('text');
    await expect(host.files.sync(at('none'))).rejects.toMatchObject({ code: 'file-failed' });
    expect(await host.files.freeBytes(at(''))).toBeGreaterThan(0n);
    await expect(host.files.freeBytes(at('none'))).rejects.toMatchObject({ code: 'file-failed' });
  });

  test('are moved, copied and cut', async () => {
    await writeFile(at('a'), '0123456789');
    await host.files.copy(at('a'), at('b'), 0o644);
    await host.files.rename(at('b'), at('c'));
    await host.files.truncate(at('c'), 4);
    expect([await host.files.readText(at('c')), await host.files.readText(at('a'))]).toEqual(['0123', '0123456789']);
    expect((await readdir(folder)).sort()).toEqual(['a', 'bin', 'c']);
  });

  test('have further names that outlive the first, and never take the place of another file', async () => {
    await writeFile(at('a'), 'content');
    await host.files.link(at('a'), at('b'));
    await expect(host.files.link(at('a'), at('b'))).rejects.toMatchObject({ code: 'file-failed', details: { errno: 'EEXIST' } });
    await host.files.writeAtomic(at('a'), 'another');
    await host.files.remove(at('a'), folder);
    expect(await host.files.readText(at('b'))).toBe('content');
  });

  test('are downloaded through a sink that keeps or removes', async () => {
    await writeFile(at('kept'), 'an older and longer content');
    const kept = await host.files.openSink(at('kept'));
    await kept.write(Buffer.from('ab'));
    await kept.write(Buffer.from('cd'));
    await kept.commit();
    expect(await host.files.readText(at('kept'))).toBe('abcd');
    await expect(kept.abort()).rejects.toThrow();
    const dropped = await host.files.openSink(at('dropped'));
    await dropped.write(Buffer.from('ab'));
    await dropped.abort();
    expect(await host.files.exists(at('dropped'))).toBe(false);
    await symlink(at('kept'), at('link'));
    expect((await failure(host.files.openSink(at('link')))).details['errno']).toBe('ELOOP');
  });

  test('are streamed whole or by range', async () => {
    await writeFile(at('f'), '0123456789');
    const read = async (range?: { start: bigint; end: bigint }): Promise<string> => {
      const parts: Uint8Array[] = [];
      for await (const part of host.files.openSource(at('f'), range)) parts.push(part);
      return Buffer.concat(parts).toString();
    };
    expect(await read()).toBe('0123456789');
    expect(await read({ start: 3n, end: 6n })).toBe('345');
    expect(await read({ start: 8n, end: 60n })).toBe('89');
    expect(await read({ start: 5n, end: 5n })).toBe('');
  });
});

describe('processes', () => {
  /** This system's ps knows the same columns by the same names, but other widths and no time fraction. */
  test('are listed and found with start time and title', async () => {
    const self = await host.processes.find(process.pid);
    expect(self).toMatchObject({ pid: process.pid, parentPid: process.ppid });
    const expected = Date.now() / 1000 - process.uptime();
    expect(Math.abs(self!.startedAtSeconds - expected)).toBeLessThan(30);
    expect((await host.processes.list()).some((info) => info.pid === process.pid)).toBe(true);
    expect(await host.processes.find(4_194_304 * 2)).toBeUndefined();
    expect(await host.processes.find(-1)).toBeUndefined();
  });

  test('started detached live in a session of their own, with output to a file, until signalled by proof', async () => {
    const output = join(folder, 'out');
    const pid = await host.processes.spawnDetached('sh', ['-c', 'echo started; echo err >&2; exec sleep 4242'], { cwd: folder, stdoutPath: output });
    await until(async () => (await host.processes.find(pid))?.command === 'sleep 4242');
    const info = (await host.processes.find(pid))!;
    expect(await readFile(output, 'utf8')).toBe('started\nerr\n');
    const proof = { pid, startedAtSeconds: info.startedAtSeconds, command: 'sleep 4242' };
    expect(await host.processes.signal({ ...proof, command: 'sleep 424' }, 'SIGKILL')).toBe(false);
    expect(await host.processes.signal({ ...proof, startedAtSeconds: proof.startedAtSeconds - 100 }, 'SIGKILL')).toBe(false);
    expect(await host.processes.signal({ ...proof, pid: process.pid }, 'SIGKILL')).toBe(false);
    expect(isAlive(pid)).toBe(true);
    expect(await host.processes.signal({ ...proof, command: /^sleep \d+$/ }, 'SIGKILL')).toBe(true);
    await until(() => !isAlive(pid));
    expect(await host.processes.signal(proof, 'SIGKILL')).toBe(false);
  });

  test('that cannot be started detached are an error, not a pid', async () => {
    await expect(host.processes.spawnDetached('bhyve', [], { cwd: folder })).rejects.toThrow();
    expect(codeOf(await failure(host.processes.spawnDetached('sh', [], { cwd: join(folder, 'none') })))).toBe('command-missing');
  });
});

describe('sysctl', () => {
  async function withSysctl(script: string): Promise<Host> {
    await writeFile(join(folder, 'bin', 'sysctl'), `#!/bin/sh\n${script}\n`);
    await chmod(join(folder, 'bin', 'sysctl'), 0o755);
    expect((await lstat(join(folder, 'bin', 'sysctl'))).isFile()).toBe(true);
    return createHost({ deviceRoot: '/dev', path: `${join(folder, 'bin')}:/bin:/usr/bin`, clock: systemClock, log: pino({ level: 'silent' }), metrics });
  }

  test('gives text without the line end, or undefined for an unknown name', async () => {
    const known = await withSysctl('[ "$1" = -n ] && [ "$2" = hw.ncpu ] && echo 2 && exit 0; echo "sysctl: unknown oid \'$2\'" >&2; exit 1');
    expect(await known.sysctl('hw.ncpu')).toBe('2');
    expect(await known.sysctl('no.such.thing')).toBeUndefined();
  });

  test('that fails otherwise is an error', async () => {
    const denied = await withSysctl('echo "sysctl: kern.x: Operation not permitted" >&2; exit 1');
    expect((await failure(denied.sysctl('kern.x'))).code).toBe('command-failed');
  });
});
