/**
 * What the test guest needs to serve its users and does not need to boot: an SSH server (Debian's dropbear with its libraries) and small
 * programs in place of those that busybox lacks. It lies as a cpio archive on a partition of its own, so that neither the firmware nor the
 * kernel reads it; the guest unpacks it when it has said that it is ready.
 */
import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const DROPBEAR = '/usr/sbin/dropbear';
const MIB = 2 ** 20;

/** Everything that the archive is made of. */
export async function toolFiles(guestSources: string): Promise<string[]> {
  const { stdout } = await run('ldd', [DROPBEAR]);
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]!);
  const scripts = join(guestSources, 'tools');
  return [...readdirSync(scripts).sort().map((name) => join(scripts, name)), DROPBEAR, ...libraries];
}

/** The archive, filled up to whole MiB. Scripts go to /usr/bin, where they are found before busybox's own; `serve` to /tools. */
export async function toolsArchive(work: string, guestSources: string): Promise<Buffer> {
  const root = join(work, 'tools');
  for (const file of await toolFiles(guestSources)) {
    const isScript = file.startsWith(guestSources);
    const target = join(root, !isScript ? file : basename(file) === 'serve' ? 'tools/serve' : join('usr/bin', basename(file)));
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(file, target);
    chmodSync(target, 0o755);
  }
  const archive = join(work, 'tools.cpio');
  await run('sh', ['-c', 'cd "$1" && find . | cpio -o -H newc --quiet >"$2"', 'sh', root, archive]);
  const content = readFileSync(archive);
  return Buffer.concat([content, Buffer.alloc((MIB - (content.length % MIB)) % MIB)]);
}
