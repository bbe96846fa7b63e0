/**
 * On FreeBSD the vCPUs are threads of bhyve: SIGSTOP of the process stops the guest. Here the guest is QEMU, and no process is told that it was
 * stopped. So a little Perl (essential on Debian) looks at our state fifty times a second and stops and continues QEMU as we are; it dies with us.
 */
import { spawn } from 'node:child_process';

const program = `
  my ($us, $qemu) = @ARGV;
  my $stopped = 0;
  while (open(my $stat, '<', "/proc/$us/stat")) {
    my ($state) = <$stat> =~ /\\) (\\w)/;
    my $now = $state eq 'T' ? 1 : 0;
    if ($now != $stopped) { kill($now ? 'STOP' : 'CONT', $qemu) or exit; $stopped = $now; }
    select(undef, undef, undef, 0.02);
  }
`;

/** From now on `qemuPid` is stopped while this process is. */
export function stopTogether(qemuPid: number): void {
  const watcher = spawn('setpriv', ['--pdeathsig', 'KILL', 'perl', '-e', program, String(process.pid), String(qemuPid)],
    { stdio: 'ignore', env: { ...process.env, LAB_HIDDEN: '1' } });
  watcher.on('error', () => undefined);
  watcher.unref();
}
