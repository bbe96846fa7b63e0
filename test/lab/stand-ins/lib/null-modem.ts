/**
 * nmdm(4): a terminal at each end. Ours (bhyve's) is the master of a pseudo-terminal, the other is its slave under the name DEV/nmdmNB; so what is
 * opened there is a real terminal. It is raw from the beginning: while nobody has it open, nothing may echo the guest's output back to it.
 *
 *   bhyve has its side open    DEV/nmdmNB is a link to /dev/pts/K
 *   bhyve has it not           DEV/nmdmNB is a FIFO: who opens it for reading waits, as for a carrier; for writing without waiting it is refused
 *   bhyve ends                 hang-up: readers see the end of file, writers an error
 *
 * What nobody has read is kept, up to 64 KiB, and then dropped. A bhyve that was killed leaves a link to nothing, until the next one.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, lstatSync, openSync, readlinkSync, renameSync, rmSync, symlinkSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { ReadStream } from 'node:tty';
import type { Sink } from './bhyve-serve.js';

const mostUnread = 65_536;
const retryMs = 10;

/** ioctl is not to be had in Node: Perl unlocks the slave (TIOCSPTLCK) and tells its number (TIOCGPTN). */
function openPair(): { master: number; slavePath: string } {
  const master = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  const program = 'my $n = pack("i", 0); ioctl(STDIN, 0x40045431, $n) or die; ioctl(STDIN, 0x80045430, $n) or die; print unpack("i", $n)';
  const { stdout, status } = spawnSync('perl', ['-e', program], { stdio: [master, 'pipe', 'inherit'] });
  if (status !== 0) throw new Error('stand-in: no pseudo-terminal');
  return { master, slavePath: `/dev/pts/${stdout.toString()}` };
}

const isFifo = (path: string): boolean => {
  try {
    return lstatSync(path).isFIFO();
  } catch {
    return false; // no such name
  }
};

function makeFifo(path: string): void {
  rmSync(path, { force: true });
  spawnSync('mkfifo', ['-m', '620', path]);
}

/** Who waits in open for a carrier gets the end of file and tries again, which finds the terminal. */
function wake(fifo: string): void {
  try {
    closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // nobody waits
  }
}

/** The other end in place of `peer`, in one step: a FIFO that somebody waits on keeps its name until he is woken. */
function show(peer: string, slavePath: string): void {
  const waiting = `${peer}.waiting`;
  if (isFifo(peer)) renameSync(peer, waiting);
  symlinkSync(slavePath, `${peer}.new`);
  renameSync(`${peer}.new`, peer);
  if (isFifo(waiting)) wake(waiting);
  rmSync(waiting, { force: true });
}

function hide(peer: string, slavePath: string): void {
  try {
    if (readlinkSync(peer) === slavePath) makeFifo(peer);
  } catch {
    // taken by somebody else meanwhile
  }
}

/** Opens our side; `peer` is the path of the other. */
export function openNullModem(peer: string): Sink {
  const own = peer.replace(/[AB]$/, (side) => (side === 'A' ? 'B' : 'A'));
  if (!isFifo(own)) makeFifo(own);
  const { master, slavePath } = openPair();
  // Held open by us as well: a master whose slave nobody has open cannot be read.
  const slave = openSync(slavePath, constants.O_RDWR | constants.O_NOCTTY);
  spawnSync('stty', ['raw', '-echo'], { stdio: [slave, 'ignore', 'ignore'] });
  let unread = Buffer.alloc(0);
  let timer: NodeJS.Timeout | undefined;
  const input = new ReadStream(master);
  input.on('error', () => undefined);
  show(peer, slavePath);

  function flush(): void {
    timer = undefined;
    try {
      while (unread.length > 0) unread = unread.subarray(writeSync(master, unread));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      timer = setTimeout(flush, retryMs);
    }
  }

  return {
    write: (data) => {
      unread = Buffer.concat([unread, data]).subarray(0, mostUnread);
      if (timer === undefined) flush();
    },
    attach: (machine: Socket) => {
      input.on('data', (data: Buffer) => machine.write(data));
    },
    close: () => {
      clearTimeout(timer);
      hide(peer, slavePath);
      closeSync(slave);
      input.destroy(); // closes the master: the other end hangs up
    },
  };
}
