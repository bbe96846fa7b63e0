/**
 * What a person sees while something takes long: the phase, its seconds, and what it is doing. On a terminal one line that is redrawn;
 * elsewhere (CI) a line when a phase begins, one per note, one when it ends. Plain JavaScript without dependencies, because it runs before `npm ci`.
 */
const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/**
 * @returns an object with `phase(title, work)`: runs `work(note)`, shows it, gives its result; an error is shown as failed and thrown on.
 * `durations` holds what has ended: { title, seconds }.
 */
export function createProgress(out = process.stdout) {
  const isLive = out.isTTY === true;
  const durations = [];
  const seconds = (began) => ((performance.now() - began) / 1000).toFixed(1);

  async function phase(title, work) {
    const began = performance.now();
    let doing = '';
    let frame = 0;
    const draw = () => {
      const line = `${frames[frame++ % frames.length]} ${title}  ${Math.floor((performance.now() - began) / 1000)} s  ${doing}`;
      out.write(`\r\x1b[K${line.slice(0, (out.columns ?? 80) - 1)}`);
    };
    if (!isLive) out.write(`… ${title}\n`);
    const timer = isLive ? setInterval(draw, 100) : undefined;
    let noted = -Infinity;
    // Lines of a program's output are `minor`: in a log one of them now and then is enough.
    const note = (text, { minor = false } = {}) => {
      if (text === doing) return;
      doing = text;
      if (minor && performance.now() - noted < 10_000) return;
      noted = performance.now();
      if (!isLive) out.write(`    ${seconds(began).padStart(6)} s  ${text}\n`);
    };
    const end = (mark) => {
      clearInterval(timer);
      durations.push({ title, seconds: Number(seconds(began)) });
      out.write(`${isLive ? '\r\x1b[K' : ''}${mark} ${title}  ${seconds(began)} s\n`);
    };
    try {
      const result = await work(note);
      end('✔');
      return result;
    } catch (err) {
      end('✘');
      throw err;
    }
  }

  return { phase, durations, say: (text = '') => out.write(`${text}\n`) };
}
