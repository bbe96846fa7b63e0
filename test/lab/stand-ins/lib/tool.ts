/** How a stand-in ends: it throws `Exit`, and `runTool` turns that into output and exit code. */
import { writeSync } from 'node:fs';

export class Exit extends Error {
  constructor(
    readonly code: number,
    readonly stderr = '',
    readonly stdout = '',
  ) {
    super(`exit ${code}`);
  }
}

/** Writes all of it, also into a full pipe (Node's own stdout is asynchronous for pipes and would be cut by process.exit). */
export function writeAll(fd: 1 | 2, text: string | Uint8Array): void {
  let rest = typeof text === 'string' ? Buffer.from(text) : text;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(141);
        throw error;
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

export const out = (text: string): void => {
  writeAll(1, text);
};
export const err = (text: string): void => {
  writeAll(2, text);
};

/** Runs a stand-in's body with its arguments; the number it returns is the exit code. */
export function runTool(body: (args: string[]) => number | Promise<number>): void {
  const finish = (code: number): void => {
    process.exit(code);
  };
  const fail = (error: unknown): void => {
    if (error instanceof Exit) {
      out(error.stdout);
      err(error.stderr);
      finish(error.code);
      return;
    }
    err(`stand-in failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    finish(70);
  };
  try {
    const result = body(process.argv.slice(2));
    if (typeof result === 'number') finish(result);
    else result.then(finish, fail);
  } catch (error) {
    fail(error);
  }
}

/** FreeBSD's getopt(3): options before the first operand, `--` ends them. `spec` as in C, e.g. `c:hr`. */
export function getopt(
  args: readonly string[], spec: string,
): { options: { flag: string; value: string }[]; operands: string[]; bad?: { kind: 'illegal' | 'argument'; flag: string } } {
  const options: { flag: string; value: string }[] = [];
  let index = 0;
  for (; index < args.length; index++) {
    const arg = args[index]!;
    if (arg === '--') {
      index++;
      break;
    }
    if (!arg.startsWith('-') || arg === '-') break;
    for (let at = 1; at < arg.length; at++) {
      const flag = arg[at]!;
      const place = flag === ':' ? -1 : spec.indexOf(flag);
      if (place < 0) return { options, operands: [], bad: { kind: 'illegal', flag } };
      if (spec[place + 1] !== ':') {
        options.push({ flag, value: '' });
        continue;
      }
      const rest = arg.slice(at + 1);
      const value = rest !== '' ? rest : args[++index];
      if (value === undefined) return { options, operands: [], bad: { kind: 'argument', flag } };
      options.push({ flag, value });
      break;
    }
  }
  return { options, operands: args.slice(index) };
}

/** The line that getopt prints for a bad option. */
export const getoptMessage = (tool: string, bad: { kind: 'illegal' | 'argument'; flag: string }): string =>
  bad.kind === 'illegal' ? `${tool}: illegal option -- ${bad.flag}\n` : `${tool}: option requires an argument -- ${bad.flag}\n`;

/** FreeBSD's strerror for the errors that a stand-in can meet. */
export function strerror(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const words: Readonly<Record<string, string>> = {
    ENOENT: 'No such file or directory', EBUSY: 'Device busy', EEXIST: 'File exists', EACCES: 'Permission denied', EINVAL: 'Invalid argument',
    EISDIR: 'Is a directory', ENOTDIR: 'Not a directory', ENOTTY: 'Inappropriate ioctl for device', EADDRINUSE: 'Address already in use',
    EADDRNOTAVAIL: "Can't assign requested address", EPERM: 'Operation not permitted', ENOSPC: 'No space left on device',
  };
  return words[code] ?? code;
}
