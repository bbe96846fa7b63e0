/**
 * A compute node for measuring the service and not the hypervisor: a folder whose `bin/` holds null-host.pl under the name of every FreeBSD tool.
 * A guest is one small process that took bhyve's title, its disk an empty file. No network of its own, no pool, no QEMU.
 */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../lab/engine.js';
import type { LabNode } from '../lab/node.js';

export type NullNode = Pick<LabNode, 'name' | 'path' | 'env' | 'deviceRoot' | 'firmwareDir' | 'zfsRoot' | 'statePath' | 'bridge' | 'uplink' | 'bootMessagesPath'> & {
  /** Ends its guests and forgets their folders, disks and journal: as on the first day, but the same host to the cloud. */
  clear(): void;
  /** Ends every process of the node and removes its folder. */
  destroy(): void;
};

const tools = [
  'bhyve', 'bhyvectl', 'zfs', 'zpool', 'ifconfig', 'sysctl', 'kldstat', 'kldload', 'ps', 'daemon', 'limits', 'uname', 'freebsd-version', 'netstat', 'uptime', 'pciconf',
] as const;

/** Makes the node in `folder`, in place of one that an earlier run left there. */
export function createNullNode(name: string, folder: string): NullNode {
  const path = join(folder, name);
  removeNode(path);
  for (const each of ['bin', 'dev/zvol', 'etc', 'firmware', 'log', 'pool/null', 'run', 'state']) mkdirSync(join(path, each), { recursive: true });
  const program = join(path, 'bin/null-host.pl');
  copyFileSync(join(repository, 'test/bench/null-host.pl'), program);
  chmodSync(program, 0o755);
  for (const tool of tools) symlinkSync('null-host.pl', join(path, 'bin', tool));
  for (const file of ['BHYVE_UEFI_CODE.fd', 'BHYVE_UEFI_VARS.fd']) writeFileSync(join(path, 'firmware', file), 'null');
  copyFileSync(join(repository, 'test/lab/dmesg-amd.boot'), join(path, 'run/dmesg.boot'));
  writeFileSync(join(path, 'pool/null/.properties'), 'type\tfilesystem\n');
  return {
    name, path, deviceRoot: join(path, 'dev'), firmwareDir: join(path, 'firmware'), zfsRoot: 'null/nova', statePath: join(path, 'state'), bridge: 'br-physnet1', uplink: 'uplink0',
    bootMessagesPath: join(path, 'run/dmesg.boot'), env: { PATH: `${join(path, 'bin')}:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: '/root' },
    clear() {
      endProcesses(path);
      for (const each of ['state/instances', 'state/events', 'state/journal', 'pool/null/nova', 'dev/zvol/null', 'dev/vmm']) rmSync(join(path, each), { recursive: true, force: true });
    },
    destroy: () => removeNode(path),
  };
}

function removeNode(path: string): void {
  endProcesses(path);
  rmSync(path, { recursive: true, force: true });
}

/** Guests and their supervisors; supervisors first, or they would record the end of guests whose folders go away. */
function endProcesses(path: string): void {
  for (let round = 0; round < 20; round += 1) {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => isOfNode(pid, path));
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // gone in between
      }
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  }
  throw new Error(`processes of ${path} do not end`);
}

function isOfNode(pid: number, path: string): boolean {
  try {
    // A process that gave itself a title has written it over its environment.
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`LAB_NODE=${path}`) || readlinkSync(`/proc/${pid}/cwd`).startsWith(`${path}/`);
  } catch {
    return false; // gone
  }
}
