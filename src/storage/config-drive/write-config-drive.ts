/**
 * The tree as an ISO 9660 image, made with makefs(8), which FreeBSD's base system has.
 *
 *  - makefs knows Rock Ridge but no Joliet (neither FreeBSD's nor Debian's; the function is compiled out in its source). Guests that read
 *    neither see upper-case level-2 names, which Windows does not tell from ours.
 *  - Its label option takes d-characters only: FreeBSD's refuses `config-2` for the hyphen, Debian's makes it upper case. So the image
 *    is made with a label that both take, and the volume identifier is written into it afterwards.
 *
 * The tree holds the admin password and the user's data: its folder is 0700, lies in the instance's own folder and is removed whatever
 * happens; what a crash leaves is removed by the next write, and with the instance's folder.
 */
import { assert } from '../../lib/assert.js';
import { AgentError } from '../../lib/errors.js';
import type { Host } from '../../host/index.js';
import { buildConfigDrive } from './build-config-drive.js';
import type { ConfigDriveInput } from './input.js';

export interface WriteConfigDrive {
  /** Absolute; the instance's own. */
  readonly instanceFolder: string;
  /** Where the image goes; replaced atomically, mode 0600. */
  readonly path: string;
  readonly input: ConfigDriveInput;
}

export const configDriveLabel = 'config-2';
const makefsLabel = 'CONFIG_2';
const maxImageBytes = 256 * 1024 * 1024;

/** AgentError `config-drive-failed`; errors of the host as they are. */
export async function writeConfigDrive(host: Host, { instanceFolder, path, input }: WriteConfigDrive): Promise<void> {
  const staging = `${instanceFolder}/config-drive.staging`;
  const tree = `${staging}/tree`;
  const image = `${staging}/image.iso`;
  await host.files.remove(staging, instanceFolder);
  try {
    await host.files.makeDirectory(staging, 0o700);
    await writeTree(host, tree, buildConfigDrive(input));
    await host.run('makefs', ['-t', 'cd9660', '-o', `rockridge,label=${makefsLabel}`, image, tree], { timeoutMs: 60_000 });
    await host.files.writeAtomic(path, labelled(await readAll(host, image)), 0o600);
  } finally {
    await host.files.remove(staging, instanceFolder);
  }
}

async function writeTree(host: Host, tree: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const made = new Set<string>();
  for (const [path, content] of files) {
    assert(/^[a-z0-9]+(\/[A-Za-z0-9][A-Za-z0-9._-]*)+$/.test(path), 'paths in a config drive are our own');
    const folder = `${tree}/${path.slice(0, path.lastIndexOf('/'))}`;
    if (!made.has(folder)) await host.files.makeDirectory(folder, 0o755);
    made.add(folder);
    await host.files.writeAtomic(`${tree}/${path}`, content, 0o644);
  }
}

async function readAll(host: Host, path: string): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of host.files.openSource(path)) {
    bytes += part.byteLength;
    if (bytes > maxImageBytes) throw new AgentError('config-drive-failed', 'the config drive is larger than its limit', { details: { limitBytes: maxImageBytes } });
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** ECMA-119 8.4: the primary volume descriptor is sector 16; the volume identifier is 32 characters at offset 40. */
function labelled(image: Buffer): Buffer {
  const descriptor = 16 * 2048;
  if (image.length < descriptor + 2048 || image[descriptor] !== 1 || image.toString('latin1', descriptor + 1, descriptor + 6) !== 'CD001') {
    throw new AgentError('config-drive-failed', 'makefs made something that is no ISO 9660 image');
  }
  image.write(configDriveLabel.padEnd(32, ' '), descriptor + 40, 32, 'latin1');
  return image;
}
