/** The test guest as an installation CD: the same EFI program, started from an El Torito image. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MIB = 2 ** 20;
const PROGRAM = '::/EFI/BOOT/BOOTX64.EFI';

/** Made from the disk image, whose first partition (at 1 MiB) is its ESP. */
export async function guestIso(diskImage: string): Promise<Uint8Array> {
  const work = mkdtempSync(join(tmpdir(), 'lab-iso-'));
  try {
    const [program, tree, iso] = [join(work, 'guest.efi'), join(work, 'tree'), join(work, 'guest.iso')];
    const esp = join(tree, 'efi.img');
    await run('mcopy', ['-i', `${diskImage}@@${MIB}`, PROGRAM, program]);
    mkdirSync(tree);
    writeFileSync(esp, Buffer.alloc((Math.ceil(statSync(program).size / MIB) + 2) * MIB));
    await run('mkfs.vfat', ['-n', 'ESP', esp]);
    await run('mmd', ['-i', esp, '::/EFI', '::/EFI/BOOT']);
    await run('mcopy', ['-i', esp, program, PROGRAM]);
    await run('xorriso', ['-as', 'mkisofs', '-quiet', '-o', iso, '-V', 'LABGUEST', '-e', 'efi.img', '-no-emul-boot', tree]);
    return readFileSync(iso);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
