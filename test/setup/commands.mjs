/** Runs programs for the set-up: output kept, its last line shown as progress, its end shown on failure. */
import { spawn } from 'node:child_process';

const keptBytes = 200_000;

/**
 * Runs argv to its end. Gives its output; throws with the last lines of it when it fails or takes longer than `limitMs`.
 * `note` is called with each line of output.
 */
export async function run(argv, { note = () => {}, env = process.env, cwd, input, limitMs = 1_200_000, shown = 40 } = {}) {
  const child = spawn(argv[0], argv.slice(1), { env, cwd, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'], timeout: limitMs });
  let output = '';
  let line = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text) => {
      output = (output + text).slice(-keptBytes);
      const lines = (line + text).split(/[\r\n]+/);
      line = lines.pop();
      for (const one of lines) if (one.trim() !== '') note(one.trim(), { minor: true });
    });
  }
  if (input !== undefined) child.stdin.end(input);
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (...end) => resolve(end));
  });
  if (code === 0) return output;
  throw new Error(`${argv.join(' ').slice(0, 300)}\nended with ${signal === null ? `status ${code}` : `signal ${signal}`}:\n${output.trimEnd().split('\n').slice(-shown).join('\n')}`);
}

/** Repeats what may fail because of a download: waits 2, 4, 8 … seconds between attempts. */
export async function withRetries(attempts, note, work) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (err) {
      if (attempt === attempts) throw err;
      const pause = 2 ** attempt;
      note(`attempt ${attempt} of ${attempts} failed, again in ${pause} s: ${String(err.message).trimEnd().split('\n').at(-1)}`);
      await new Promise((resolve) => setTimeout(resolve, pause * 1000));
    }
  }
}
